"""How well each network's gradients and gates find the objects that it knows: tables, a figure, and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ticketcli.figures.chart import Chart, Curve, Level, Point
from ticketcli.figures.figure import Figure
from ticketcli.figures.scales import Axis
from ticketcli.recipe.recipe import RecipeStep
from ticketcli.report.grid import Grid
from ticketcli.report.intervals import summarize
from ticketcli.report.localization import (
    BLIND,
    BLIND_WORDS,
    LOCATED,
    MEASURES,
    THRESHOLDS,
    beside_grid,
    gates_grid,
    interval_of,
    methods_of,
)
from ticketcli.report.measures import Measure
from ticketcli.report.page.pictures import LOCALIZED, drawn_pictures
from ticketcli.report.page.results import tick
from ticketcli.report.page.section import Block, Drawn, Names, Section, Shown, Words
from ticketcli.report.page.subject import Subject, counted

_TITLE = "Where networks look"
_ERROR = "gt_error"
_MOST_GATES = 8  # tables of gates
_NOT_DRAWN = ("fsp-unguarded",)  # as good as fsp; the table has both
_OVER = "95 %: Student's t over the replicates; of one replicate over its images, by bootstrap"
_BESIDE = ("Points, row by row on the same images; 95 % intervals over images, by bootstrap. "
           "Of errors less is better, of pointing and IoU more.")  # fmt: skip
_GATES = ("Open: the share of a layer's active units whose gate is open, mean over the rows. "
          "Shared: the IoU of the open gates with the other network's, on the same images.")  # fmt: skip
Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class _Network:
    """A network and its replicates.

    Attributes:
        name: in words.
        look: its place, which decides how it looks.
        seen: reference of a replicate -> what was measured of it.
    """

    name: str
    look: int
    is_control: bool
    seen: dict[str, Metrics] = field(default_factory=dict)

    def point(self, method: str, name: str, x: float = 0.0) -> Point | None:
        """The mean over replicates with its interval; of one replicate, that over images."""
        found = [methods_of(one)[method] for one in self.seen.values()]
        values = [one[name] for one in found if one.get(name) is not None]
        if not values:
            return None
        told = summarize(values)
        assert told.mean is not None
        ends = (interval_of(found[0], name) or (None, None)) if told.n == 1 else (told.low, told.high)
        low, high = (None if end is None else min(1.0, max(0.0, end)) for end in ends)
        interval = f" ({low:.1%} to {high:.1%})" if low is not None and high is not None else ""
        words = f"{self.name}, {method}: {told.mean:.1%}{interval}, n = {told.n}"
        return Point(x, told.mean, low, high, tuple(values) if told.n > 1 else (), words)


@dataclass(frozen=True)
class _Images:
    """What was looked at on the same images in the same way.

    Attributes:
        name: of the images.
        methods: in the order of the settings.
        networks: by what they are, less their replicates.
        steps: evaluation -> its metrics.
    """

    name: str
    methods: tuple[str, ...]
    networks: dict[object, _Network] = field(default_factory=dict)
    steps: dict[str, Metrics] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        """An image and a class on it each."""
        return int(next(iter(self.steps.values()))["localization_of"]["rows"])


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
                images = found.setdefault((name, methods), _Images(name, methods))
                images.steps[step.name] = unit.metrics
                _add(subject, images, step, unit.metrics)
    return list(found.values())


def _add(subject: Subject, images: _Images, step: RecipeStep, metrics: Metrics) -> None:
    """Count what a step measured as a replicate of its network, once, however many steps have measured it."""
    ref = step.refs["of"]
    maker = subject.recipe[ref.step] if ref.step else None
    key = (subject.key(maker) if maker is not None else str(ref), ref.output)
    if key not in images.networks:
        behind = subject.pruning_behind(step)
        arm = subject.arm(behind[0]) if behind else None
        plain = "/".join(filter(None, (maker.group, ref.output))) if maker is not None else str(ref)
        others = [str(label) for name, label in maker.variables.items() if name not in subject.over] if maker else []
        name = ", ".join([subject.labels.get(plain, plain), *(subject.labels.get(one, one) for one in others)])
        looks = {network.look for network in images.networks.values()}
        look = arm.number if arm is not None else len(subject.arms)
        look = look if look not in looks else max(looks | {len(subject.arms)}) + 1
        images.networks[key] = _Network(name, look, arm is not None and arm.is_control)
    images.networks[key].seen.setdefault(metrics["of"], metrics)


def _name(metrics: Metrics) -> str:
    """``46 images of coco:coco-mini (test, 64 pixels)``, with what else says how they were looked at."""
    of, told = metrics["localization_of"], ("name", "part", "side", "count", "methods", "names")
    given = {key: value for key, value in of["data"].items() if key not in told}
    words = [f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}"
             for key, value in sorted(given.items())]  # fmt: skip
    said = ", ".join([of["data"].get("part", "test"), f"{of['side']} pixels", *words])
    return f"{of['images']:,} images of {of['data']['name']} ({said})"


def _blocks(subject: Subject, images: _Images, names: Names) -> Iterator[Block]:
    yield Words(f"On {images.name}: {images.n_rows:,} rows, each an image and a class on it that the networks know.")
    yield from _figure(subject, images, names)
    n = counted([len(network.seen) for network in images.networks.values()])
    notes = (
        *LOCATED.values(),
        f"Boxes and regions: {THRESHOLDS}",
        f"Replicates of a network: {n}. {_OVER}.",
        BLIND_WORDS,
    )
    yield Shown(f"Each method and network, in per cent, on {images.name}", _grid(images), notes)
    n_gates = 0
    for step, metrics in images.steps.items():
        of = metrics["localization_of"]
        if (beside := beside_grid(metrics)).rows:
            yield Shown(f"{metrics['of']} less {of['beside']}, on {images.name}", beside, (_BESIDE,))
        gates = gates_grid(metrics)
        is_first = any(next(iter(network.seen.values())) is metrics for network in images.networks.values())
        if gates.rows and n_gates < _MOST_GATES and (is_first or beside.rows):
            n_gates += 1
            yield Shown(f"Gates of {metrics['of']}, layer by layer ({step})", gates, (_GATES,), is_folded=True)


def _grid(images: _Images) -> Grid:
    """A row for each method and network, those of a method together, so that networks stand under each other."""
    lines = []
    for method in images.methods:
        networks = list(images.networks.values())
        if method in BLIND:  # of which all networks make the same, but for their top-1
            networks = networks[:1]
        for network in networks:
            points = [network.point(method, name) for name in MEASURES]
            cells = ["" if one is None else _cell(one) for one in points]
            lines.append((method, "any" if method in BLIND else network.name, *cells))
    return Grid(("method", "network", *MEASURES.values()), tuple(lines), 2).without_empty()


def _cell(point: Point) -> str:
    text = f"{100 * point.y:.1f}"
    if point.low is None or point.high is None:
        return text
    return f"{text} ({100 * point.low:.1f} to {100 * point.high:.1f})"


def _figure(subject: Subject, images: _Images, names: Names) -> Iterator[Block]:
    methods = [method for method in images.methods if method not in (*BLIND, *_NOT_DRAWN)]
    if not methods:
        return
    curves = []
    for network in images.networks.values():
        points = [network.point(method, _ERROR, x) for x, method in enumerate(methods, 1)]
        there = tuple(point for point in points if point is not None)
        curves.append(Curve(network.name, there, network.look, is_control=network.is_control, is_joined=False))
    levels = []
    for method in BLIND[:1] if BLIND[0] in images.methods else ():
        level = next(iter(images.networks.values())).point(method, _ERROR)
        levels += [Level(f"{method}, which sees no image", level.y)] if level is not None else []
    ticks, measure = tuple(float(x) for x in range(1, len(methods) + 1)), Measure(_ERROR, "")
    chart = Chart(
        Axis("method", lambda x: methods[round(x) - 1], ticks=ticks),
        Axis("GT-known error, %", lambda y: tick(measure, y)), tuple(curves), tuple(levels),
    )  # fmt: skip
    told = f"The share of rows whose box is wrong, on {images.name}; lower is better."
    told += " The level is the best box that can be said without looking." if levels else ""
    cells = tuple((curve.name, methods[round(point.x) - 1], _cell(point)) for curve in curves for point in curve.points)
    facts = subject.facts(counted([len(network.seen) for network in images.networks.values()]), _OVER)
    yield Drawn(Figure(
        names.take("localization", "gt-error"), f"GT-known localisation error: {images.name}", told, facts, chart, told,
        ("network", "method", "GT-known error, %"), cells,
    ))  # fmt: skip
