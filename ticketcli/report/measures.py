"""How a measured number is called and written: accuracies in per cent, AP in points, PSNR in decibels, bytes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ticketcli.units import human_bytes

Kind = Literal["share", "precision", "decibel", "milliseconds", "bytes", "count", "number"]
_UNITS: Mapping[str, str] = {
    "share": " points", "precision": " points", "decibel": " dB", "milliseconds": " ms", "bytes": " bytes",
}  # fmt: skip
IN = "/"  # between the column that a measure stands in and its name
_SHARES = ("sparsity", "network_sparsity", "accuracy", "miou", "iou", "pixel_accuracy", "gt_error", "pointing")
_PRECISION = re.compile(r"(ap|ar)(\d*|_\w+)")
_SPELLED = {"miou": "mIoU", "iou": "IoU", "gt_error": "GT-known error"}
_TOP = re.compile(r"top(\d+)((?:_\w+)?)")
_COUNTS = ("n", "correct", "kept", "prunable", "parameters", "dropped")


@dataclass(frozen=True)
class Measure:
    """A number among the metrics: its dotted name, and the words for it in a table's head."""

    name: str
    head: str

    @property
    def kind(self) -> Kind:
        """By the last part of the name."""
        last = self.name.rpartition(IN)[2].rpartition(".")[2]
        if last in _SHARES or last.startswith("top"):
            return "share"
        if _PRECISION.fullmatch(last):
            return "precision"
        if last.startswith("psnr"):
            return "decibel"
        if last.endswith("milliseconds"):
            return "milliseconds"
        if last == "bytes":
            return "bytes"
        return "count" if last in _COUNTS else "number"

    @property
    def unit(self) -> str:
        """What a difference of two is counted in."""
        return _UNITS.get(self.kind, "")

    def text(self, value: float | None) -> str:
        """The value with as many digits as say something."""
        if value is None or not math.isfinite(value):
            return "" if value is None else str(value)
        if self.kind == "share":
            return f"{value:.2%}"
        if self.kind == "precision":
            return f"{100 * value:.1f}"
        if self.kind == "decibel":
            return f"{value:.2f} dB"
        if self.kind == "milliseconds":
            return f"{value:.3g} ms"
        if self.kind == "bytes":
            return human_bytes(round(value))
        return f"{value:,.0f}" if self.kind == "count" and value == round(value) else f"{value:.4g}"

    def spread(self, value: float | None) -> str:
        """A standard deviation: the value's digits, no unit."""
        if value is None:
            return ""
        if self.kind in ("share", "precision", "decibel"):
            return f"{value if self.kind == 'decibel' else 100 * value:.2f}"
        return f"{value:.2g}"

    def interval(self, low: float | None, high: float | None) -> str:
        """From where to where the mean may lie; a share cannot leave 0 to 100 %."""
        if low is None or high is None:
            return ""
        if self.kind == "share":
            return f"{max(0.0, low):.2%} to {min(1.0, high):.2%}"
        if self.kind == "precision":
            return f"{100 * max(0.0, low):.1f} to {100 * min(1.0, high):.1f}"
        if self.kind == "decibel":
            return f"{low:.2f} to {high:.2f}"
        return f"{self.text(low)} to {self.text(high)}"

    def difference(self, value: float) -> str:
        """A difference with its sign; of shares in percentage points."""
        if self.kind in ("share", "precision"):
            return f"{100 * value:+z.2f}"
        if self.kind == "decibel":
            return f"{value:+z.2f}"
        return f"{value:+z,.0f}" if self.kind in ("bytes", "count") else f"{value:+z.3g}"


def named(names: Sequence[str]) -> list[Measure]:
    """Measures with the shortest words that tell them apart."""
    forms = [
        (word := _words(name), " ".join([*_column(name), word]),
         " ".join([*_column(name), *name.rpartition(IN)[2].split(".")[:-1], word]))
        for name in names
    ]  # fmt: skip
    levels = list(zip(*forms, strict=True))
    heads = [next((form for form, level in zip(own, levels, strict=True) if level.count(form) == 1), own[-1])
             for own in forms]  # fmt: skip
    return [Measure(name, head) for name, head in zip(names, heads, strict=True)]


def _column(name: str) -> list[str]:
    return [part for part in name.rpartition(IN)[0].split(IN) if part]


def _words(name: str) -> str:
    """The last part; of precisions with what they are of: `box AP`."""
    *above, last = name.rpartition(IN)[2].split(".")
    if match := _PRECISION.fullmatch(last):
        words = [*above[-1:], last[:2].upper() + match[2].replace("_", " ")]
        return " ".join(words)
    if match := _TOP.fullmatch(last):
        return f"top-{match[1]}" + match[2].replace("_", " ")
    if last in _SPELLED:
        return _SPELLED[last]
    if last.startswith("psnr"):
        return "PSNR" + last[4:].replace("_", " ")
    return last.replace("_", " ")
