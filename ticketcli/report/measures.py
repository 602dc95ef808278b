"""How a measured number is called and written: accuracies in per cent, PSNR in decibels, sizes in bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ticketcli.units import human_bytes

Kind = Literal["share", "decibel", "bytes", "count", "number"]
_SHARES = ("sparsity", "network_sparsity", "accuracy", "miou")
_COUNTS = ("n", "correct", "kept", "prunable", "parameters", "dropped")


@dataclass(frozen=True)
class Measure:
    """A number among the metrics: its dotted name, and the words for it in a table's head."""

    name: str
    head: str

    @property
    def kind(self) -> Kind:
        """By the last part of the name."""
        last = self.name.rpartition(".")[2]
        if last in _SHARES or last.startswith("top"):
            return "share"
        if last.startswith("psnr"):
            return "decibel"
        if last == "bytes":
            return "bytes"
        return "count" if last in _COUNTS else "number"

    @property
    def unit(self) -> str:
        """What a difference of two is counted in."""
        return {"share": " points", "decibel": " dB", "bytes": " bytes"}.get(self.kind, "")

    def text(self, value: float | None) -> str:
        """The value with as many digits as say something."""
        if value is None or not math.isfinite(value):
            return "" if value is None else str(value)
        if self.kind == "share":
            return f"{value:.2%}"
        if self.kind == "decibel":
            return f"{value:.2f} dB"
        if self.kind == "bytes":
            return human_bytes(round(value))
        return f"{value:,.0f}" if self.kind == "count" and value == round(value) else f"{value:.4g}"

    def spread(self, value: float | None) -> str:
        """A standard deviation: the value's digits, no unit."""
        if value is None:
            return ""
        if self.kind in ("share", "decibel"):
            return f"{100 * value if self.kind == 'share' else value:.2f}"
        return f"{value:.2g}"

    def interval(self, low: float | None, high: float | None) -> str:
        """From where to where the mean may lie; a share cannot leave 0 to 100 %."""
        if low is None or high is None:
            return ""
        if self.kind == "share":
            return f"{max(0.0, low):.2%} to {min(1.0, high):.2%}"
        if self.kind == "decibel":
            return f"{low:.2f} to {high:.2f}"
        return f"{self.text(low)} to {self.text(high)}"

    def difference(self, value: float) -> str:
        """A difference with its sign; of shares in percentage points."""
        if self.kind == "share":
            return f"{100 * value:+.2f}"
        if self.kind == "decibel":
            return f"{value:+.2f}"
        return f"{value:+,.0f}" if self.kind in ("bytes", "count") else f"{value:+.3g}"


def named(names: Sequence[str]) -> list[Measure]:
    """Measures with the shortest words that tell them apart."""
    short = [_word(name.rpartition(".")[2]) for name in names]
    heads = [
        word if short.count(word) == 1 else " ".join([*name.split(".")[:-1], word])
        for name, word in zip(names, short, strict=True)
    ]
    return [Measure(name, head) for name, head in zip(names, heads, strict=True)]


def _word(last: str) -> str:
    if last.startswith("top") and last[3:].isdigit():
        return f"top-{last[3:]}"
    if last.startswith("psnr"):
        return "PSNR" + last[4:].replace("_", " ")
    return last.replace("_", " ")
