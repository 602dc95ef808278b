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
from ticketcli.models.cost import cost_of, in_words
from ticketcli.models.encoder import Encoder
from ticketcli.models.stem import FORMS, STEM, Form, choose_form, restem
from ticketcli.recipe.configs import TransferConfig
from ticketcli.stages.job import Job, check_seedable, require_labels, splits_of, training_batches
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
    size = config.image_size or int(source.about["image_size"])
    splits = splits_of(job, config.data, size, encoder=source.about)
    require_labels(splits, what="transfer.data")
    check_seedable(splits, what="transfer.data")
    arch, form, model, mask = ticket_network(source, len(splits.train.class_names), config, size)
    model.to(device)
    cost = cost_of(model, size)
    weights = {} if mask is None else masked_parameters(model, mask)
    sparsity = mask.sparsity if mask is not None else 0.0
    yield Note(
        f"{source.ref}, {sparsity:.2%} sparse, {arch} ({FORMS[form]}), {in_words(cost)}, "
        f"{len(splits.train.labels)} training images of {size} pixels"
    )

    def loss(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(model(images), labels)}

    batches = training_batches(config, splits.train, splits, config.data, device, "transfer")
    run = Run("transfer", model, loss, batches, config, config.epochs, weights, mask)
    yield from train(run, resume=job.resume)
    metrics: dict[str, Any] = {"images": splits.counts()}
    for name, images in (("validation", splits.validation), ("test", splits.test)):
        metrics[name] = quality(model, in_order(images, splits.normalization, 512, device))
    metrics["sparsity"] = sparsity
    metrics["network_sparsity"] = mask.dropped / cost["parameters"] if mask is not None else 0.0
    metrics |= {"stem": form, **cost}
    about = {
        "arch": arch,
        "image_size": size,
        "class_names": list(splits.train.class_names),
        "data": config.data.model_dump(mode="json", exclude_defaults=True),
        "normalization": {"mean": list(splits.normalization.mean), "std": list(splits.normalization.std)},
        "seed": config.seed,
        "task": config.task,
    }
    yield Produced("task", (Output("task", "task", "task", about, copy_of(model), mask),), metrics)


def ticket_network(
    source: Loaded, n_classes: int, config: TransferConfig, image_size: int
) -> tuple[str, Form, Encoder, Mask | None]:
    """The source's backbone with the stem that the images ask for, under a fresh head of `n_classes`.

    Returns:
        The architecture, what became of the stem, the network, and the mask that it has to keep; a head or stem that
        is replaced is dense, whether or not the ticket masked it.

    Raises:
        InputMissing: a bare mask file was given.
        UsageError: the stem cannot take the form that is asked for.
    """
    if not source.values:
        raise InputMissing(
            "a mask file alone has no values",
            where=source.ref,
            hint="make a ticket of it with 'ticket rewind'",
        )
    form = choose_form(config.stem, source.about["arch"], image_size)
    arch, values = restem(source.values, source.about["arch"], form, seed=config.seed)
    model = build_encoder(arch, n_classes=len(source.about["class_names"]), seed=config.seed)
    load_into(model, values, where=source.ref, without=model.head_prefixes)
    model.new_head(n_classes, generator(config.seed, "head"))
    if source.mask is None:
        return arch, form, model, None
    replaced = model.head_prefixes if form == "keep7" else (*model.head_prefixes, STEM)
    return arch, form, model, Mask({name: bits for name, bits in source.mask.items() if not name.startswith(replaced)})
