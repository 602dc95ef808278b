"""`ticket evaluate --latency`: how long a network takes beside its dense one, what it weighs, and where it computes."""

from __future__ import annotations

import copy
from collections.abc import Generator
from typing import Any

import torch
from torch import nn

from ticketcli.errors import UsageError
from ticketcli.models.cost import Taps, macs_by_layer, one_image
from ticketcli.models.encoder import Encoder
from ticketcli.recipe.evaluate_config import EvaluateConfig
from ticketcli.runtimes.latency import latencies
from ticketcli.runtimes.outputs import logits_of, taps_of
from ticketcli.stages.job import Job
from ticketcli.stages.networks import is_classifier
from ticketcli.store.mask import Mask
from ticketcli.tensors import ranks
from ticketcli.tensors.packed import packed_bytes
from ticketcli.training.yields import Loaded, Yield

_SECONDS = 10.0  # of each comparison; six pairs are made, however long they take
_BODY = "backbone.body."


def require_alone(job: Job[EvaluateConfig]) -> None:
    """Refuse several processes, which would slow each other down.

    Raises:
        UsageError: there are.
    """
    if job.config.latency and ranks.world() > 1:
        hint = "leave --nproc out; a further evaluation may share its images"
        raise UsageError("latency is measured by one process", where="evaluate.latency", hint=hint)


def measure_latency(
    job: Job[EvaluateConfig], encoder: Encoder, dense: Encoder, side: int
) -> Generator[Yield, None, dict[str, Any]]:
    """Time the network, or of a pixel-level task its backbone, beside the dense one, in the same run.

    The dense network has the head and the stem of what is measured, where those are others: what is compared is the
    backbone. Timings are no results that come out again: they are in the manifest and not in `metrics.json`, and a
    step is fresh whatever it took. An estimate of a recipe leaves them out, for they do not grow with the images.

    Returns:
        For the step's metrics: `latency`, and `latency_of`: what was timed, beside what.
    """
    if job.sample is not None:
        return {}
    classifies = is_classifier(job.inputs["of"].about)
    networks = [copy.deepcopy(one).cpu() for one in (encoder, _alike(encoder, dense))]
    ours, theirs = (logits_of(one, side) if classifies else taps_of(one, side) for one in networks)
    found = yield from latencies(ours, theirs, seconds=_SECONDS)
    what = "the network" if classifies else "its backbone (heads are dense in both)"
    return {"latency": found, "latency_of": {"what": what, "dense": job.inputs["dense"].ref}}


@torch.no_grad()
def _alike(encoder: Encoder, dense: Encoder) -> Encoder:
    """The dense network with the head and the stem of the other, where only these differ; else itself.

    A network of other widths is compared with the dense network as it is.
    """
    own, values = encoder.state_dict(), dense.state_dict()
    replaced = (*(f"{name}." for name in (*encoder.stem_names, *encoder.head_names)),)
    inner = {name: value.shape for name, value in own.items() if not name.startswith(replaced)}
    if any(name not in values or values[name].shape != shape for name, shape in inner.items()):
        return dense
    found = copy.deepcopy(encoder)
    for name, value in found.state_dict().items():
        if name in values and values[name].shape == value.shape:
            value.copy_(values[name])
    return found


def weighed(source: Loaded, network: nn.Module, dense: nn.Module) -> dict[str, int]:
    """Bytes on disk, as files and packed, and in memory, for the metrics."""
    found = {"memory": _held(network), "dense_memory": _held(dense)}
    if "values" in source.sizes:
        found["checkpoint"] = source.sizes["values"]
    if source.mask is not None:
        found |= {"mask": source.sizes["mask"]} if "mask" in source.sizes else {}
        found["packed"] = packed_bytes(source.values, source.mask, "fp32")
        found["packed_bf16"] = packed_bytes(source.values, source.mask, "bf16")
    return found


def _held(network: nn.Module) -> int:
    return sum(value.nbytes for value in network.state_dict().values())


def layers(encoder: Encoder, mask: Mask | None, side: int, *, classifies: bool) -> list[dict[str, Any]]:
    """Each layer's multiply-adds for one image, and how many of its weights live, in order of use."""
    module: nn.Module = encoder if classifies else Taps(encoder)
    weights = dict(encoder.named_parameters())
    found = []
    for layer, macs in macs_by_layer(module, one_image(side)).items():
        name = f"{layer.removeprefix('encoder.') if not classifies else layer}.weight"
        alive = None if mask is None else (mask.get(name) if name in mask else mask.get(_BODY + name))
        total = weights[name].numel() if name in weights else 0
        kept = total if alive is None else int(alive.sum())
        found.append({"name": name.removesuffix(".weight"), "macs": macs, "kept": kept, "of": total})
    return found
