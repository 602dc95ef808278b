"""`ticket evaluate`: what a dense net, a ticket or a transferred network is worth, and what it weighs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ticketcli.data.batches import in_order
from ticketcli.errors import InputMissing, UsageError
from ticketcli.metrics.quality import Rebuild, quality
from ticketcli.models.architectures import masked_parameters
from ticketcli.models.cost import cost_of, parameters
from ticketcli.recipe.configs import Data, EvaluateConfig
from ticketcli.stages.evaluate_features import measure_features
from ticketcli.stages.evaluate_pixels import dense_encoder, evaluate_pixels
from ticketcli.stages.job import Job, data_of, decoder_from, encoder_from, knows, splits_of
from ticketcli.tensors.masking import MaskedWeights
from ticketcli.training.recalibrate import calibration_batches, recalibrate
from ticketcli.training.yields import Output, Produced, Yield


def evaluate(job: Job[EvaluateConfig]) -> Iterator[Yield]:
    """Measure top-1 accuracy, PSNR with and without hints where a decoder is given, sparsity and parameters.

    Masked weights are set to +0.0 first. `recalibrate_bn` re-estimates BatchNorm on training images of the same set,
    which a ticket that was not finetuned needs; 0 measures the file as it is. `features` compares the taps with the
    dense network's.

    Raises:
        InputMissing: a bare mask file was given.
    """
    config, device = job.config, job.device
    source = job.inputs["of"]
    if source.about.get("task", "classification") != "classification":
        yield from evaluate_pixels(job)
        return
    if "beside" in job.inputs or config.pictures:
        raise UsageError("beside and pictures are for pixel-level tasks", where="evaluate", hint="leave them out")
    if not source.values:
        raise InputMissing(
            "a mask file alone has no values",
            where=source.ref,
            hint="make a ticket of it with 'ticket rewind'",
        )
    data: Data = data_of(config.data, source.about)
    splits = splits_of(job, data, int(source.about["image_size"]), encoder=source.about)
    model = encoder_from(source, device)
    if source.mask is not None:
        MaskedWeights(masked_parameters(model, source.mask), source.mask).apply()
    if config.recalibrate_bn:
        yield from recalibrate(model, calibration_batches(splits, config.recalibrate_bn, device))
    images = splits.test if config.split == "test" else splits.validation
    labelled = knows(images, source.about)
    if not len(images.labels) or not (labelled or "decoder" in job.inputs or config.features):
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
    metrics = {**found, "images": splits.counts()}
    yield Produced("metrics", (Output("metrics", "metrics", "metrics", found, {}),), metrics)
