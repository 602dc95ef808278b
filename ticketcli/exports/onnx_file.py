"""`ticket export --to NAME.onnx`: a network as ONNX, and what ONNX Runtime computes compared with what torch does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ticketcli.data.images import Splits
from ticketcli.errors import MismatchError, UsageError
from ticketcli.exports.metadata import properties
from ticketcli.exports.packing import Written, facts_of
from ticketcli.exports.quantized import Calibration, measured, quantized
from ticketcli.exports.subject import Subject, network_to_export
from ticketcli.recipe.evaluate_config import EvaluateConfig
from ticketcli.recipe.transfer_config import DETECTORS
from ticketcli.runtimes.onnx_graph import describe, opset_of, require_onnx, to_onnx
from ticketcli.runtimes.outputs import Work, logits_of, taps_of
from ticketcli.runtimes.session import Session, compared
from ticketcli.stages.job import Job, data_of, splits_of
from ticketcli.stages.networks import body_of, is_classifier
from ticketcli.store.atomic import write_bytes
from ticketcli.store.mask import Mask
from ticketcli.training.yields import Loaded

Tell = Callable[[str], None]
_BODY = "backbone.body."


@dataclass(frozen=True)
class OnnxOrder:
    """How to export.

    Attributes:
        taps: the backbone's taps as outputs, instead of the network's own.
        calibration: quantise to int8, and with what images; None leaves float32.
    """

    taps: bool = False
    calibration: Calibration | None = None


def export_onnx(subject: Subject, to: Path, order: OnnxOrder, tell: Tell) -> Written:
    """Write an ONNX file that computes what torch does, or none.

    Raises:
        UsageError: a package is missing, an operation has no equivalent, or this network has no such export.
        MismatchError: ONNX Runtime computes something else; nothing is written.
    """
    require_onnx()
    source = subject.load()
    network = network_to_export(source)
    work, mask = _work(network, source, order, subject.ref)
    facts = facts_of(source, source.mask)
    splits = None if order.calibration is None else _images(source, order.calibration)
    tell(f"writing {', '.join(work.names)} of {facts['arch']} as ONNX")
    graph, work = _graph(work, mask, subject.ref)
    said = properties(subject, source, facts)
    describe(graph, said)
    content: bytes = graph.SerializeToString()
    session = Session(content)
    found = compared(work, session)
    if not found.holds:
        hint = "nothing was written; this is a defect of the exporter or of ONNX Runtime: try other versions of them"
        raise MismatchError(f"ONNX Runtime computes something else: {found}", where=subject.ref, hint=hint)
    facts |= {
        "opset": opset_of(graph), "outputs": list(work.names), "batch": "any",
        "image_size": "any" if work.any_size else work.side,
        "agreement": {"difference": found.difference, "tolerance": found.tolerance, "largest": found.largest},
    }  # fmt: skip
    what = (
        "The float32 graph that it was quantised from agrees with torch" if splits else "ONNX Runtime and torch agree"
    )
    notes = [f"{what}: {found}."]
    if mask is not None:
        notes.append(f"All {mask.dropped:,} masked weights are zeros in it; what that saves is storage.")
    if splits is not None and order.calibration is not None:
        float32 = len(content)
        tell(f"quantising to int8, calibrated on {order.calibration.images:,} training images")
        content = quantized(content, splits, order.calibration, mask, work.prefix, said, where=subject.ref)
        facts["int8"] = measured(source, session, Session(content), splits, order.calibration)
        facts["int8"] |= {"float32_bytes": float32}
        notes += _int8_notes(facts["int8"], len(content))
    write_bytes(to, content, check=_runs)
    facts |= {"bytes": to.stat().st_size, "dense_bytes": subject.sizes["values"]}
    return Written("int8 ONNX" if splits is not None else "ONNX", to, facts, tuple(notes))


def _graph(work: Work, mask: Mask | None, where: str) -> tuple[Any, Work]:
    """The graph, for images of any size where the network lets them be so."""
    if work.any_size:
        with suppress(UsageError):
            return to_onnx(work, mask, where=where), work
    work = replace(work, any_size=False)
    return to_onnx(work, mask, where=where), work


def _runs(path: Path) -> None:
    """Refuse a file that ONNX Runtime does not load from disk."""
    Session(path.read_bytes())


def _work(network: nn.Module, source: Loaded, order: OnnxOrder, ref: str) -> tuple[Work, Mask | None]:
    """What of the network is exported, and the mask by the names that weights have there."""
    task, side = source.about.get("task", "classification"), int(source.about["image_size"])
    if not is_classifier(source.about):
        side = int(source.about.get("head", {}).get("side", side))
    if order.taps:
        mask = source.mask
        if mask is not None and not is_classifier(source.about):
            mask = Mask({name.removeprefix(_BODY): bits for name, bits in mask.items()})
        return taps_of(body_of(network), side), _without_head(mask, network)
    if task in DETECTORS:
        raise UsageError(
            f"the heads of {task} are no graph that ONNX holds: they choose boxes one by one", where=ref,
            hint="--taps exports the backbone, its taps as outputs; 'ticket export --to NAME.ticket.safetensors' all",
        )  # fmt: skip
    return logits_of(network, side), source.mask


def _without_head(mask: Mask | None, network: nn.Module) -> Mask | None:
    """The mask of what taps depend on: a classifier that is masked too is not in the graph."""
    if mask is None:
        return None
    return Mask({name: bits for name, bits in mask.items() if not name.startswith(body_of(network).head_prefixes)})


def _images(source: Loaded, order: Calibration) -> Splits:
    """The images that it was trained on, or those that are named.

    Raises:
        UsageError: the network is for images of many objects, or there are no images to calibrate on.
    """
    if not is_classifier(source.about):
        what = f"int8 is for classifiers and their backbones; this network is for task: {source.about['task']}"
        hint = "leave --int8 out, or export the ticket that it was transferred from"
        raise UsageError(what, where="--int8", hint=hint)
    config = EvaluateConfig.parse({"data": order.data} if order.data else {}, where="export")
    job = Job(config, {}, {}, (), None, None, order.device, order.sources)
    splits = splits_of(
        job, data_of(config.data, source.about), int(source.about["image_size"]), encoder=source.about
    )  # fmt: skip
    if not len(splits.train.labels):
        raise UsageError("no training images to calibrate on", where="--int8", hint="name a set with --data")
    return splits


def _int8_notes(found: dict[str, object], size: int) -> list[str]:
    words = f"int8: {size:,} bytes, {size / float(str(found['float32_bytes'])):.2f} of float32"
    if "top1" not in found:
        return [f"{words}; its outputs differ from float32's by {found['relative']:.1%}, relative to their size."]
    n = found["n"]
    return [
        f"{words}; top-1 {found['top1']:.2%}, float32 {found['float32_top1']:.2%}, on {n:,} {found['split']} images, "
        f"of which both call {found['agree']:.2%} alike."
    ]
