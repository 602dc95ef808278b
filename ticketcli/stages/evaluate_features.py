"""`ticket evaluate --features`: the paper's reasoning, checked on a network: what is left of dense's features."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from torch import Tensor

from ticketcli.data.images import Splits
from ticketcli.errors import UsageError
from ticketcli.events import Note
from ticketcli.metrics.features import Pair, feature_distances
from ticketcli.metrics.probes import probes_of
from ticketcli.models.encoder import Encoder
from ticketcli.recipe.evaluate_config import EvaluateConfig
from ticketcli.stages.job import Job
from ticketcli.tensors.turns import Batches
from ticketcli.training.recalibrate import calibration_batches
from ticketcli.training.yields import Yield


def measure_features(
    job: Job[EvaluateConfig],
    encoder: Encoder,
    dense: Encoder,
    splits: Splits,
    batches: Batches[Any],
    seen: Callable[[Any], tuple[Tensor, Tensor]],
) -> Generator[Yield, None, dict[str, Any]]:
    """Compare the encoder with the dense one on the images that are measured on; probe both where there are classes.

    Probes learn from `probe_images` training images of the same set, unaugmented and spread evenly over it.

    Returns:
        For the step's metrics: `features`, by tap, and `features_of`: what it is compared with, and how much probes
        have learnt from.

    Raises:
        UsageError: the dense network has learnt to expect images normalised otherwise.
    """
    config, source, other = job.config, job.inputs["of"], job.inputs["dense"]
    if source.about.get("normalization") != other.about.get("normalization"):
        what = f"{other.ref} expects images normalised otherwise than {source.ref} does"
        raise UsageError(what, where="evaluate.dense", hint="name a network of the same origin")
    pair = Pair(encoder, dense, {}, {})
    n_probed = min(config.probe_images, len(splits.train.labels)) if splits.train.labelled else 0
    if n_probed:
        images = calibration_batches(splits, n_probed, job.device)
        probes, dense_probes = yield from probes_of([encoder, dense], images)
        pair = Pair(encoder, dense, probes, dense_probes)
        stopped = [tap for tap, probe in probes.items() if not (probe.converged and dense_probes[tap].converged)]
        if stopped:
            yield Note(f"the fit of a probe was stopped before its end: {', '.join(stopped)}")
    found = yield from feature_distances(pair, batches, seen=seen, what=f"features of {config.split} images")
    return {"features": found, "features_of": {"dense": other.ref, "probe_images": n_probed}}
