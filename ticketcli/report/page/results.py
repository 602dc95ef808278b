"""Measures against the weights that remain: for each target, and for the source round by round."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ticketcli.figures.chart import Chart, Curve, Level, Point
from ticketcli.figures.figure import Figure
from ticketcli.figures.scales import Axis
from ticketcli.recipe.for_each import Label
from ticketcli.recipe.tables import STEP, TableConfig
from ticketcli.report.measures import IN, Measure, named
from ticketcli.report.observations import Point as Place
from ticketcli.report.page.section import Block, Drawn, Names, Section, Shown, Words
from ticketcli.report.page.subject import Subject, counted, interval_words
from ticketcli.report.page.swept import in_sweeps
from ticketcli.report.rows import Row
from ticketcli.report.tables import Table, make_table
from ticketcli.report.words import comparison, grid, legend

_SIZE = "parameters"  # of a whole network, masked weights included
_NEAR_DENSE = 0.5  # of the weights: a figure of tickets that keep less has no room for the dense network's 100 %
_TICKS = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001)
REMAINING = Axis(
    "weights that remain, % of the prunable (logarithmic)", lambda share: f"{100 * share:g}", is_log=True,
    is_reversed=True, ticks=_TICKS,
)  # fmt: skip
_OF_LARGEST = replace(REMAINING, label="weights that remain, % of the largest network, whole (logarithmic)")
Series = tuple[object, ...]
_HEALED = "Each point is the mask of a round, healed (finetuned under it), on source {part} images."
# measure -> title, and what a point is
_OF_ROUNDS = {
    "healed.top1": ("Top-1 on the source, healed", _HEALED),
    "unhealed.recalibrated.top1": (
        "Top-1 on the source, not healed",
        "Each point is the mask of a round on its rewound values, not finetuned, BatchNorm re-estimated; on source "
        "{part} images.",
    ),
    "healed.psnr": ("What is rebuilt of the source, healed", _HEALED),
}


def results(subject: Subject, names: Names) -> Section:
    """The tables of the run, each with its figures."""
    blocks: list[Block] = []
    for table in subject.report.tables:
        shown = grid(table)
        blocks.append(Shown(_caption(table), shown, tuple(legend(table, shown))))
        blocks += [Words(comparison(table, one)) for one in table.comparisons]
        if table.stage != "prune" and not table.config.at:  # a curve is drawn through what was measured
            for measure in table.measures:
                blocks += _figure(subject, table, measure, names)
    if not blocks:
        blocks.append(Words("No step of this run transfers, evaluates or prunes.", is_absence=True))
    return Section("results", "Results", tuple(blocks))


def rounds(subject: Subject, names: Names) -> Section | None:
    """What each round's mask is worth on the source, healed and not; None of a run without rounds.

    Prunings along one setting have a section of their own.
    """
    elsewhere = in_sweeps(subject)
    arms = [arm for arm in subject.arms if arm.number not in elsewhere]
    groups = tuple(dict.fromkeys(step.group for arm in arms for step in arm.steps.values()))
    if not groups:
        return None
    variables = {name for group in groups for step in subject.recipe.instances[group] for name in step.variables}
    config = TableConfig(table=groups, over=tuple(sorted(variables & subject.over)), metric=tuple(_OF_ROUNDS))
    table = make_table("", config, subject.recipe, subject.found)
    blocks: list[Block] = []
    for measure, (title, told) in zip(table.measures, _OF_ROUNDS.values(), strict=True):
        curves = _round_curves(subject, table.rows, measure)
        if curves:
            without = [arm.name for arm in arms if all(arm.number != curve.look for curve in curves)]
            told = told.replace("{part}", table.part)
            told += f" Without such a value: {', '.join(without)}." if without else ""
            name = names.take("rounds", *measure.name.split("."))
            blocks.append(Drawn(_drawn(subject, name, title, told, curves, [], measure)))
        else:
            blocks.append(Words(f"{title}: nothing was measured (yet), so there is no figure.", is_absence=True))
    return Section("rounds", "The source, round by round", tuple(blocks))


def _round_curves(subject: Subject, rows: Sequence[Row], measure: Measure) -> list[Curve]:
    series: dict[Series, list[Row]] = {}
    for row in rows:
        if row.values(measure.name) and row.values("sparsity"):
            series.setdefault(tuple(row.key.values()), []).append(row)
    curves, remain = [], _remain([row for members in series.values() for row in members])
    for members in series.values():
        arm = subject.arm(subject.recipe[members[0].measured[0].real])
        if arm is not None:
            points = tuple(
                _point(row, measure, f"{arm.name}, {_round(row.point)}", remain.share(row)) for row in members
            )
            curves.append(Curve(arm.name, points, arm.number, is_control=arm.is_control))
    return curves


def _round(point: Place) -> str:
    return f"round {point}" if isinstance(point, int) else str(point)


def _caption(table: Table) -> str:
    return table.name or " and ".join(table.config.table)


def _figure(subject: Subject, table: Table, measure: Measure, names: Names) -> list[Block]:
    what = f"{measure.head} of {table.name or target_of(table, measure)}"
    rows = [row for row in table.rows if row.values(measure.name) and row.mean("sparsity") is not None]
    if not rows:
        return [Words(f"{what}: nothing was measured yet, so there is no figure.", is_absence=True)]
    remain = _remain(rows)
    curves, levels = _curves(subject, table, rows, measure, remain)
    if not curves:
        return [Words(f"{what}: no ticket was measured yet, so there is no figure.", is_absence=True)]
    told = "Each point is a ticket: its mean, its interval, and the weights that it keeps."
    if remain.axis is not REMAINING:
        told += " Networks differ in size, so weights are counted over the whole of each, heads too."
    if levels:
        told += " The dashed line is the dense network, with its interval as a band."
    name = names.take(table.name or "-".join(table.config.table), measure.head)
    title = f"{what}, against the weights that remain"
    return [Drawn(_drawn(subject, name, title, told, curves, levels, measure, remain.axis))]


class _Remain(NamedTuple):
    """What each row has left: of its prunable weights, or where networks differ in size of all of the largest one's."""

    axis: Axis
    shares: Mapping[int, float]  # by the row's identity

    def share(self, row: Row) -> float:
        return self.shares[id(row)]


def _remain(rows: Sequence[Row]) -> _Remain:
    sizes = [row.mean(_SIZE) for row in rows]
    known = [size for size in sizes if size is not None]
    if len(known) < len(rows) or len(set(known)) == 1:
        return _Remain(REMAINING, {id(row): 1 - (row.mean("sparsity") or 0.0) for row in rows})
    living = [size * (1 - (row.mean("network_sparsity") or 0.0)) for size, row in zip(known, rows, strict=True)]
    return _Remain(_OF_LARGEST, {id(row): weights / max(known) for row, weights in zip(rows, living, strict=True)})


def target_of(table: Table, measure: Measure) -> str:
    """The column that a measure stands in, or the steps of the table."""
    return measure.name.rpartition(IN)[0].replace(IN, " ") or " and ".join(table.config.table)


def _curves(
    subject: Subject, table: Table, rows: Sequence[Row], measure: Measure, remain: _Remain
) -> tuple[list[Curve], list[Level]]:  # fmt: skip
    levels: list[Level] = []
    series: dict[Series, list[Row]] = {}
    for row, family in zip(rows, _families(subject, rows), strict=True):
        if family is None:
            found = row.summary(measure.name)
            assert found.mean is not None
            ends = (_within(measure, found.low), _within(measure, found.high))
            levels.append(Level(table.title(row), found.mean, *ends))
        else:
            series.setdefault(family, []).append(row)
    curves: list[Curve] = []
    for number, members in enumerate(_apart(series.values(), remain)):
        behind = subject.pruning_behind(subject.recipe[members[0].measured[0].step])
        arm = subject.arm(behind[0]) if behind else None
        members = sorted(members, key=remain.share, reverse=True)
        own = {tuple(row.key.values()) for row in members}
        name = table.title(members[0]) if len(own) == 1 or arm is None else arm.name
        taken = {curve.look for curve in curves}
        look = number if arm is None else arm.number
        look = look if look not in taken else max(len(subject.arms), *taken) + 1
        points = tuple(_point(row, measure, table.title(row), remain.share(row)) for row in members)
        curves.append(Curve(name, points, look, is_control=arm is not None and arm.is_control))
    return curves, levels


def _apart(families: Iterable[list[Row]], remain: _Remain) -> Iterator[list[Row]]:
    """Tickets of one pruning that are equally sparse, such as the last round's and the healed one, are no curve."""
    for rows in families:
        places = {round(remain.share(row), 6) for row in rows}
        yield from [rows] if len(places) == len(rows) else [[row] for row in rows]


def _families(subject: Subject, rows: Sequence[Row]) -> list[Series | None]:
    """Which rows are one curve: tickets of one pruning, told apart by nothing but how sparse they are. None is dense.

    A variable of the rows that says which ticket it is makes points; any other, such as the rate, makes curves.
    """
    behind = [subject.pruning_behind(subject.recipe[row.measured[0].step]) for row in rows]
    outputs: dict[Series, list[tuple[Mapping[str, Label], str]]] = {}
    keys = [None if one is None else subject.key(one[0]) for one in behind]
    for row, key, one in zip(rows, keys, behind, strict=True):
        if key is not None and one is not None:
            outputs.setdefault(key, []).append((row.key, one[1]))
    families: list[Series | None] = []
    for row, key in zip(rows, keys, strict=True):
        if key is None:
            families.append(None if not row.mean("sparsity") else ("other", *row.key.values()))
            continue
        others = tuple(row.key[name] for name in row.key if name != STEP and not _says_which(name, outputs[key]))
        families.append((key, row.key.get(STEP), *others))
    return families


def _says_which(name: str, pairs: Sequence[tuple[Mapping[str, Label], str]]) -> bool:
    """Whether each value of a variable goes with one output, and each output with one value."""
    found = {(key[name], output) for key, output in pairs}
    return len(found) == len({value for value, _ in found}) == len({output for _, output in found})


def _point(row: Row, measure: Measure, title: str, share: float) -> Point:
    found = row.summary(measure.name)
    assert found.mean is not None
    interval = measure.interval(found.low, found.high)
    low, high = _within(measure, found.low), _within(measure, found.high)
    text = f"{title}: {measure.text(found.mean)}" + (f" ({interval})" if interval else "") + f", n = {found.n}"
    return Point(share, found.mean, low, high, tuple(row.values(measure.name)), text)


def _within(measure: Measure, bound: float | None) -> float | None:
    """An end of an interval; a share cannot leave 0 to 1, whatever Student's t says."""
    return bound if bound is None or measure.kind not in ("share", "precision") else min(max(bound, 0.0), 1.0)


def _drawn(
    subject: Subject, name: str, title: str, told: str, curves: Sequence[Curve], levels: Sequence[Level],
    measure: Measure, remaining: Axis = REMAINING,
) -> Figure:  # fmt: skip
    numbers = [len(point.replicates) for curve in curves for point in curve.points]
    if any(curve.is_control for curve in curves):
        told += " Controls have hollow marks."
    places = [round(point.x, 9) for curve in curves for point in curve.points]
    some = set(places)
    if len(some) < len(places):
        told += " Points of equal sparsity are set apart sideways."
    measure = replace(measure, head=named([measure.name.rpartition(IN)[2]])[0].head)  # the title says of what
    axis = Axis(_label(measure), lambda value: tick(measure, value))
    best = [f"{curve.name}: {point.words}" for curve in curves for point in curve.points[-1:]]
    rows = [
        (curve.name, f"{point.x:.2%}", str(len(point.replicates)), measure.text(point.y),
         measure.interval(point.low, point.high))
        for curve in curves for point in curve.points
    ]  # fmt: skip
    reach = (1.0,) if len(some) == 1 or max(some, default=1.0) > _NEAR_DENSE else ()
    rows += [(one.name, "100 %", "", measure.text(one.y), measure.interval(one.low, one.high)) for one in levels]
    return Figure(
        name, title, told, subject.facts(counted(numbers), interval_words(numbers)),
        Chart(remaining, axis, tuple(curves), tuple(levels), reach=reach), f"{told} {'; '.join(best)}.",
        ("", "remain", "n", measure.head, "95 % interval"), tuple(rows),
    )  # fmt: skip


def _label(measure: Measure) -> str:
    unit = {"share": ", %", "precision": " (points)", "decibel": ", dB"}.get(measure.kind, "")
    return f"{measure.head}{unit}"


def tick(measure: Measure, value: float) -> str:
    """A value on an axis: the measure's unit stands in the label."""
    return f"{round(100 * value, 6):g}" if measure.kind in ("share", "precision") else f"{value:g}"
