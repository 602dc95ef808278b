"""`ticket evaluate`: what a dense net, a ticket or a transferred network is worth, and what it weighs."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from ticketcli.data.batches import in_order
from ticketcli.data.images import Images, Splits
from ticketcli.errors import UsageError
from ticketcli.events import Note
from ticketcli.metrics.quality import Rebuild, quality
from ticketcli.models.cost import cost_of, parameters
from ticketcli.models.encoder import Encoder
from ticketcli.recipe.configs import Data
from ticketcli.recipe.evaluate_config import EvaluateConfig
from ticketcli.stages.evaluate_features import measure_features
from ticketcli.stages.evaluate_latency import layers, measure_latency, require_alone, weighed
from ticketcli.stages.evaluate_localization import localization_metrics, measure_localization, require_comparable
from ticketcli.stages.evaluate_pixels import evaluate_pixels
from ticketcli.stages.evaluate_rebuilt import rebuilt_sheets
from ticketcli.stages.job import Job, data_of, decoder_from, knows, splits_of
from ticketcli.stages.localized_pictures import localized_sheets
from ticketcli.stages.networks import (
    classifier_from,
    dense_encoder,
    has_borrowed_statistics,
    is_classifier,
    require_values,
)
from ticketcli.stages.sought import Sought, sought
from ticketcli.training.recalibrate import calibration_batches, recalibrate
from ticketcli.training.yields import Loaded, Output, Produced, Yield


def evaluate(job: Job[EvaluateConfig]) -> Iterator[Yield]:
    """Measure top-1 accuracy, PSNR with and without hints where a decoder is given, sparsity and parameters.

    With a decoder, `pictures` shows what it rebuilds of so many images, and where that errs; of the network `beside`
    too, where one is named. With `localize` they show where the networks look, and what was found.

    Masked weights are set to +0.0 first. `recalibrate_bn` re-estimates BatchNorm on training images of the same set,
    which a ticket that was not finetuned needs; 0 measures the file as it is. `features` compares the taps with the
    dense network's; `latency` times the network beside it.

    Raises:
        InputMissing: a bare mask file was given.
    """
    config, device = job.config, job.device
    source = job.inputs["of"]
    require_alone(job)
    if not is_classifier(source.about):
        yield from evaluate_pixels(job)
        return
    _require_sense(job)
    require_values(source)
    data: Data = data_of(config.data, source.about)
    splits = splits_of(job, data, int(source.about["image_size"]), encoder=source.about)
    wanted = _sought(job, source)
    model = yield from _network(job, source, splits)
    images = splits.test if config.split == "test" else splits.validation
    labelled = knows(images, source.about)
    if not len(images.labels) or not (labelled or "decoder" in job.inputs or config.features or config.localize):
        lacks = f"no {config.split} images" if not len(images.labels) else "not the classes of this network"
        hint = "split: validation, or another set" if labelled else "name a decoder, to measure its reconstruction"
        raise UsageError(f"the set has {lacks}", where="evaluate.data", hint=hint)
    rebuild = None
    if "decoder" in job.inputs:
        decoder = decoder_from(job.inputs["decoder"], model, device)
        rebuild = Rebuild(decoder, splits.normalization.denormalize, float(job.inputs["decoder"].about["t"]))
    batches = in_order(images, splits.normalization, config.batch, device)
    measured = yield from quality(model, batches, rebuild, labelled=labelled, what=f"{config.split} images")
    found: dict[str, Any] = {
        "of": source.ref,
        "split": config.split,
        "data": data.model_dump(mode="json", exclude_defaults=True),
        **measured,
        **cost_of(model, int(source.about["image_size"])),
        "recalibrated_on": config.recalibrate_bn,
    }
    if config.features:
        dense = dense_encoder(job)
        found |= yield from measure_features(job, model, dense, splits, batches, lambda batch: batch)
    if source.mask is not None:
        found |= {
            "sparsity": source.mask.sparsity,
            "network_sparsity": source.mask.dropped / parameters(model),
        }
    timed: dict[str, Any] = {}
    if config.latency:
        side, dense = int(source.about["image_size"]), dense_encoder(job)
        found |= {"sizes": weighed(source, model, dense), "layers": layers(model, source.mask, side, classifies=True)}
        timed = yield from measure_latency(job, model, dense, side)
    files = (yield from _pictures(job, model, rebuild, images, splits)) if rebuild is not None else {}
    if wanted is not None:
        told, sheets = yield from _localized(job, model, splits, wanted)
        found, files = found | told, files | sheets
    metrics = {**found, **timed, "images": splits.counts()}
    yield Produced("metrics", (Output("metrics", "metrics", "metrics", found, {}, files=files),), metrics)


def _network(job: Job[EvaluateConfig], source: Loaded, splits: Splits) -> Generator[Yield, None, Encoder]:
    """The network of a checkpoint, its masked weights exactly +0.0, recalibrated if that is asked for."""
    model = classifier_from(source, job.device)
    if not job.config.recalibrate_bn and has_borrowed_statistics(source):
        yield Note(f"{source.ref}: BatchNorm's statistics are from before the mask; --recalibrate-bn 1024 renews them")
    if job.config.recalibrate_bn:
        yield from recalibrate(model, calibration_batches(splits, job.config.recalibrate_bn, job.device))
    return model


def _pictures(
    job: Job[EvaluateConfig], model: Encoder, rebuild: Rebuild, images: Images, splits: Splits
) -> Generator[Yield, None, dict[str, bytes]]:
    """Sheets of what is rebuilt, by file name; none unless asked for."""
    if not job.config.pictures:
        return {}
    source, networks = job.inputs["of"], {job.inputs["of"].ref: model}
    if "beside" in job.inputs:
        beside = job.inputs["beside"]
        _require_same_images(beside, source)
        networks = {beside.ref: (yield from _network(job, beside, splits)), **networks}
    return rebuilt_sheets(networks, rebuild, images, splits.normalization, job.config.pictures)


def _localized(
    job: Job[EvaluateConfig], model: Encoder, splits: Splits, wanted: Sought
) -> Generator[Yield, None, tuple[dict[str, Any], dict[str, bytes]]]:
    """What was measured of finding objects, and sheets of it by file name, if pictures are asked for."""
    config, source = job.config, job.inputs["of"]
    assert config.localize is not None
    networks, other = [(source.ref, model)], _compared(job)
    if other is not None:
        networks.append((other.ref, (yield from _network(job, other, splits))))
    rows = yield from measure_localization(job, [network for _, network in networks], wanted)
    found = localization_metrics(rows, [ref for ref, _ in networks], config.localize, wanted, config.seed)
    sheets = {}
    if config.pictures:
        sheets = localized_sheets(networks, rows, config.localize, wanted, config.pictures, job.device)
    return found, sheets


def _sought(job: Job[EvaluateConfig], source: Loaded) -> Sought | None:
    """The images to look for objects on, if there are any: what does not fit is told before anything is measured."""
    if job.config.localize is None:
        return None
    if (other := _compared(job)) is not None:
        require_values(other)
        require_comparable(other, source)
    return sought(job, job.config.localize, source.about)


def _compared(job: Job[EvaluateConfig]) -> Loaded | None:
    """The network that looks at the same images; never the one that is evaluated itself."""
    source, other = job.inputs["of"], job.inputs.get("beside") or job.inputs.get("dense")
    return None if other is None or (other.identity and other.identity == source.identity) else other


def _require_sense(job: Job[EvaluateConfig]) -> None:
    config = job.config
    if config.pictures and "decoder" not in job.inputs and config.localize is None:
        hint = "name a decoder, a set to localize on, or a network of a pixel-level task"
        raise UsageError("pictures of a classifier are what a decoder rebuilds", where="evaluate.pictures", hint=hint)
    if "beside" in job.inputs and not config.pictures and config.localize is None:
        hint = "ask for pictures, or leave it out"
        raise UsageError("beside is for pictures, and for localize", where="evaluate.beside", hint=hint)


def _require_same_images(beside: Loaded, source: Loaded) -> None:
    """The decoder rebuilds what its encoder has seen: both networks take the same images, seen in the same way."""
    require_values(beside)
    for name in ("arch", "image_size", "normalization"):
        if beside.about.get(name) != source.about.get(name):
            hint = "name a dense network or a ticket of the same source"
            raise UsageError(f"the network beside it has another {name}", where="evaluate.beside", hint=hint)
