"""`ticket transfer`: stage iii of the paper, a ticket trained on a target task with its mask enforced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from ticketcli.channels.compact import ABOUT
from ticketcli.data.table import side_of
from ticketcli.errors import UsageError
from ticketcli.events import Note
from ticketcli.models.architectures import masked_parameters
from ticketcli.models.cost import cost_of, in_words, parameters
from ticketcli.models.encoder import Encoder
from ticketcli.models.freezing import freeze_parts, freeze_untapped
from ticketcli.models.stem import FORMS, STEM, Form, choose_form, require_own_stem, require_size, restem
from ticketcli.recipe.transfer_config import TransferConfig
from ticketcli.stages.job import Job, build_of, check_seedable, data_of, splits_of
from ticketcli.stages.networks import require_values
from ticketcli.store.mask import Mask
from ticketcli.tasks.table import TASKS
from ticketcli.tensors.files import copy_of, load_into
from ticketcli.tensors.masking import MaskedWeights
from ticketcli.training.loop import Run, train
from ticketcli.training.recalibrate import calibration_batches, recalibrate
from ticketcli.training.yields import Loaded, Output, Produced, Yield


def transfer(job: Job[TransferConfig]) -> Iterator[Yield]:
    """Train the masked backbone under a fresh seeded head on the target; the test images are read once, at the end.

    Source: the paper, section 5.3. A dense checkpoint transfers too: the row to compare with.
    """
    config, device = job.config, job.device
    task, source = TASKS[config.task], job.inputs["ticket"]
    size = config.image_size
    if config.task == "classification" and size is None:
        size = int(source.about["image_size"])
        require_size(source.about["arch"], side_of(config.data.name), size)
    splits = splits_of(job, config.data, size, encoder=source.about, outlined=config.task != "classification")
    task.check(splits)
    check_seedable(splits, what="transfer.data", batch=config.batch)
    head = task.head(config, splits, int(source.about["image_size"]))
    arch, form, encoder, mask = ticket_backbone(source, config, head.side)
    if config.freezes_batchnorm:
        require_own_stem(form)
    encoder.to(device)
    cost = cost_of(encoder, head.side)
    weights = {} if mask is None else masked_parameters(encoder, mask)
    if mask is not None:
        MaskedWeights(weights, mask).apply()
    if config.freezes_norms and config.recalibrate_bn:
        yield from recalibrate(encoder, _source_images(job, source))
    norms: Literal["frozen", "train"] = "frozen" if config.freezes_batchnorm else "train"
    still = freeze_parts(encoder, config.frozen_part, norms, image_size=head.side)
    model = task.build(encoder, head, seed=config.seed).to(device)
    if config.task != "classification":
        freeze_untapped(encoder, image_size=head.side)
    cost["parameters"] = parameters(model)
    sparsity = mask.sparsity if mask is not None else 0.0
    yield Note(
        f"{source.ref}, {sparsity:.2%} sparse, {arch} ({FORMS[form]}), {in_words(cost)}, "
        f"{len(splits.train.labels)} training images of {head.side} pixels"
    )
    if said := task.describe(model, splits.normalization):
        yield Note(said)
    feed = task.feed(config, splits, head, device)
    run = Run("transfer", model, task.loss(model, head), feed, config, config.epochs, weights, mask, still=still)
    yield from train(run, resume=job.resume)
    metrics: dict[str, Any] = {"images": splits.counts()}
    for name, images in (("validation", splits.validation), ("test", splits.test)):
        what = f"{name} images"
        judged = yield from task.judge(model, images, splits.normalization, head, device, task.test_batch, what)
        metrics[name] = judged.metrics
    metrics["sparsity"] = sparsity
    metrics["network_sparsity"] = mask.dropped / cost["parameters"] if mask is not None else 0.0
    metrics |= {"stem": form, **cost}
    about = {
        "arch": arch,
        "image_size": splits.train.size,
        "class_names": list(head.class_names),
        "data": config.data.model_dump(mode="json", exclude_defaults=True),
        "normalization": {"mean": list(splits.normalization.mean), "std": list(splits.normalization.std)},
        "seed": config.seed,
        **{key: source.about[key] for key in ABOUT if key in source.about},
        **encoder.facts,
        "task": config.task,
        **({} if config.task == "classification" else {"head": head.about()}),
    }
    kept = None if mask is None else Mask({task.prefix + name: bits for name, bits in mask.items()})
    yield Produced("task", (Output("task", "task", "task", about, copy_of(model), kept),), metrics)


def _source_images(job: Job[TransferConfig], source: Loaded) -> Any:
    """Training images of the source, for its BatchNorm.

    Raises:
        UsageError: the checkpoint does not say what it was trained on.
    """
    try:
        data = data_of(None, source.about)
    except UsageError as error:
        hint = "import it with data:, or set recalibrate_bn: 0 to freeze the statistics as they are"
        raise UsageError(error.what, where="transfer.recalibrate_bn", hint=hint) from None
    splits = splits_of(job, data, int(source.about["image_size"]), encoder=source.about)
    return calibration_batches(splits, job.config.recalibrate_bn, job.device)


def ticket_backbone(source: Loaded, config: TransferConfig, image_size: int) -> tuple[str, Form, Encoder, Mask | None]:
    """The source's network with the stem that the images ask for.

    Returns:
        The architecture, what became of the stem, the network, and the mask that it has to keep; a head, which every
        task replaces, or a stem that is replaced is dense, whether or not the ticket masked it.

    Raises:
        InputMissing: a bare mask file was given.
        UsageError: the stem cannot take the form that is asked for.
    """
    require_values(source)
    wanted = "keep7" if config.freezes_stem else config.stem
    form = choose_form(wanted, source.about["arch"], image_size)
    arch, values = restem(source.values, source.about["arch"], form, seed=config.seed)
    model = build_of(source.about, n_classes=len(source.about["class_names"]), seed=config.seed, arch=arch)
    load_into(model, values, where=source.ref, without=model.head_prefixes)
    if source.mask is None:
        return arch, form, model, None
    replaced = model.head_prefixes if form == "keep7" else (*model.head_prefixes, STEM)
    return arch, form, model, Mask({name: bits for name, bits in source.mask.items() if not name.startswith(replaced)})
