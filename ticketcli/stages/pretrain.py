"""`ticket pretrain`: a dense network, for image sets without public weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.nn import functional as F

from ticketcli.data.batches import in_order
from ticketcli.data.images import Normalization
from ticketcli.events import Note
from ticketcli.metrics.quality import quality
from ticketcli.models.architectures import build_encoder
from ticketcli.models.cost import cost_of, in_words
from ticketcli.models.table import architecture
from ticketcli.recipe.configs import PretrainConfig
from ticketcli.stage import kept_name
from ticketcli.stages.job import Job, check_seedable, require_labels, splits_of
from ticketcli.tensors.files import copy_of
from ticketcli.training.feeds import training_batches
from ticketcli.training.loop import Run, train
from ticketcli.training.yields import Output, Produced, Yield


def pretrain(job: Job[PretrainConfig]) -> Iterator[Yield]:
    """Train a network from a seeded random draw; also keep its values at chosen points, for rewinding.

    Yields one unit, `dense`: the last values, and `init` (0ep) or `2ep` and the like for each kept point.
    """
    config, device = job.config, job.device
    size = config.image_size or architecture(config.arch).image_size
    splits = splits_of(job, config.data, size)
    require_labels(splits, what="pretrain.data")
    check_seedable(splits, what="pretrain.data", batch=config.batch)
    model = build_encoder(config.arch, n_classes=len(splits.train.class_names), seed=config.seed).to(device)
    cost = cost_of(model, size)
    yield Note(f"{config.arch}, {in_words(cost)}, {len(splits.train.labels)} training images of {size} pixels")
    batches = training_batches(config, splits.train, splits, config.data, device, "pretrain")
    run = Run(
        "pretrain", model, lambda x, y: {"loss": F.cross_entropy(model(x), y)}, batches, config, config.epochs, {}
    )
    points = {point.iterations(batches.per_epoch): kept_name(point) for point in config.keep}
    trained = yield from train(run, resume=job.resume, keep=points)
    found = yield from quality(model, in_order(splits.validation, splits.normalization, 512, device))
    about = {**about_source(config, splits.train.class_names, splits.normalization, size), **model.facts}
    outputs = [Output("dense", "dense", "dense", about, copy_of(model))]
    for name in points.values():
        outputs.append(Output(name, "kept", name, {**about, "point": name}, trained.kept[name]))
    metrics: dict[str, Any] = {"validation": found, **cost, "images": splits.counts()}
    yield Produced("dense", tuple(outputs), metrics)


def about_source(
    config: PretrainConfig, class_names: tuple[str, ...], normalization: Normalization, image_size: int
) -> dict[str, Any]:
    """What a dense checkpoint says of itself."""
    return {
        "arch": config.arch,
        "image_size": image_size,
        "class_names": list(class_names),
        "data": config.data.model_dump(mode="json", exclude_defaults=True),
        "normalization": {"mean": list(normalization.mean), "std": list(normalization.std)},
        "seed": config.seed,
    }
