"""How well each network's gradients and gates find the objects that it knows: tables, a figure, and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ticketcli.figures.chart import Chart, Curve, Point
from ticketcli.figures.figure import Figure
from ticketcli.figures.scales import Axis
from ticketcli.recipe.tables import TableConfig
from ticketcli.report.grid import Grid
from ticketcli.report.localization import LEGEND, MEASURES, beside_grid, gates_grid, interval_of, methods_of
from ticketcli.report.measures import Measure
from ticketcli.report.page.pictures import LOCALIZED, drawn_pictures
from ticketcli.report.page.results import tick
from ticketcli.report.page.section import Block, Drawn, Names, Section, Shown, Words
from ticketcli.report.page.subject import Subject, counted
from ticketcli.report.rows import Row
from ticketcli.report.tables import Table, make_table

_TITLE = "Where networks look"
_MOST = 12  # evaluations whose differences and gates are shown one by one
_OVER = "95 %: Student's t over the replicates; of one replicate over its images, by bootstrap"


@dataclass(frozen=True)
class _Images:
    """What was looked at on the same images in the same way.

    Attributes:
        name: of the images.
        methods: in the order of the settings.
        steps: evaluation -> its metrics.
    """

    name: str
    methods: tuple[str, ...]
    steps: dict[str, Mapping[str, Any]]


def localization(subject: Subject, names: Names) -> Section | None:
    """Tables for each set of images on which objects were looked for; None where no evaluation asks for it."""
    if not any(getattr(step.config, "localize", None) for step in subject.recipe.steps):
        return None
    blocks = [block for images in _measured(subject) for block in _blocks(subject, images, names)]
    blocks += drawn_pictures(subject, names, LOCALIZED)
    if not blocks:
        blocks = [Words("Nothing was looked for yet, so there is no table.", is_absence=True)]
    return Section("localization", _TITLE, tuple(blocks))


def _measured(subject: Subject) -> list[_Images]:
    found: dict[tuple[object, ...], _Images] = {}
    for step in subject.recipe.steps:
        for unit in subject.found.units.get(step.name, {}).values() if step.stage == "evaluate" else ():
            methods = tuple(methods_of(unit.metrics))
            if methods:
                name = _name(unit.metrics)
                found.setdefault((name, methods), _Images(name, methods, {})).steps[step.name] = unit.metrics
    return list(found.values())


def _name(metrics: Mapping[str, Any]) -> str:
    """``46 images of coco:coco-mini (test, 64 pixels)``, with what else says how they were looked at."""
    of = metrics["localization_of"]
    given = {key: value for key, value in of["data"].items() if key not in ("name", "part", "side", "methods", "names")}
    said = ", ".join(filter(None, [of["data"].get("part", "test"), f"{of['side']} pixels",
                                   *(f"{key}: {value}" for key, value in sorted(given.items()))]))  # fmt: skip
    return f"{of['images']:,} images of {of['data']['name']} ({said})"


def _blocks(subject: Subject, images: _Images, names: Names) -> Iterator[Block]:
    table = _table(subject, images)
    rows = [row for row in table.rows if any(one.real in images.steps for one in row.measured)]
    n_rows = next(iter(images.steps.values()))["localization_of"]["rows"]
    yield Words(f"On {images.name}: {n_rows:,} rows, each an image and a class on it that the networks know.")
    yield Drawn(_figure(subject, images, table, rows, names))
    yield Shown(f"Each network and method, on {images.name}", _grid(images, table, rows), (*LEGEND, _OVER + "."))
    for step, metrics in list(images.steps.items())[:_MOST]:
        if (beside := beside_grid(metrics)).rows:
            of = metrics["localization_of"]
            told = ("Points, row by row on the same images; 95 % intervals over images, by bootstrap. Of errors less "
                    "is better, of pointing and IoU more.",)  # fmt: skip
            caption = f"{metrics['of']} less {of['beside']}, on {images.name}"
            yield Shown(caption, beside, told)
        if (gates := gates_grid(metrics)).rows:
            told = ("Open: the share of a layer's active units whose gate is open, mean over the rows. Shared: the IoU "
                    "of the open gates with the other network's, on the same images.",)  # fmt: skip
            yield Shown(f"Gates of {metrics['of']}, layer by layer ({step})", gates, told, is_folded=True)


def _table(subject: Subject, images: _Images) -> Table:
    groups = dict.fromkeys(subject.recipe[name].group for name in images.steps)
    variables = {name for group in groups for step in subject.recipe.instances[group] for name in step.variables}
    metric = tuple(f"localization.{method}.{name}" for method in images.methods for name in MEASURES)
    over = tuple(sorted(variables & subject.over))
    config = TableConfig(table=tuple(groups), over=over, metric=metric, labels=subject.labels)
    return make_table("", config, subject.recipe, subject.found)


def _grid(images: _Images, table: Table, rows: Sequence[Row]) -> Grid:
    """A row for each method and network, those of a method together, so that networks stand under each other."""
    lines = []
    for method in images.methods:
        for row in rows:
            n = max((len(row.values(f"localization.{method}.{name}")) for name in MEASURES), default=0)
            if n:
                told = [_cell(images, row, method, name) for name in MEASURES]
                lines.append((method, table.title(row), str(n), *told))
    return Grid(("method", "network", "n", *MEASURES.values()), tuple(lines), 2).without_empty()


def _cell(images: _Images, row: Row, method: str, name: str) -> str:
    found = _point(images, row, method, name, 0)
    if found is None:
        return ""
    text = f"{found.y:.1%}"
    return text if found.low is None or found.high is None else f"{text} ({found.low:.1%} to {found.high:.1%})"


def _point(images: _Images, row: Row, method: str, name: str, x: float) -> Point | None:
    """The mean over replicates with its interval; of one replicate, that over images."""
    values = row.values(f"localization.{method}.{name}")
    if not values:
        return None
    found = row.summary(f"localization.{method}.{name}")
    assert found.mean is not None
    low, high = found.low, found.high
    if found.n == 1:
        real = next(one.real for one in row.measured if one.real in images.steps)
        low, high = interval_of(methods_of(images.steps[real])[method], name) or (None, None)
    low, high = (None if end is None else min(1.0, max(0.0, end)) for end in (low, high))
    words = f"{method}: {found.mean:.1%}" + ("" if low is None else f" ({low:.1%} to {high:.1%})") + f", n = {found.n}"
    return Point(x, found.mean, low, high, tuple(values) if found.n > 1 else (), words)


def _figure(subject: Subject, images: _Images, table: Table, rows: Sequence[Row], names: Names) -> Figure:
    methods, measure = images.methods, Measure("gt_error", "")
    curves = []
    for look, row in enumerate(rows):
        behind = subject.pruning_behind(subject.recipe[row.measured[0].step])
        arm = subject.arm(behind[0]) if behind else None
        points = [_point(images, row, method, "gt_error", x) for x, method in enumerate(methods, 1)]
        there = tuple(point for point in points if point is not None)
        number = len(subject.arms) + look if arm is None else arm.number
        control = arm is not None and arm.is_control
        curves.append(Curve(table.title(row), there, number, is_control=control, is_joined=False))
    ticks = tuple(float(x) for x in range(1, len(methods) + 1))
    chart = Chart(
        Axis("method", lambda x: methods[round(x) - 1], ticks=ticks),
        Axis("GT-known error", lambda y: tick(measure, y)),
        tuple(curve for curve in curves if curve.points),
    )  # fmt: skip
    told = f"Rows whose box is wrong, on {images.name}; lower is better. centre and whole see no image."
    cells = tuple(
        (curve.name, methods[round(point.x) - 1], point.words.partition(": ")[2])
        for curve in curves for point in curve.points
    )  # fmt: skip
    facts = subject.facts(counted([len(row.measured) for row in rows]), _OVER)
    return Figure(
        names.take("localization", "gt-error"), f"GT-known localisation error: {images.name}", told, facts, chart, told,
        ("network", "method", "GT-known error"), cells,
    )  # fmt: skip
