"""How much the masks of a run share: between arms, seeds and rounds, and how much of that is chance."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ticketcli.errors import MismatchError
from ticketcli.figures.chart import Chart, Curve, Point
from ticketcli.figures.figure import Figure
from ticketcli.figures.heatmap import Heatmap
from ticketcli.figures.scales import Axis
from ticketcli.report.grid import Grid
from ticketcli.report.overlap import Overlap, layer_overlaps, whole_overlap
from ticketcli.report.page.masks import Masks, Place
from ticketcli.report.page.section import Block, Drawn, Names, Section, Shown, Words
from ticketcli.report.page.subject import Arm, Subject, counted
from ticketcli.report.page.swept import in_sweeps

_BUDGET = 4_000_000_000  # weights that are read for the curves: some five seconds
_LEGEND = (
    "Jaccard: weights that live in both, over those that live in either.",
    "Chance: the Jaccard index of two masks with these counts in each layer, drawn independently.",
    "Above: Jaccard less chance, in points.",
)


@dataclass(frozen=True)
class Shared:
    """Overlaps of several pairs of the same kind, and their means."""

    each: tuple[Overlap, ...]

    @property
    def jaccard(self) -> float | None:
        """The mean of those that are defined."""
        return _mean([one.jaccard for one in self.each])

    @property
    def chance(self) -> float | None:
        """The mean of what chance would give."""
        return _mean([one.chance for one in self.each])


def overlaps(subject: Subject, masks: Masks, names: Names) -> Section | None:
    """Arms with each other, seeds with each other, rounds with each other; None of a run without two masks.

    Prunings along one setting are not compared with each other.
    """
    elsewhere = in_sweeps(subject)
    arms = [arm for arm in subject.arms if masks.replicates(arm) and arm.number not in elsewhere]
    if len(masks.paths) < 2 or not arms:
        return None
    blocks: list[Block] = []
    problems = len(masks.problems)
    blocks += _between_arms(subject, masks, arms, names)
    blocks += _over_rounds(subject, masks, arms, names)
    blocks += _between_seeds(masks, arms)
    blocks += _between_rounds(subject, masks, arms, names)
    blocks += [Words(f"Not compared: {problem}.", is_absence=True) for problem in masks.told(problems)]
    masks.forget()
    return Section("overlap", "What the masks share", tuple(blocks))


def _pair(masks: Masks, one: Place, other: Place) -> Overlap | None:
    first, second = masks.mask(one), masks.mask(other)
    if first is None or second is None:
        return None
    try:
        return whole_overlap(layer_overlaps(first, second))
    except MismatchError:  # prunings of different networks share nothing that could be counted
        return None


def _shared(masks: Masks, pairs: Sequence[tuple[Place, Place]]) -> Shared:
    found = [_pair(masks, one, other) for one, other in pairs if one in masks.paths and other in masks.paths]
    return Shared(tuple(one for one in found if one is not None))


def _between_arms(subject: Subject, masks: Masks, arms: Sequence[Arm], names: Names) -> list[Block]:
    if len(arms) < 2:
        return []
    last = {arm.number: {one: max(masks.rounds(arm, one)) for one in masks.replicates(arm)} for arm in arms}
    each: dict[tuple[int, int], list[Overlap]] = {}
    for seed in dict.fromkeys(seed for rounds in last.values() for seed in rounds):  # the masks of one at a time
        for (row, one), (column, other) in itertools.combinations(enumerate(arms), 2):
            if seed in last[one.number] and seed in last[other.number]:
                at = min(last[one.number][seed], last[other.number][seed])
                found = _shared(masks, [((one.number, seed, at), (other.number, seed, at))])
                each.setdefault((row, column), []).extend(found.each)
        masks.forget()
    table: list[list[Shared | None]] = [[None] * len(arms) for _ in arms]
    for (row, column), overlaps_ in each.items():
        table[row][column] = table[column][row] = Shared(tuple(overlaps_)) if overlaps_ else None
    number = [len(found.each) for line in table for found in line if found]
    if not number:
        return [Words("No two arms have masks of one seed.", is_absence=True)]
    labels = [arm.name for arm in arms]
    told = ("Jaccard index of the masks of two arms at their last common round, each pair of one seed. "
            "How much of it is chance stands with the numbers.")  # fmt: skip
    return [Drawn(_matrix(subject, names, "arms", "What the masks of two arms share", labels, table, told,
                          counted(number)))]  # fmt: skip


def _matrix(
    subject: Subject, names: Names, kind: str, title: str, labels: Sequence[str],
    table: Sequence[Sequence[Shared | None]], told: str, n: str, seeds: str = "",
) -> Figure:  # fmt: skip
    values = [[found.jaccard if found else None for found in line] for line in table]
    known = [value for line in values for value in line if value is not None]
    columns = tuple(labels) if kind == "rounds" else tuple(str(number) for number in range(1, len(labels) + 1))
    rows = columns if kind == "rounds" else tuple(f"{number} {label}" for number, label in enumerate(labels, 1))
    texts = [["" if value is None else f"{value:.0%}" for value in line] for line in values]
    low = min(known, default=0.0)
    numbers = tuple(
        (labels[row], labels[column], _percent(found.jaccard), _percent(found.chance), _above(found))
        for row, line in enumerate(table) for column, found in enumerate(line) if found and row < column
    )  # fmt: skip
    drawing = Heatmap(rows, columns, tuple(map(tuple, values)), tuple(map(tuple, texts)), low=0.9 * low, high=1.0)
    about = "; ".join(
        f"{one}, {other}: {jaccard}, by chance {chance}" for one, other, jaccard, chance, _ in numbers[:20]
    )
    return Figure(
        names.take("overlap", kind), title, told, subject.facts(n, "none: exact counts", seeds), drawing,
        f"{told} {about}.", ("one", "other", "Jaccard", "chance", "above"), numbers,
    )  # fmt: skip


def _over_rounds(subject: Subject, masks: Masks, arms: Sequence[Arm], names: Names) -> list[Block]:
    """Each arm against the first, round by round, and what chance would give."""
    if len(arms) < 2:
        return []
    first, seeds = arms[0], masks.replicates(arms[0])
    rounds = masks.rounds(first, seeds[0])
    most = max(2, _BUDGET // max(masks.total() * len(arms) * len(seeds), 1))
    step = -(-len(rounds) // most)
    chosen = rounds[::-1][::step][::-1]
    each: dict[tuple[int, int], list[Overlap]] = {}
    for number, seed in itertools.product(chosen, seeds):  # the masks of one round and seed at a time
        for arm in arms[1:]:
            found = _shared(masks, [((first.number, seed, number), (arm.number, seed, number))])
            each.setdefault((arm.number, number), []).extend(found.each)
        masks.forget()
    curves, numbers = [], [len(overlaps_) for overlaps_ in each.values()]
    for arm in arms[1:]:
        found_by = {number: Shared(tuple(each[arm.number, number])) for number in chosen if each[arm.number, number]}
        if len(found_by) > 1:
            points = tuple(_point(arm, number, found) for number, found in found_by.items())
            chances = tuple(Point(number, found.chance or 0.0) for number, found in found_by.items())
            curves.append(Curve(arm.name, points, arm.number, is_control=arm.is_control))
            curves.append(Curve(f"{arm.name}: chance", chances, arm.number, True, True, in_legend=False))
    if not curves:
        return []
    told = f"Jaccard index with the mask of {first.name}, of the same seed and round. Thin dotted lines: chance."
    if step > 1:
        told += f" Every {step}th round only: the masks are large."
    chart = Chart(
        Axis("round", "{:g}".format, ticks=tuple(float(number) for number in chosen)),
        Axis("Jaccard index, %", lambda value: f"{100 * value:g}"), tuple(curves),
    )  # fmt: skip
    rows = tuple(
        (curve.name, f"{point.x:g}", f"{point.y:.2%}") for curve in curves for point in curve.points
    )  # fmt: skip
    return [Drawn(Figure(
        names.take("overlap", "over", "rounds"), f"Round by round, with {first.name}", told,
        subject.facts(counted(numbers), "none: exact counts; faint dots are the seeds"), chart, told,
        ("", "round", "Jaccard"), rows,
    ))]  # fmt: skip


def _point(arm: Arm, number: int, found: Shared) -> Point:
    each = tuple(one.jaccard for one in found.each if one.jaccard is not None)
    words = f"{arm.name}, round {number}: {_percent(found.jaccard)}, by chance {_percent(found.chance)}"
    return Point(number, found.jaccard or 0.0, replicates=each, words=words)


def _between_seeds(masks: Masks, arms: Sequence[Arm]) -> list[Block]:
    rows = []
    for arm in arms:
        seeds = masks.replicates(arm)
        if len(seeds) < 2:
            continue
        at = min(max(masks.rounds(arm, seed)) for seed in seeds)
        places = [(arm.number, seed, at) for seed in seeds]
        found = _shared(masks, list(itertools.combinations(places, 2)))
        masks.forget()
        if found.each:
            rows.append((arm.name, str(at), str(len(found.each)), _percent(found.jaccard), _percent(found.chance),
                         _above(found)))  # fmt: skip
    if not rows:
        return [Words("No arm has masks of two seeds, so nothing is said about seeds.", is_absence=True)]
    head = ("masks of two seeds", "round", "pairs", "Jaccard", "chance", "above")
    return [Shown("What the masks of two seeds share", Grid(head, tuple(rows)), _LEGEND)]


def _between_rounds(subject: Subject, masks: Masks, arms: Sequence[Arm], names: Names) -> list[Block]:
    arm = arms[0]
    seed = masks.replicates(arm)[0]
    rounds = masks.rounds(arm, seed)
    if len(rounds) < 2:
        return []
    chosen = rounds[:: -(-len(rounds) // 16)]
    table: list[list[Shared | None]] = [[None] * len(chosen) for _ in chosen]
    nested = True
    for (row, one), (column, other) in itertools.combinations(enumerate(chosen), 2):
        found = _shared(masks, [((arm.number, seed, one), (arm.number, seed, other))])
        if found.each:
            table[row][column] = table[column][row] = found
            nested = nested and found.each[0].second_in_first in (1.0, None)
    if not any(found for line in table for found in line):
        return []
    told = f"Jaccard index of the masks of two rounds of {arm.name}, seed {seed}. "
    told += ("Each later mask lies within the earlier ones, as it has to, so this is the ratio of their counts."
             if nested else "A later mask has weights that an earlier one had dropped!")  # fmt: skip
    labels = [str(number) for number in chosen]
    return [
        Drawn(_matrix(subject, names, "rounds", "What the masks of two rounds share", labels, table, told, "1", seed))
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _above(found: Shared) -> str:
    return "" if found.jaccard is None or found.chance is None else f"{100 * (found.jaccard - found.chance):+z.1f}"
