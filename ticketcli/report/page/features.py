"""How far each ticket's features are from the dense network's, tap by tap, and what linear probes read from them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ticketcli.figures.chart import Chart, Curve, Level, Point
from ticketcli.figures.figure import Figure
from ticketcli.figures.scales import Axis
from ticketcli.recipe.tables import TableConfig
from ticketcli.report.intervals import Summary, summarize
from ticketcli.report.measures import Measure
from ticketcli.report.page.masks import in_order
from ticketcli.report.page.results import tick
from ticketcli.report.page.section import Block, Drawn, Names, Section, Words
from ticketcli.report.page.subject import Arm, Subject, counted, interval_words
from ticketcli.report.rows import Row
from ticketcli.report.tables import Table, make_table

_MOST = 10  # curves of a figure
_PROBE = "probe.top1"


@dataclass(frozen=True)
class _Kind:
    """What a figure shows: the metric's name below its tap, title, axis, and how to read it."""

    name: str
    title: str
    axis: str
    told: str


_KINDS = (
    _Kind("r_map", "Feature maps, by tap", "|dense - this| / |dense|",
          "How far the feature maps are from the dense network's, over all images; at 0 they are the same."),
    _Kind("r_pool", "Pooled features, by tap", "|dense - this| / |dense|",
          "How far the maps' means over space are; of the last tap a classifier reads nothing else."),
    _Kind("ratio", "Feature maps over pooled features, by tap", "r_map / r_pool",
          "At 1, maps and their means suffer alike; above, the means are spared, as theorem 3.1 of the paper has it."),
    _Kind(_PROBE, "Linear probes, by tap", "top-1, %",
          "What a linear probe reads from the pooled features of images that it has not learnt from."),
)  # fmt: skip


@dataclass(frozen=True)
class _Images:
    """What was measured on the same images at the same taps.

    Attributes:
        name: of the images.
        taps: from the first to the last.
        steps: evaluation -> its metrics.
    """

    name: str
    taps: tuple[str, ...]
    steps: dict[str, Mapping[str, Any]]


@dataclass(frozen=True)
class _Line:
    """A row of the table as a curve."""

    row: Row
    name: str
    look: int
    is_control: bool


def features(subject: Subject, names: Names) -> Section | None:
    """Figures for each set of images on which features were compared; None where no evaluation asks for it."""
    if not any(getattr(step.config, "features", False) for step in subject.recipe.steps):
        return None
    measured = _measured(subject)
    blocks = [
        block for images in measured
        for block in _figures(subject, images, names, f": {images.name}" if len(measured) > 1 else "")
    ]  # fmt: skip
    if not blocks:
        blocks = [Words("No features were compared yet, so there is no figure.", is_absence=True)]
    return Section("features", "What is left of the dense network's features", tuple(blocks))


def _measured(subject: Subject) -> list[_Images]:
    found: dict[tuple[object, ...], _Images] = {}
    for step in subject.recipe.steps:
        for unit in subject.found.units.get(step.name, {}).values() if step.stage == "evaluate" else ():
            if unit.metrics.get("features"):
                taps = tuple(sorted(unit.metrics["features"], key=in_order))
                name = _name(unit.metrics)
                found.setdefault((name, taps), _Images(name, taps, {})).steps[step.name] = unit.metrics
    return list(found.values())


def _name(metrics: Mapping[str, Any]) -> str:
    """``test images of digits``, with what else says which images they are."""
    given = dict(metrics.get("data") or {})
    name = f"{metrics.get('split', 'test')} images of {given.pop('name', 'the source')}"
    return name + (f" ({', '.join(f'{key}: {value}' for key, value in sorted(given.items()))})" if given else "")


def _figures(subject: Subject, images: _Images, names: Names, ending: str) -> Iterator[Block]:
    groups = dict.fromkeys(subject.recipe[name].group for name in images.steps)
    variables = {name for group in groups for step in subject.recipe.instances[group] for name in step.variables}
    metric = tuple(f"features.{tap}.{kind.name}" for tap in images.taps for kind in _KINDS)
    config = TableConfig(
        table=tuple(groups), over=tuple(sorted(variables & subject.over)), metric=metric, labels=subject.labels
    )
    table = make_table("", config, subject.recipe, subject.found)
    lines, told = _lines(subject, images, table)
    for kind in _KINDS:
        curves = [curve for line in lines if (curve := _curve(line, kind, images.taps)).points]
        if not curves:
            yield Words(f"{kind.title}{ending}: nothing was measured, so there is no figure.", is_absence=True)
            continue
        name = names.take("features", *kind.name.split("."))
        yield Drawn(replace(_figure(subject, images, kind, curves, told, name), title=kind.title + ending))


def _lines(subject: Subject, images: _Images, table: Table) -> tuple[list[_Line], str]:
    """The networks, and words about those that are left out: the dense one itself, and where they are too many."""
    rows = [
        (row, _arm(subject, row)) for row in table.rows
        if any(one.real in images.steps for one in row.measured)
        and any(any(row.values(f"features.{tap}.r_map")) for tap in images.taps)
    ]  # fmt: skip
    told = ""
    if len(rows) > _MOST:
        told = f" Of {len(rows)} networks, the sparsest of each arm; summary.json has them all."
        rows = _sparsest(rows)
    arms = [arm.number for _, arm in rows if arm is not None]
    own = [row for row, _ in _sparsest(rows)]
    lines: list[_Line] = []
    for row, arm in rows:
        free = max([len(subject.arms), *(line.look for line in lines)]) + 1
        look = arm.number if arm is not None and row in own else free
        name = table.title(row) if arm is None or arms.count(arm.number) > 1 else arm.name
        lines.append(_Line(row, name, look, arm is not None and arm.is_control))
    return lines, told


def _sparsest(rows: Sequence[tuple[Row, Arm | None]]) -> list[tuple[Row, Arm | None]]:
    """Of each arm the network with the fewest weights; those of no arm stay."""
    best: dict[object, tuple[Row, Arm | None]] = {}
    for row, arm in sorted(rows, key=lambda pair: pair[0].mean("sparsity") or 0.0):
        best[tuple(row.key.values()) if arm is None else arm.number] = (row, arm)
    return [pair for pair in rows if pair in best.values()]


def _arm(subject: Subject, row: Row) -> Arm | None:
    behind = subject.pruning_behind(subject.recipe[row.measured[0].step])
    return subject.arm(behind[0]) if behind else None


def _curve(line: _Line, kind: _Kind, taps: Sequence[str]) -> Curve:
    points = [
        _point(x, f"{line.name}, {tap}", kind, line.row.values(f"features.{tap}.{kind.name}"))
        for x, tap in enumerate(taps, 1)
        if line.row.values(f"features.{tap}.{kind.name}")
    ]
    return Curve(line.name, tuple(points), line.look, is_control=line.is_control)


def _point(x: int, name: str, kind: _Kind, values: Sequence[float]) -> Point:
    """Nothing that is measured here is below 0, and no share above 1, whatever Student's t says."""
    found, measure = summarize(values), Measure(kind.name, "")
    assert found.mean is not None
    low, high = _within(found, measure)
    interval = measure.interval(low, high)
    text = f"{name}: {measure.text(found.mean)}" + (f" ({interval})" if interval else "") + f", n = {found.n}"
    return Point(x, found.mean, low, high, tuple(values), text)


def _within(found: Summary, measure: Measure) -> tuple[float | None, float | None]:
    if found.low is None or found.high is None:
        return None, None
    return max(found.low, 0.0), min(found.high, 1.0) if measure.kind == "share" else found.high


def _figure(subject: Subject, images: _Images, kind: _Kind, curves: Sequence[Curve], told: str, name: str) -> Figure:
    taps, measure = images.taps, Measure(kind.name, "")
    numbers = [len(point.replicates) for curve in curves for point in curve.points]
    told = f"{kind.told} On {images.name}.{told}"
    if any(curve.is_control for curve in curves):
        told += " Controls have hollow marks."
    dense = _dense(images) if kind.name == _PROBE else None
    if dense is not None:
        curves = [*curves, dense]
        told += " The dashed line is the dense network."
    chart = Chart(
        Axis("tap", lambda x: taps[round(x) - 1], ticks=tuple(float(x) for x in range(1, len(taps) + 1))),
        Axis(kind.axis, lambda value: tick(measure, value)), tuple(curves),
        (Level("alike", 1.0),) if kind.name == "ratio" else (), heights=() if kind.name == _PROBE else (0.0,),
    )  # fmt: skip
    rows = tuple(
        (curve.name, taps[round(point.x) - 1], str(len(point.replicates)), measure.text(point.y),
         measure.interval(point.low, point.high))
        for curve in curves for point in curve.points
    )  # fmt: skip
    about = "; ".join(curve.points[-1].words for curve in curves)
    return Figure(
        name, kind.title, told, subject.facts(counted(numbers), interval_words(numbers)), chart, f"{told} {about}.",
        ("", "tap", "n", kind.axis.removesuffix(", %"), "95 % interval"), rows,
    )  # fmt: skip


def _dense(images: _Images) -> Curve | None:
    """Each dense network counts once, however many tickets were compared with it."""
    found: dict[str, dict[str, float]] = {}
    for metrics in images.steps.values():
        for tap, one in metrics["features"].items():
            if "dense_probe" in one:
                network = json.dumps(metrics["features_of"], sort_keys=True)
                found.setdefault(tap, {})[network] = one["dense_probe"]["top1"]
    points = tuple(
        _point(x, f"dense network, {tap}", _KINDS[-1], list(found[tap].values()))
        for x, tap in enumerate(images.taps, 1)
        if tap in found
    )
    return Curve("dense network", points, is_bound=True) if points else None
