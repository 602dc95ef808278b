"""`ticket transfer`: stage iii of the paper, a ticket trained on a target task with its mask enforced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ticketcli.data.batches import in_order
from ticketcli.errors import InputMissing
from ticketcli.events import Note
from ticketcli.metrics.quality import quality
from ticketcli.models.architectures import build_encoder, masked_parameters
from ticketcli.models.cost import parameters
from ticketcli.models.encoder import Encoder
from ticketcli.recipe.configs import TransferConfig
from ticketcli.stages.job import Job, check_seedable, splits_of, training_batches
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import copy_of, load_into
from ticketcli.tensors.seeds import generator
from ticketcli.training.loop import Run, train
from ticketcli.training.yields import Loaded, Output, Produced, Yield


def transfer(job: Job[TransferConfig]) -> Iterator[Yield]:
    """Train the whole masked network and a fresh seeded head on the target; the test images are read once, at the end.

    Source: the paper, section 5.3; its schedule is [1]'s. A dense checkpoint transfers too: the row to compare with.
    """
    config, device = job.config, job.device
    source = job.inputs["ticket"]
    splits = splits_of(config.data, config.seed)
    check_seedable(splits, what="transfer.data")
    model, mask = ticket_network(source, len(splits.train.class_names), config.seed)
    model.to(device)
    weights = {} if mask is None else masked_parameters(model, mask)
    sparsity = mask.sparsity if mask is not None else 0.0
    yield Note(f"{source.ref}, {sparsity:.2%} sparse, {len(splits.train.labels)} training images")

    def loss(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(model(images), labels)}

    batches = training_batches(config, splits.train, splits, config.data, device, "transfer")
    run = Run("transfer", model, loss, batches, config, config.epochs, weights, mask)
    yield from train(run, resume=job.resume)
    metrics: dict[str, Any] = {}
    for name, images in (("validation", splits.validation), ("test", splits.test)):
        metrics[name] = quality(model, in_order(images, splits.normalization, 512, device))
    metrics["sparsity"] = sparsity
    metrics["network_sparsity"] = mask.dropped / parameters(model) if mask is not None else 0.0
    about = {
        **{key: source.about[key] for key in ("arch", "image_size")},
        "class_names": list(splits.train.class_names),
        "data": config.data.model_dump(mode="json", exclude_defaults=True),
        "normalization": {"mean": list(splits.normalization.mean), "std": list(splits.normalization.std)},
        "seed": config.seed,
        "task": config.task,
    }
    yield Produced("task", (Output("task", "task", "task", about, copy_of(model), mask),), metrics)


def ticket_network(source: Loaded, n_classes: int, seed: int) -> tuple[Encoder, Mask | None]:
    """The source's backbone under a fresh head of `n_classes`, and the mask that it has to keep.

    Raises:
        InputMissing: a bare mask file was given.
    """
    if not source.values:
        raise InputMissing(
            "a mask file alone has no values",
            where=source.ref,
            hint="make a ticket of it with 'ticket rewind'",
        )
    model = build_encoder(source.about["arch"], n_classes=len(source.about["class_names"]), seed=seed)
    load_into(model, source.values, where=source.ref, without=model.head_prefixes)
    model.new_head(n_classes, generator(seed, "head"))
    return model, source.mask
