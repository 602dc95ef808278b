"""The figures of the paper's theorems as SVG: what was measured, the limit, the theorem's bounds, and the controls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from ticketcli.errors import InputMissing, UsageError
from ticketcli.figures.chart import Chart, Curve, Point
from ticketcli.figures.figure import Figure
from ticketcli.figures.panels import Panels
from ticketcli.figures.scales import Axis
from ticketcli.store.atomic import write_text
from ticketcli.theory import limits
from ticketcli.theory.lcnn import Damage, Lcnn
from ticketcli.theory.orcnn import Orcnn, Pretrained, predicted

_FLAG = "--svg"
_FINE = 80  # points of a curve that is computed
BARS = "from the least to the greatest of the seeds"


def require_drawing(path: Path) -> None:
    """Refuse before computing what could not be written after.

    Raises:
        UsageError: the file's name does not end in .svg.
        InputMissing: its folder is not there.
    """
    if path.suffix != ".svg":
        raise UsageError(f"'{path}' does not end in .svg", where=_FLAG, hint=f"{_FLAG} {path.stem or 'figure'}.svg")
    if not path.absolute().parent.is_dir():
        raise InputMissing("no such folder", where=str(path.parent), hint=f"make it, or name another with {_FLAG}")


def draw_lcnn(path: Path, sizes: Lcnn, damages: Sequence[Damage]) -> None:
    """Errors of the pooled feature and of the map over p, both axes logarithmic and the same in both panels."""
    kinds = (("Pooled feature", "r_pool", 0), ("Feature map", "r_map", 1))
    curves = {heading: _errors(sizes, damages, name, which) for heading, name, which in kinds}
    drawn = [one for some in curves.values() for curve in some for one in curve.points]
    ends = [end for one in drawn for end in (one.low, one.y, one.high) if end is not None]
    across = Axis("share p of the kernels pruned", is_log=True, ticks=sizes.p)
    down = Axis("relative error (logarithmic)", is_log=True)
    panels = tuple(
        (heading, Chart(across, down, some, heights=(min(ends), max(ends)), sets_apart=False))
        for heading, some in curves.items()
    )
    title = (f"Theorem 3.1: {sizes.layers} linear layers of width {sizes.width}, {2 * sizes.s + 1} taps, "
             f"seeds: {sizes.seeds}. Thin lines: infinite width")  # fmt: skip
    told = ("Relative error of the pooled feature and of the feature map over the share of kernels pruned. "
            f"Marks are means over the seeds, bars reach {BARS}; lines are the limit of infinite width.")  # fmt: skip
    _written(path, "theorem-3-1", Panels(title, panels), told, sizes)


def _errors(sizes: Lcnn, damages: Sequence[Damage], name: str, which: int) -> tuple[Curve, ...]:
    """What was measured by each rule, with the limit as a line, and the theorem's bound."""
    first, last = min(sizes.p) / 1.15, min(0.99, max(sizes.p) * 1.15)
    found: list[Curve] = []
    for look, (rule, words) in enumerate(limits.RULES_IN_WORDS.items()):
        own = [one for one in damages if one.rule == rule]
        if own:
            limit = tuple(Point(p, _limit(sizes, own[0].rule, p)[which]) for p in _spread(first, last))
            words += " (the theorem's)" if rule == "kernel-sum" else ""
            found.append(Curve(f"{words}: limit", limit, look, is_thin=True, in_legend=False))
            points = tuple(_point(one.p, one.values(name)) for one in own)
            found.append(Curve(words, points, look, is_control=rule != "kernel-sum", is_joined=False))
    if any(one.rule == "kernel-sum" for one in damages) and first < limits.LARGEST_P:
        places = _spread(first, min(last, limits.LARGEST_P))
        bound = tuple(Point(p, _bounds(sizes, p)[which]) for p in places)
        found.append(Curve("bound of theorem 3.1", bound, is_bound=True))
    return tuple(found)


def _spread(first: float, last: float) -> list[float]:
    """Places from the first to the last at equal factors."""
    return [first * (last / first) ** (k / (_FINE - 1)) for k in range(_FINE)]


def _point(x: float, values: Sequence[float]) -> Point:
    """The mean of the seeds, with a bar from the least to the greatest."""
    mean = math.fsum(values) / len(values)
    text = f"p = {x:g}: {mean:.3g}"
    return Point(x, mean, words=text) if len(values) == 1 else Point(x, mean, min(values), max(values), (), text)


def _white(sizes: Lcnn) -> list[float]:
    """A white input's energy by mode: 0 and D / 2 stand for themselves, the others for their conjugates too."""
    n = sizes.length // 2 + 1
    alone = {0, sizes.length // 2} if sizes.length % 2 == 0 else {0}
    return [(1 if k in alone else 2) / sizes.length for k in range(n)]


def _limit(sizes: Lcnn, rule: limits.Rule, p: float) -> tuple[float, float]:
    s = 0 if rule == "1x1" else sizes.s
    return limits.predicted(rule, p, layers=sizes.layers, s=s, length=sizes.length, shares=_white(sizes))


def _bounds(sizes: Lcnn, p: float) -> tuple[float, float]:
    return limits.pool_bound(p, sizes.layers), limits.map_bound(p, sizes.s, sizes.length, _white(sizes))


def draw_orcnn(path: Path, sizes: Orcnn, found: Sequence[Pretrained]) -> None:
    """Distances over p, and the residuals of the first seed's trainings beside what lemma B.5 allows."""
    panels = (
        ("How far W_fin is from W_pre", _distances(sizes, found)),
        (f"Training, seed {sizes.first_seed}", _residuals(sizes, found[0])),
    )
    title = (f"Theorem 3.2: {sizes.width} filters, {sizes.samples} samples, seeds: {sizes.seeds}. "
             "Thin line: infinite width")  # fmt: skip
    told = ("Distance of the finetuned filters from the dense ones over the share of filters pruned, and the residuals "
            f"of the trainings. Marks are means over the seeds, bars reach {BARS}.")  # fmt: skip
    _written(path, "theorem-3-2", Panels(title, panels), told, sizes)


def _distances(sizes: Orcnn, found: Sequence[Pretrained]) -> Chart:
    last = max(sizes.p) + 0.5 * (1 - max(sizes.p))
    line = [last * k / _FINE for k in range(_FINE)]
    own = {p: [one.finetuned[p] for one in found] for p in sizes.p}
    series = {
        "least over all rotations": {p: [one.trained.rotated for one in some] for p, some in own.items()},
        "the same, nothing trained": {p: [one.untrained.rotated for one in some] for p, some in own.items()},
        "mixed, equal norms": {p: [one.trained.rescaled for one in some] for p, some in own.items()},
        "not rotated": {p: [one.trained.plain for one in some] for p, some in own.items()},
    }
    limit = Curve("infinite width", tuple(Point(p, predicted(p)) for p in line), is_thin=True, in_legend=False)
    bound = Curve("bound p / 2 of theorem 3.2", tuple(Point(p, p / 2) for p in line), is_bound=True)
    measured = [
        Curve(name, tuple(_point(p, some) for p, some in values.items()), look, is_control=look > 0, is_joined=False)
        for look, (name, values) in enumerate(series.items())
    ]
    axes = Axis("share p of the filters pruned"), Axis("distance")
    return Chart(*axes, (limit, *measured, bound), heights=(0.0,), sets_apart=False)


def _residuals(sizes: Orcnn, found: Pretrained) -> Chart:
    descents = {"dense": found.descent, **{f"p = {p:g}": found.finetuned[p].descent for p in sizes.p}}
    longest = max(descents.values(), key=lambda descent: descent.steps)
    curves = [
        Curve(name, _steps(one.residuals), look, is_thin=True) for look, (name, one) in enumerate(descents.items())
    ]
    bound = Curve("bound of lemma B.5", _steps(longest.allowed), is_bound=True)
    down = Axis("squared residual, the first is 1 (logarithmic)", power, is_log=True)
    return Chart(Axis("step"), down, (*curves, bound))


def power(value: float) -> str:
    """A tick of a logarithmic axis: ``1e-6``."""
    return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")


def _steps(values: Sequence[float]) -> tuple[Point, ...]:
    """At most a few hundred of them, and the last."""
    step = -(-len(values) // (3 * _FINE))
    kept = sorted({*range(0, len(values), step), len(values) - 1})
    return tuple(Point(number, values[number]) for number in kept)


def _written(path: Path, name: str, drawing: Panels, told: str, sizes: Lcnn | Orcnn) -> None:
    seeds = range(sizes.first_seed, sizes.first_seed + sizes.seeds)
    written(path, name, drawing, told, command=_command(sizes), seeds=seeds)


def written(path: Path, name: str, drawing: Panels, told: str, *, command: str, seeds: Sequence[int]) -> None:
    """Write a figure: the same bytes for the same numbers."""
    facts = (("Command", command), ("Seeds", ", ".join(map(str, seeds))), ("n", str(len(seeds))), ("Bars", BARS))
    write_text(path, Figure(name, drawing.title, told, facts, drawing).file())


def _command(sizes: Lcnn | Orcnn) -> str:
    """What to type for the same numbers."""
    flags = {"first_seed": "seed", "rules": "rule"}
    words = [f"ticket theory {type(sizes).__name__.lower()}"]
    for one in fields(sizes):
        value = getattr(sizes, one.name)
        texts = value if one.name == "rules" else [",".join(f"{p:g}" for p in value) if one.name == "p" else value]
        words += [f"--{flags.get(one.name, one.name)} {text}" for text in texts]
    return " ".join(words)
