"""Axes: from values to pixels, and at which values a reader wants a line."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A direction of a chart.

    Attributes:
        label: what is measured, with its unit.
        text: a value in words, for the ticks.
        is_log: equal factors take equal room; values must be above 0.
        is_reversed: the largest value comes first.
        ticks: values to mark; None lets the axis choose.
    """

    label: str
    text: Callable[[float], str] = "{:g}".format
    is_log: bool = False
    is_reversed: bool = False
    ticks: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Scale:
    """An axis laid over the pixels from `start` to `end`, for values from `low` to `high`."""

    axis: Axis
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value; those outside lie on the edge."""
        low, high, at = ((math.log(one) for one in (self.low, self.high, max(value, self.low))) if self.axis.is_log
                         else (self.low, self.high, value))  # fmt: skip
        share = min(max((at - low) / (high - low), 0.0), 1.0)
        if self.axis.is_reversed:
            share = 1 - share
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """At most so many values to mark."""
        if self.axis.ticks is not None:
            return _thinned([value for value in self.axis.ticks if self.low <= value <= self.high], most)
        found = _log_ticks(self.low, self.high) if self.axis.is_log else _linear_ticks(self.low, self.high, most)
        return _thinned(found, most)


def scale(axis: Axis, values: Sequence[float], start: float, end: float, *, room: float = 0.06) -> Scale:
    """A scale that holds all values with some room at both ends; of none or of one value it makes a range."""
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not axis.is_log)]
    low, high = (min(finite), max(finite)) if finite else (1.0, 10.0)
    if axis.is_log:
        factor = max((high / low) ** room, 1.08)
        return Scale(axis, low / factor, high * factor, start, end)
    span = high - low or abs(high) * 0.1 or 1.0
    return Scale(axis, low - room * span, high + room * span, start, end)


def _thinned(values: list[float], most: int) -> list[float]:
    step = max(1, math.ceil(len(values) / max(most, 1)))
    return values[::step]


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / max(most, 1)
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        found = [d * 10.0**e for e in decades for d in digits if low <= d * 10.0**e <= high]
        if len(found) >= 3:
            break
    return found if len(found) >= 2 else _linear_ticks(low, high, 4)
