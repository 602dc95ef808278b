"""`Chart`: curves with intervals over one axis, a level to hold them against, and marks along the way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

from ticketcli.figures.looks import colour, dash, look, mark
from ticketcli.figures.scales import Axis, Scale, scale
from ticketcli.figures.svg import INK, element, shortened, tip, width_of, words, wrapped

WIDTH = 480.0  # drawn for the width of a phone; a wide window shows it larger, or two beside each other
_PLOT = 236.0
_SIZE = 14.0
_ENTRY = 30.0  # of the legend's sample
_APART, _WIDE_APART = 6.0, 11.0  # pixels between curves with a point at the same place: of many places, of few
_BESIDE = 0.6  # of the way to the next place, at most, is taken by points that are set apart
_FEW = 60  # points of a thin curve that have a dot each
_REFERENCE: dict[str, Any] = {
    "class_": "reference",
    "stroke": INK["ink"][0],
    "stroke_width": 1.6,
    "stroke_dasharray": "7 4",
}


@dataclass(frozen=True)
class Point:
    """A mean, where its interval lies, the replicates behind it, and words for whoever points at it."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    replicates: tuple[float, ...] = ()
    words: str = ""


@dataclass(frozen=True)
class Curve:
    """Points of one look, joined in their order unless there is but one.

    Attributes:
        is_control: the line is dotted and the marks are hollow.
        is_thin: no marks, for hundreds of points.
        is_joined: without, there are marks and no line, such as of what was measured beside what was predicted.
        is_bound: a thin curve that looks like a level, to hold the others against.
    """

    name: str
    points: tuple[Point, ...]
    look: int = 0
    is_control: bool = False
    is_thin: bool = False
    in_legend: bool = True
    is_joined: bool = True
    is_bound: bool = False


@dataclass(frozen=True)
class Level:
    """A value to hold the curves against, drawn from side to side, with its interval as a band."""

    name: str
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        levels: values to hold the curves against.
        marks: places along x with a word each, such as where a round begins.
        reach, heights: places along x, and along y, that are shown whatever the curves reach.
        sets_apart: points at one place stand beside each other; else each stands where it is.
    """

    x: Axis
    y: Axis
    curves: tuple[Curve, ...]
    levels: tuple[Level, ...] = ()
    marks: tuple[tuple[float, str], ...] = ()
    reach: tuple[float, ...] = ()
    heights: tuple[float, ...] = ()
    sets_apart: bool = True
    plot_height: float = field(default=_PLOT)
    least_width: ClassVar[float] = 0.0

    def draw(self) -> tuple[str, float, float]:
        """The inside of an SVG, its width and its height."""
        ys = [*self.heights, *(value for curve in self.curves for one in curve.points for value in _heights(one))]
        ys += [value for one in self.levels for value in (one.y, one.low, one.high) if value is not None]
        xs = [one.x for curve in self.curves for one in curve.points]
        top, bottom = 30.0, 30.0 + self.plot_height
        down = scale(self.y, ys, bottom, top)
        ticks = [(value, self.y.text(value)) for value in down.ticks(6)]
        left = 12 + max([width_of(text, _SIZE) for _, text in ticks], default=20.0)
        shifts = _shifts(self.curves) if self.sets_apart else [0.0] * len(self.curves)
        aside = max(map(abs, shifts), default=0.0)
        places = [*xs, *self.reach, *(place for place, _ in self.marks)]
        across = scale(self.x, places, left + aside, WIDTH - 14 - aside, room=0.04)
        narrower = _narrower(shifts, sorted({round(across(place)) for place in xs}))
        shifts = [shift * narrower for shift in shifts]
        parts = [
            words(shortened(self.y.label, _SIZE, WIDTH - 12), 4, 16, size=_SIZE),
            *_grid(ticks, down, left),
            *_marks(self.marks, across, top, bottom),
            *_axis(self.x, across, left, bottom),
        ]
        for level in self.levels:
            parts.extend(_level(level, down, left))
        # lines without marks lie under marks, and controls under what they are controls of
        for curve, shift in sorted(zip(self.curves, shifts, strict=True), key=lambda pair: _depth(pair[0])):
            parts.extend(_curve(curve, across, down, shift))
        legend, height = _legend(self.curves, self.levels, bottom + 54)
        return "".join([*parts, *legend]), WIDTH, height


def _heights(one: Point) -> list[float]:
    return [value for value in (one.y, one.low, one.high, *one.replicates) if value is not None]


def _depth(curve: Curve) -> int:
    return 0 if curve.is_thin or curve.is_bound else 1 if curve.is_control else 2


def _grid(ticks: Sequence[tuple[float, str]], down: Scale, left: float) -> Iterable[str]:
    for value, text in ticks:
        y = down(value)
        yield _line(left, y, WIDTH - 14, y, class_="axis", stroke=INK["rule"][0])
        yield words(text, left - 6, y + 4.5, size=_SIZE, anchor="end", class_="quiet")


def _axis(axis: Axis, across: Scale, left: float, bottom: float) -> Iterable[str]:
    right = WIDTH - 14
    yield _line(left, bottom, right, bottom, class_="axis", stroke=INK["rule"][0], stroke_width=1.5)
    before = -1e9
    for value in sorted(across.ticks(9), key=across):
        text, x = axis.text(value), across(value)
        wide = width_of(text, _SIZE)
        if x - wide / 2 < before + 8:
            continue
        yield _line(x, bottom, x, bottom + 5, class_="axis", stroke=INK["rule"][0], stroke_width=1.5)
        yield words(text, min(x, WIDTH - 4 - wide / 2), bottom + 19, size=_SIZE, anchor="middle", class_="quiet")
        before = x + wide / 2
    label = shortened(axis.label, _SIZE, WIDTH - 12)
    x = min(max((left + right) / 2, width_of(label, _SIZE) / 2 + 4), WIDTH - 4 - width_of(label, _SIZE) / 2)
    yield words(label, x, bottom + 38, size=_SIZE, anchor="middle")


def _marks(marks: Sequence[tuple[float, str]], across: Scale, top: float, bottom: float) -> Iterable[str]:
    before = -1e9
    for value, text in marks:
        x = across(value)
        yield _line(x, top, x, bottom, class_="axis", stroke=INK["rule"][0], stroke_dasharray="3 3", inner=tip(text))
        if x >= before and x + width_of(text, 11) < WIDTH:
            yield words(text, x + 2, top + 9, size=11, class_="quiet")
            before = x + width_of(text, 11) + 5


def _level(level: Level, down: Scale, left: float) -> Iterable[str]:
    if level.low is not None and level.high is not None:
        top, bottom = down(level.high), down(level.low)
        yield element("rect", x=left, y=top, width=WIDTH - 14 - left, height=max(bottom - top, 1.0), class_="quiet",
                      fill=INK["quiet"][0], opacity=0.14)  # fmt: skip
    y, about = down(level.y), tip(f"{level.name}: {level.y:.4g}")
    yield _line(left, y, WIDTH - 14, y, inner=about, **_REFERENCE)


def _shifts(curves: Sequence[Curve]) -> list[float]:
    """Sideways, so that points at the same place do not hide each other; 0 where none do."""
    marked = [curve for curve in curves if not (curve.is_thin or curve.is_bound)]
    places = [round(one.x, 9) for curve in marked for one in curve.points]
    if len(set(places)) == len(places):
        return [0.0] * len(curves)
    n_places = len(set(places))
    step = min(_WIDE_APART if n_places <= 3 else _APART, (120 if n_places <= 3 else 40) / max(len(marked), 1))
    return [0.0 if curve not in marked else (marked.index(curve) - (len(marked) - 1) / 2) * step for curve in curves]


def _narrower(shifts: Sequence[float], places: Sequence[float]) -> float:
    """What keeps the points of a place nearer to each other than to those of the next; 1 where they are."""
    wide = max(shifts, default=0.0) - min(shifts, default=0.0)
    return min([1.0, *(_BESIDE * (one - before) / wide for before, one in pairwise(places) if wide)])


def _curve(curve: Curve, across: Scale, down: Scale, shift: float) -> Iterable[str]:
    paint = {"class_": f"line {look(curve.look)}", "stroke": colour(curve.look), "fill": "none"}
    places = [(across(one.x) + shift, down(one.y)) for one in curve.points]
    d = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    if curve.is_bound:
        yield element("path", tip(curve.name), d=d, fill="none", **_REFERENCE)
        return
    if len(places) > 1 and curve.is_joined:
        pattern = dash(curve.look, is_control=curve.is_control)
        yield element("path", tip(curve.name), d=d, stroke_width=1.3 if curve.is_thin else 2, stroke_linejoin="round",
                      stroke_dasharray=pattern, opacity=0.8 if curve.is_thin else None, **paint)  # fmt: skip
    if curve.is_thin:
        for x, y in places if len(places) <= _FEW and not curve.is_control else ():
            yield element("circle", cx=x, cy=y, r=1.8, class_=f"fill {look(curve.look)}", fill=colour(curve.look))
        return
    for one, (x, y) in zip(curve.points, places, strict=True):
        if one.low is not None and one.high is not None:
            low, high = down(one.low), down(one.high)
            d = f"M{x:.1f} {low:.1f}V{high:.1f}M{x - 4:.1f} {low:.1f}h8M{x - 4:.1f} {high:.1f}h8"
            yield element("path", d=d, stroke_width=1.6, **paint)
        for value in one.replicates if len(one.replicates) > 1 else ():
            yield element("circle", cx=x, cy=down(value), r=2.0, class_=f"fill {look(curve.look)}",
                          fill=colour(curve.look), opacity=0.55)  # fmt: skip
        inner = tip(one.words or curve.name)
        yield mark(curve.look, x, y, inner=inner, is_hollow=curve.is_control)


def _legend(curves: Sequence[Curve], levels: Sequence[Level], y: float) -> tuple[list[str], float]:
    """Samples with their names, in as many lines as they need, and where the figure ends."""
    room = WIDTH - 8
    shown = [curve for curve in curves if curve.in_legend]
    given = [*(one.name for one in shown), *(one.name for one in levels)]
    names = [shortened(name, _SIZE, room - _ENTRY - 4) for name in given]
    if not names:
        return [], y - 6
    parts: list[str] = []
    for row, line in enumerate(wrapped([_ENTRY + width_of(name, _SIZE) for name in names], room, 14)):
        for number, at in line:
            x, middle = 4 + at, y + row * 21 + 6
            if number < len(shown):
                parts.extend(_sample(shown[number], x, middle))
            else:
                parts.append(_line(x, middle, x + 24, middle, **_REFERENCE))
            parts.append(words(names[number], x + _ENTRY, middle + 4.5, size=_SIZE))
        last = row
    return parts, y + (last + 1) * 21 + 2


def _sample(curve: Curve, x: float, y: float) -> Iterable[str]:
    if curve.is_bound:
        yield _line(x, y, x + 24, y, **_REFERENCE)
        return
    pattern = dash(curve.look, is_control=curve.is_control)
    if curve.is_joined:
        yield _line(x, y, x + 24, y, class_=f"line {look(curve.look)}", stroke=colour(curve.look), stroke_width=2,
                    stroke_dasharray=pattern)  # fmt: skip
    if not curve.is_thin:
        yield mark(curve.look, x + 12, y, is_hollow=curve.is_control)


def _line(x1: float, y1: float, x2: float, y2: float, *, inner: str = "", **attributes: Any) -> str:
    return element("line", inner, x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def thinned(points: Sequence[Point], most: int = 240) -> tuple[Point, ...]:
    """At most about so many points of a long curve: the means of neighbours."""
    size = -(-len(points) // most)
    if size <= 1:
        return tuple(points)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return tuple(Point(group[-1].x, sum(one.y for one in group) / len(group)) for group in groups)


def is_rising(values: Sequence[float]) -> bool:
    """Whether each value is above the one before."""
    return all(one < other for one, other in pairwise(values))
