"""`Forest`: differences with their intervals beneath each other, around the line where there is none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from ticketcli.figures.looks import colour, look, mark
from ticketcli.figures.scales import Axis, scale
from ticketcli.figures.svg import INK, element, shortened, tip, width_of, words

WIDTH = 480.0
_SIZE = 14.0
_ROW = 46.0


@dataclass(frozen=True)
class Line:
    """One difference: what it is called, where it lies, its replicates, and what is written beside it."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    replicates: tuple[float, ...] = ()
    text: str = ""
    look: int = 0
    margin: float | None = None


@dataclass(frozen=True)
class Forest:
    """Differences on one axis; a `margin` of a line is the band around 0 within which it would count as none."""

    axis: Axis
    lines: tuple[Line, ...]
    least_width: ClassVar[float] = 0.0

    def draw(self) -> tuple[str, float, float]:
        """The inside of an SVG, its width and its height."""
        values = [0.0]
        for line in self.lines:
            values += [value for value in (line.value, line.low, line.high, *line.replicates) if value is not None]
            values += [line.margin, -line.margin] if line.margin is not None else []
        across = scale(self.axis, values, 14, WIDTH - 14)
        bottom = 8 + _ROW * len(self.lines)
        zero = across(0.0)
        parts = []
        for number, line in enumerate(self.lines):
            top = 8 + number * _ROW
            # The line of no difference leaves room for the names.
            parts.append(element("line", x1=zero, y1=top + 20, x2=zero, y2=top + _ROW, class_="reference",
                                 stroke=INK["ink"][0], stroke_width=1.4, stroke_dasharray="7 4"))  # fmt: skip
            parts.extend(_drawn(line, top, across))
        parts.append(element("line", x1=14, y1=bottom, x2=WIDTH - 14, y2=bottom, class_="axis", stroke=INK["rule"][0]))
        before = -1e9
        for value in across.ticks(7):
            text = self.axis.text(value)
            x, wide = across(value), width_of(text, _SIZE)
            if x - wide / 2 > before + 6:
                parts.append(words(text, x, bottom + 17, size=_SIZE, anchor="middle", class_="quiet"))
                before = x + wide / 2
        label = shortened(self.axis.label, _SIZE, WIDTH - 12)
        parts.append(words(label, WIDTH / 2, bottom + 37, size=_SIZE, anchor="middle"))
        return "".join(parts), WIDTH, bottom + 46


def _drawn(line: Line, top: float, across: object) -> Iterable[str]:
    at = across
    assert callable(at)
    y, paint = top + 31, {"class_": f"line {look(line.look)}", "stroke": colour(line.look), "fill": "none"}
    beside = width_of(line.text, 12) + 12
    yield words(shortened(line.name, _SIZE, WIDTH - 12 - beside), 4, top + 15, size=_SIZE)
    yield words(line.text, WIDTH - 4, top + 15, size=12, anchor="end", class_="quiet")
    if line.margin is not None:
        left, right = at(-line.margin), at(line.margin)
        yield element("rect", tip(f"counts as none: within {line.margin:.3g}"), x=left, y=y - 9, width=right - left,
                      height=18.0, class_="quiet", fill=INK["quiet"][0], opacity=0.16)  # fmt: skip
    if line.low is not None and line.high is not None:
        low, high = at(line.low), at(line.high)
        d = f"M{low:.1f} {y:.1f}H{high:.1f}M{low:.1f} {y - 5:.1f}v10M{high:.1f} {y - 5:.1f}v10"
        yield element("path", d=d, stroke_width=2, **paint)
    for value in line.replicates if len(line.replicates) > 1 else ():
        yield element("circle", cx=at(value), cy=y, r=2.2, class_=f"fill {look(line.look)}", fill=colour(line.look),
                      opacity=0.55)  # fmt: skip
    yield mark(line.look, at(line.value), y, inner=tip(f"{line.name}: {line.text}"), size=5)
