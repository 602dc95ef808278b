"""How training went: the loss of every step, and the gradients of the reconstruction against the classification."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ticketcli.errors import TicketError
from ticketcli.figures.chart import Chart, Curve, Level, Point, is_rising, thinned
from ticketcli.figures.figure import Figure
from ticketcli.figures.scales import Axis
from ticketcli.log import read_log
from ticketcli.recipe.recipe import RecipeStep
from ticketcli.report.page.section import Block, Drawn, Names, Section, Words
from ticketcli.report.page.subject import Subject, counted

_MOST_LINES = 60
_MOST_MARKS = 40
_GOES_ON = "none", "learning-rate"


@dataclass(frozen=True)
class History:
    """What `metrics.jsonl` tells of a step: (training step, loss), and where each training begins, and its name."""

    losses: tuple[tuple[int, float], ...]
    begins: tuple[tuple[int, str], ...]


def history(lines: Sequence[Mapping[str, object]]) -> History:
    """Trainings follow each other: the steps of a round come after those of the round before."""
    losses: list[tuple[int, float]] = []
    begins: list[tuple[int, str]] = []
    before, what, done, total = 0, None, 0, 0
    for line in lines:
        if line.get("event") != "progress" or not isinstance(line.get("loss"), int | float):
            continue
        now, of = int(str(line["done"])), int(str(line["total"]))
        if line["what"] != what or now <= done:
            before += total
            begins.append((before, str(line["what"])))
        what, done, total = line["what"], now, of
        value = float(str(line["loss"]))
        if math.isfinite(value):
            losses.append((before + now, value))
    return History(tuple(losses), tuple(begins))


def curves(subject: Subject, names: Names) -> Section:
    """A figure for each step of the recipe that trains, its repetitions as lines."""
    blocks: list[Block] = []
    groups: dict[str, list[RecipeStep]] = {}
    for step in subject.recipe.steps:
        groups.setdefault(step.group, []).append(step)
    for group, steps in groups.items():
        if steps[0].stage in ("pretrain", "train-decoder", "prune", "transfer"):
            blocks += _group(subject, group, steps, names)
    if not blocks:
        blocks.append(Words("Nothing was trained yet.", is_absence=True))
    return Section("training", "Training", tuple(blocks))


def _group(subject: Subject, group: str, steps: Sequence[RecipeStep], names: Names) -> list[Block]:
    blocks: list[Block] = []
    found: list[tuple[RecipeStep, History]] = []
    for step in steps:
        path = subject.run.metrics_path(step.name)
        if not path.is_file():
            continue
        try:
            made = history(list(read_log(path, may_be_cut=True)))
        except TicketError as error:
            blocks.append(Words(f"The curve of {step.name} is not shown: {error.what}.", is_absence=True))
            continue
        if made.losses:
            found.append((step, made))
    if not found:
        return blocks
    kinds = [_kind(subject, step) for step, _ in found]
    looks = _looks(subject, [step for step, _ in found], kinds)
    lines = [
        Curve(kind or group, thinned([Point(*pair) for pair in made.losses]), look, is_thin=True,
              in_legend=kind not in kinds[:number])
        for number, ((_, made), kind, look) in enumerate(zip(found[:_MOST_LINES], kinds, looks, strict=False))
    ]  # fmt: skip
    marks = _marks(steps[0], found[0][1])
    told, about = _words(subject, group, steps[0], found, bool(marks))
    chart = Chart(
        Axis("training steps, all trainings of the step after each other" if marks else "training steps", _thousands),
        Axis("loss of a batch", "{:g}".format), tuple(lines), marks=marks,
    )  # fmt: skip
    few = [made for _, made in found if len(made.losses) < 2]
    if len(few) == len(found):
        blocks.append(Words(f"{group}: only one loss was logged (one in fifty steps is), so there is no curve."))
        return blocks
    blocks.append(Drawn(Figure(
        names.take("training", group), f"Training of {group}", told,
        subject.facts(f"{len(found)} trainings" if len(found) > 1 else "1 training", "none: single losses"),
        chart, about,
    )))  # fmt: skip
    return blocks


def _kind(subject: Subject, step: RecipeStep) -> str:
    """The repetition without the seed, in words."""
    labels = [str(label) for name, label in step.variables.items() if name not in subject.over]
    return ", ".join(subject.labels.get(label, label) for label in labels)


def _looks(subject: Subject, steps: Sequence[RecipeStep], kinds: Sequence[str]) -> list[int]:
    """As the arms look elsewhere, where each kind is another arm, and the dense network; else in their order."""
    arms = []
    for step in steps:
        behind = subject.pruning_behind(step)
        arm = subject.arm(behind[0]) if behind else None
        arms.append(len(subject.arms) if arm is None else arm.number)
    if len(set(arms)) == len(set(zip(arms, kinds, strict=True))) == len(set(kinds)):
        return arms
    order = list(dict.fromkeys(kinds))
    return [order.index(kind) for kind in kinds]


def _marks(step: RecipeStep, made: History) -> tuple[tuple[float, str], ...]:
    if step.stage != "prune" or len(made.begins) < 2:
        return ()
    kept = made.begins[:: -(-len(made.begins) // _MOST_MARKS)]
    return tuple((float(at), _mark(what)) for at, what in kept)


def _mark(what: str) -> str:
    """``round 3/11`` is ``r3``."""
    return f"r{what.removeprefix('round ').partition('/')[0]}" if what.startswith("round ") else what[:8]


def _words(
    subject: Subject, group: str, step: RecipeStep, found: Sequence[tuple[RecipeStep, History]], marked: bool
) -> tuple[str, str]:
    told = "One loss in fifty, and the last of each training."
    if marked:
        rewind = str(getattr(step.config, "rewind", ""))
        gone = "the weights go on" if rewind in _GOES_ON else f"the weights are set back (rewind: {rewind})"
        rate = "; the learning rate goes on too" if rewind == "none" else " and the learning rate starts again"
        told += f" Dashed lines: a round begins, weights have fallen, {gone}{rate}."
    cut = [one.name for one, _ in found if one.name in subject.found.lacking]
    if cut:
        told += f" Not finished: {', '.join(cut[:4])}{' and more' if len(cut) > 4 else ''}."
    if len(found) > _MOST_LINES:
        told += f" The first {_MOST_LINES} of {len(found)}."
    last = statistics.fmean(made.losses[-1][1] for _, made in found)
    return told, f"{told} The mean of the last losses of {group} is {last:.3g}."


def _thousands(value: float) -> str:
    return f"{value:,.0f}"


def gradients(subject: Subject, names: Names) -> Section | None:
    """The ratio of both gradients by round; None of a run in which none was measured."""
    curves_, rows = [], []
    for arm in subject.arms:
        by_round: dict[int, list[float]] = {}
        for step in arm.steps.values():
            for number, unit in enumerate(_in_order(subject, step), 1):
                ratio = unit.get("gradient_ratio")
                if isinstance(ratio, int | float) and math.isfinite(ratio) and ratio > 0:
                    by_round.setdefault(number, []).append(float(ratio))
        points = tuple(
            Point(number, statistics.geometric_mean(values), replicates=tuple(values),
                  words=f"{arm.name}, round {number}: {statistics.geometric_mean(values):.3g}")
            for number, values in sorted(by_round.items())
        )  # fmt: skip
        if points:
            curves_.append(Curve(arm.name, points, arm.number, is_control=arm.is_control))
            rows += [(arm.name, f"{one.x:g}", str(len(one.replicates)), f"{one.y:.3g}") for one in points]
    if not subject.arms:
        return None
    if not curves_:
        why = "No gradient ratio was measured: it needs a loss with both a reconstruction and classes, lambda above 0."
        return Section("gradients", "How strong the treatment was", (Words(why, is_absence=True),))
    numbers = [len(point.replicates) for curve in curves_ for point in curve.points]
    told = ("The gradient of lambda L_rec in the living encoder weights over that of L_class, as each round begins. "
            "At 1 both pull alike; far below, there was no treatment; far above, hardly any classes are learnt. "
            "Geometric means over the seeds, which are the faint dots. After the last round: healing.")  # fmt: skip
    ticks = tuple(sorted({point.x for curve in curves_ for point in curve.points}))
    assert is_rising(ticks)
    last = {arm.config.n_rounds for arm in subject.arms}
    healing = last.pop() + 1 if len(last) == 1 else 0
    axes = (
        Axis("round", lambda x: "heal" if x == healing else f"{x:g}", ticks=ticks),
        Axis("gradient ratio (logarithmic)", "{:g}".format, is_log=True),
    )
    chart = Chart(*axes, tuple(curves_), (Level("equal gradients", 1.0),))
    figure = Figure(
        names.take("gradients"), "Gradient ratio by round", told,
        subject.facts(counted(numbers), "none drawn: the dots are all there is"), chart, told,
        ("", "round", "n", "ratio"), tuple(rows),
    )  # fmt: skip
    return Section("gradients", "How strong the treatment was", (Drawn(figure),))


def _in_order(subject: Subject, step: RecipeStep) -> list[Mapping[str, object]]:
    """What the rounds of a pruning have measured, in their order; the healing comes last."""
    units = subject.found.units.get(step.name, {})
    names = sorted(units, key=lambda name: (not name.startswith("round-"), name))
    return [units[name].metrics for name in names]
