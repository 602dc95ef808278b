"""One-shot prunings along one setting: accuracy by what fell and by healing, and what falls by the tolerated error."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ticketcli.figures.chart import Chart, Curve, Level, Point
from ticketcli.figures.figure import Figure
from ticketcli.figures.scales import Axis
from ticketcli.recipe.evaluate_config import EvaluateConfig
from ticketcli.recipe.tables import TableConfig
from ticketcli.report.measures import Measure, named
from ticketcli.report.page.masks import Layers, Masks
from ticketcli.report.page.section import Block, Drawn, Names, Section, Words
from ticketcli.report.page.subject import Arm, Subject, counted, interval_words
from ticketcli.report.page.swept import Sweep, sweeps_of
from ticketcli.report.rows import Row
from ticketcli.report.tables import make_table

_UNHEALED = ("unhealed.recalibrated.top1", "unhealed.literal.top1")
_HEALED = "healed.top1"
_AS_IT_IS = "Each point is a pruning of its own, made at once and not retrained"
_RECALIBRATED = {True: "; BatchNorm is re-estimated.", False: "."}


@dataclass(frozen=True)
class _Run:
    """What the figures are made of."""

    subject: Subject
    masks: Masks
    names: Names
    rows: Mapping[int, Row]  # by the arm's number


def sweeps(subject: Subject, masks: Masks, names: Names) -> Section | None:
    """A figure for each setting that prunings were made along; None of a run without such."""
    found = sweeps_of(subject)
    if not found:
        return None
    run = _Run(subject, masks, names, _rows(subject, found))
    blocks: list[Block] = []
    shares: dict[tuple[str, ...], list[Sweep]] = {}
    for sweep in found:
        if sweep.kind == "share":
            shares.setdefault(_touched(masks, sweep), []).append(sweep)
    for touched, alike in shares.items():
        blocks += _by_share(run, alike, touched)
    healing = [sweep for sweep in found if sweep.kind == "heal"]
    blocks += _by_healing(run, healing) if healing else []
    for sweep in found:
        blocks += _by_error(run, sweep) if sweep.kind == "epsilon" else []
    return Section("sweeps", "One prune, along one setting", tuple(blocks))


def _rows(subject: Subject, found: Iterable[Sweep]) -> dict[int, Row]:
    """The measured row of each arm, which is its one round."""
    arms = [arm for sweep in found for arm in sweep.arms]
    groups = tuple(dict.fromkeys(next(iter(arm.steps.values())).group for arm in arms))
    variables = {name for group in groups for step in subject.recipe.instances[group] for name in step.variables}
    over = tuple(sorted(variables & subject.over))
    config = TableConfig(table=groups, over=over, metric=(*_UNHEALED, _HEALED, "sparsity"))
    rows = make_table("", config, subject.recipe, subject.found).rows
    made: dict[int, Row] = {}
    for row in rows:
        arm = subject.arm(subject.recipe[row.measured[0].real]) if row.measured and row.point == 1 else None
        if arm is not None:
            made[arm.number] = row
    return made


# ---------------------------------------------------------------------- what fell


def _layers(masks: Masks, arm: Arm) -> list[Layers]:
    """The counts of each layer, a mapping a replicate."""
    found = (masks.layers((arm.number, replicate, 1)) for replicate in masks.replicates(arm))
    return [one for one in found if one]


def _touched(masks: Masks, sweep: Sweep) -> tuple[str, ...]:
    """The layers in which something fell; empty where that is all of them."""
    found = [layers for arm in sweep.arms for layers in _layers(masks, arm)]
    hit = {name for layers in found for name, (kept, total) in layers.items() if kept < total}
    return () if not found or hit == set(found[0]) else tuple(name for name in found[0] if name in hit)


def _fallen(layers: Layers, touched: Sequence[str]) -> float:
    """The share of the weights of these layers that fell; of all layers where none is named."""
    counts = [layers[name] for name in touched or layers]
    return 1 - sum(kept for kept, _ in counts) / max(sum(total for _, total in counts), 1)


def _by_share(run: _Run, found: Sequence[Sweep], touched: tuple[str, ...]) -> list[Block]:
    layers = ", ".join(name.removesuffix(".weight") for name in touched)
    what = f"of {layers}" if layers else "of the prunable weights"

    def place(arm: Arm) -> float | None:
        shares = [_fallen(one, touched) for one in _layers(run.masks, arm)]
        return statistics.fmean(shares) if shares else None

    axis = Axis(f"share {what} that fell, %", _percent)
    blocks: list[Block] = []
    for measure in _measures(run, found):
        told = (f"{_AS_IT_IS}{_RECALIBRATED['recalibrated' in measure.name]}" if measure.name != _HEALED
                else "Each point is a pruning of its own, made at once and healed.")  # fmt: skip
        curves = [_curve(run, sweep, measure, place) for sweep in found]
        blocks += _drawn(run, found, measure, f"by the share {what} that fell", told, curves, axis)
    return blocks


def _measures(run: _Run, found: Sequence[Sweep]) -> list[Measure]:
    """Not healed, with BatchNorm as it counts; and healed, where any was."""
    rows = [run.rows[arm.number] for sweep in found for arm in sweep.arms if arm.number in run.rows]
    unhealed = next((name for name in _UNHEALED if any(row.values(name) for row in rows)), _UNHEALED[0])
    names = [unhealed, *([_HEALED] if any(row.values(_HEALED) for row in rows) else [])]
    return [replace(Measure(name, ""), head=named([name])[0].head) for name in names]


# ---------------------------------------------------------------------- how long it healed


def _by_healing(run: _Run, found: Sequence[Sweep]) -> list[Block]:
    unit = {arm.config.healing.unit for sweep in found for arm in sweep.arms}
    if len(unit) > 1:
        return [Words("Healing is counted in steps here and in epochs there, so there is no figure.", is_absence=True)]
    words = {"it": "steps", "ep": "epochs"}[unit.pop()]
    measure = replace(Measure(_HEALED, ""), head=named([_HEALED])[0].head)
    curves = []
    for sweep in found:
        made = _curve(run, sweep, measure, lambda arm: arm.config.healing.amount)
        row = run.rows.get(sweep.arms[0].number)
        name = next((name for name in _UNHEALED if row is not None and row.values(name)), None)
        before = () if row is None or name is None else (_point(sweep, row, Measure(name, ""), 0.0),)
        curves.append(replace(made, points=(*before, *made.points)))
    told = (f"Each point is a retraining of its own from the same pruned weights; at 0 {words} they are as they were "
            "pruned.")  # fmt: skip
    axis = Axis(f"{words} of retraining", "{:g}".format)
    return _drawn(run, found, measure, f"by {words} of retraining", told, curves, axis)


# ---------------------------------------------------------------------- which error is tolerated


def _by_error(run: _Run, sweep: Sweep) -> list[Block]:
    """What falls in each layer, and in all, by the error that a removal may make."""
    columns: dict[str, list[Point]] = {}
    for arm in sweep.arms:
        found, epsilon = _layers(run.masks, arm), arm.config.epsilon
        for name in ("all layers", *found[0]) if found and epsilon else ():
            values = tuple(_fallen(one, () if name == "all layers" else (name,)) for one in found)
            short, mean = name.removesuffix(".weight"), statistics.fmean(values)
            point = Point(epsilon or 0.0, mean, replicates=values, words=f"{short} at {epsilon:g}: {mean:.2%}")
            columns.setdefault(short, []).append(point)
    title = f"What falls by the tolerated error: {sweep.name}"
    if not columns:
        return [Words(f"{title}: no mask is there yet, so there is no figure.", is_absence=True)]
    curves = [Curve(name, tuple(points), number) for number, (name, points) in enumerate(columns.items())]
    told = ("In every layer a weight falls as long as its removal costs the layer's output no more than this error "
            "(epsilon, the root of the mean square over the images). Means over the replicates, which are the faint "
            "dots.")  # fmt: skip
    numbers = [len(point.replicates) for curve in curves for point in curve.points]
    rows = [
        (curve.name, f"{one.x:g}", str(len(one.replicates)), f"{one.y:.2%}") for curve in curves for one in curve.points
    ]
    axes = (
        Axis("tolerated error of a removal (logarithmic)", "{:g}".format, is_log=True),
        Axis("share that fell, %", _percent),
    )
    return [Drawn(Figure(
        run.names.take("sweep", "error", sweep.name), title, told,
        run.subject.facts(counted(numbers), "none: these are exact counts"), Chart(*axes, tuple(curves)), told,
        ("layer", "epsilon", "n", "fell"), tuple(rows),
    ))]  # fmt: skip


# ---------------------------------------------------------------------- drawing


def _curve(run: _Run, sweep: Sweep, measure: Measure, place: object) -> Curve:
    assert callable(place)
    points = []
    for arm in sweep.arms:
        row, x = run.rows.get(arm.number), place(arm)
        if row is not None and x is not None and row.values(measure.name):
            points.append(_point(sweep, row, measure, x))
    ordered = tuple(sorted(points, key=lambda point: point.x))
    return Curve(sweep.name, ordered, sweep.number, is_control=sweep.is_control)


def _point(sweep: Sweep, row: Row, measure: Measure, x: float) -> Point:
    found = row.summary(measure.name)
    assert found.mean is not None
    low, high = (None if end is None else min(max(end, 0.0), 1.0) for end in (found.low, found.high))
    words = f"{sweep.name}, {x:.4g}: {measure.text(found.mean)}, n = {found.n}"
    return Point(x, found.mean, low, high, tuple(row.values(measure.name)), words)


def _dense(run: _Run, found: Sequence[Sweep]) -> list[Level]:
    """What the dense networks are worth on the same images, where the recipe measures that."""
    recipe, over = run.subject.recipe, run.subject.over
    encoders = {ref for sweep in found for ref in sweep.encoders}
    splits = {arm.config.split for sweep in found for arm in sweep.arms}
    measured = [step for step in recipe.steps if isinstance(step.config, EvaluateConfig) and
                step.refs["of"] in encoders and {step.config.split} == splits]  # fmt: skip
    levels = []
    for group in dict.fromkeys(step.group for step in measured):
        variables = {name for step in recipe.instances[group] for name in step.variables}
        config = TableConfig(table=(group,), over=tuple(sorted(variables & over)), metric=("top1",))
        for row in make_table("", config, recipe, run.subject.found).rows:
            if row.measured and recipe[row.measured[0].real] in measured:
                of = row.summary("top1")
                words = [str(label) for label in row.key.values() if label not in (None, "dense")]
                assert of.mean is not None
                levels.append(Level(", ".join(["dense", *words]), of.mean, of.low, of.high))
    return levels


def _drawn(
    run: _Run, found: Sequence[Sweep], measure: Measure, by: str, told: str, curves: Sequence[Curve], axis: Axis
) -> list[Block]:
    state = "healed" if measure.name == _HEALED else "not healed"
    parts = " or ".join(sorted({arm.config.split for sweep in found for arm in sweep.arms}, reverse=True))
    title = f"{measure.head.capitalize()}, {state}, {by}"
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return [Words(f"{title}: nothing was measured yet, so there is no figure.", is_absence=True)]
    levels = _dense(run, found)
    told += f" On {parts} images of {_sets(run.subject, found)}." + (
        " The dashed line is the dense network." if levels else ""
    )
    told += " Chance has hollow marks." if any(curve.is_control for curve in curves) else ""
    numbers = [len(point.replicates) for curve in curves for point in curve.points]
    rows = [
        (curve.name, axis.text(one.x), str(len(one.replicates)), measure.text(one.y),
         measure.interval(one.low, one.high))
        for curve in curves for one in curve.points
    ]  # fmt: skip
    rows += [(one.name, "", "", measure.text(one.y), measure.interval(one.low, one.high)) for one in levels]
    chart = Chart(axis, Axis(f"{measure.head}, %", _percent), tuple(curves), tuple(levels), sets_apart=False)
    return [Drawn(Figure(
        run.names.take("sweep", by, measure.name), title, told,
        run.subject.facts(counted(numbers), interval_words(numbers)), chart, told,
        ("", axis.label, "n", measure.head, "95 % interval"), tuple(rows),
    ))]  # fmt: skip


def _sets(subject: Subject, found: Sequence[Sweep]) -> str:
    """The image sets, by name: the prunings' own, or those that their networks were trained on."""
    names = []
    for ref in sorted({ref for sweep in found for ref in sweep.encoders}, key=str):
        data = getattr(subject.recipe[ref.step].config, "data", None) if ref.step else None
        names.append(getattr(data, "name", None) or "the network's own set")
    own = [arm.config.data.name for sweep in found for arm in sweep.arms if arm.config.data is not None]
    return " and ".join(dict.fromkeys(own or names))


def _percent(share: float) -> str:
    return f"{round(100 * share, 4):g}"
