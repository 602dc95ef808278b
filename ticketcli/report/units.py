"""What a step has made so far, one row a unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ticketcli.report.features import features_table
from ticketcli.report.latency import latency_table
from ticketcli.report.localization import localization_table
from ticketcli.report.render import table, width
from ticketcli.store.manifest import FileRecord, Manifest, UnitRecord
from ticketcli.units import human_bytes, human_seconds

_LEGEND = {
    "sparse": "sparse, net: masked share of the prunable weights, and of the whole network.",
    "channels": "channels: living ones of all that can fall; fewer, MACs: the parameters and multiply-adds that go.",
    "at 1": "at 1: SCOP's betas that want nothing of their control; if most do, channels rank by |gamma| alone.",
    "apart": "apart: largest difference of taps and logits from the ticket's, of the largest, in float32.",
    "unhealed": "unhealed: top-1 of the unit's own mask on the rewound values; recal.: with BatchNorm re-estimated.",
    "comp.": "comp.: top-1 of the same mask on the compensated weights; comp. recal.: with BatchNorm re-estimated.",
    "off by": "off by: how far the mask alone moves the output, as a share; by layer: ticket inspect STEP/OUTPUT.",
    "comp. off by": "comp. off by: the same with the weights that stay adjusted.",
    "finetuned": "finetuned: top-1 after the unit's training: rounds under the mask before, others under their own.",
    "PSNR": "PSNR: of the rebuilt image after that training, in dB, with hints and without (t=0).",
    "mIoU": "mIoU: mean intersection over union of the classes of pixels, on test images.",
    "box AP": "AP: average precision as COCO defines it, times 100, on test images.",
    "ratio": "ratio: gradient of lambda L_rec over that of L_class in the encoder, as the training began.",
}


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _tested(metrics: Mapping[str, Any], *path: str) -> Any:
    """Of a transfer's test images, or of an evaluation."""
    found = _found(metrics, "test", *path)
    return _found(metrics, *path) if found is None else found


def _points(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _off_by(metrics: Mapping[str, Any], *, adjusted: bool) -> str:
    """How far the output is from before; "" without an account of layers, or where nothing was adjusted."""
    found = _found(metrics, "output") or {}
    masked = found.get("masked")
    value = found.get("measured") if adjusted or masked is None else masked
    if not found.get("output") or value is None or (adjusted and masked is None):
        return ""
    return f"{value / found['output']:.1%}"


def _channels(metrics: Mapping[str, Any]) -> str:
    found = metrics.get("channels")
    return f"{found['kept']:,}/{found['of']:,}" if isinstance(found, Mapping) else ""


def _fewer(metrics: Mapping[str, Any], what: str) -> float | None:
    """The share that is gone with the fallen channels: what a mask would save, or what a compact network did."""
    before, left = _found(metrics, "cost", what), _found(metrics, "cost", f"{what}_left")
    if before is None:
        before, left = _found(metrics, "before", what), metrics.get(what)
    return 1 - left / before if before and left is not None else None


def _found(metrics: Mapping[str, Any], *path: str) -> Any:
    value: Any = metrics
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def units_table(manifest: Manifest) -> str:
    """Sparsity (prunable and whole network), accuracies, PSNR, gradient ratio, size and time; then what they mean."""
    spec: dict[str, Any] = {
        "sparse": lambda m: _percent(m.get("sparsity")),
        "net": lambda m: _percent(m.get("network_sparsity")),
        "channels": _channels,
        "fewer": lambda m: _percent(_fewer(m, "parameters")),
        "MACs": lambda m: _percent(_fewer(m, "macs")),
        "at 1": lambda m: _percent(_found(m, "selection", "at_one")),
        "apart": lambda m: "" if m.get("difference_float32") is None else f"{m['difference_float32']:.1g}",
        "validation": lambda m: _percent(_found(m, "validation", "top1")),
        "test": lambda m: _percent(_tested(m, "top1")),
        "mIoU": lambda m: _percent(_tested(m, "miou")),
        "box AP": lambda m: _points(_tested(m, "box", "ap")),
        "mask AP": lambda m: _points(_tested(m, "mask", "ap")),
        "unhealed": lambda m: _percent(_found(m, "unhealed", "literal", "top1")),
        "recal.": lambda m: _percent(_found(m, "unhealed", "recalibrated", "top1")),
        "comp.": lambda m: _percent(_found(m, "compensated", "literal", "top1")),
        "comp. recal.": lambda m: _percent(_found(m, "compensated", "recalibrated", "top1")),
        "off by": lambda m: _off_by(m, adjusted=False),
        "comp. off by": lambda m: _off_by(m, adjusted=True),
        "finetuned": lambda m: _percent(_found(m, "healed_before", "top1")),
        "PSNR": lambda m: _decibel(
            _found(m, "validation", "psnr") or _found(m, "healed_before", "psnr") or m.get("psnr")
        ),
        "t=0": lambda m: _decibel(
            _found(m, "validation", "psnr_without_hints")
            or _found(m, "healed_before", "psnr_without_hints")
            or m.get("psnr_without_hints")
        ),
        "ratio": lambda m: "" if m.get("gradient_ratio") is None else f"{m['gradient_ratio']:.3g}",
    }
    units = dict(sorted(manifest.units.items(), key=lambda item: item[1].metrics.get("metrics_end", 0)))
    cells = {name: [text(unit.metrics) for unit in units.values()] for name, text in spec.items()}
    shown = [name for name, column in cells.items() if any(column)]
    rows = []
    for index, (name, unit) in enumerate(units.items()):
        size = human_bytes(sum(file.size for file in own_files(unit)))
        rows.append([name, *(cells[column][index] for column in shown), size, human_seconds(unit.seconds)])
    right = [*shown, "written", "time"]
    head = f"{manifest.step}: {manifest.stage}, {manifest.status}"
    notes = [words for column, words in _LEGEND.items() if column in shown]
    note = "\n\n" + "\n".join(notes) if notes else ""
    features = "".join(f"\n\n{text}" for unit in units.values() if (text := features_table(unit.metrics)))
    located = "".join(f"\n\n{text}" for unit in units.values() if (text := localization_table(unit.metrics, width())))
    timed = "".join(f"\n\n{text}" for unit in units.values() if (text := latency_table(unit.metrics)))
    return (
        f"{head}\n\n"
        + table(["unit", *shown, "written", "time"], rows, right=right)
        + note
        + features
        + located
        + timed
    )


def _decibel(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def own_files(unit: UnitRecord) -> list[FileRecord]:
    """The files that a unit wrote itself; values that are another checkpoint's cost nothing."""
    seen: dict[str, FileRecord] = {}
    for output in unit.outputs:
        for file in output.files.values():
            if "/" not in file.path:
                seen[file.path] = file
    return list(seen.values())
