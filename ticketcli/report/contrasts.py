"""`Contrast`: a question that a recipe stated, answered as far as its results go, with a verdict."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ticketcli.recipe.contrasts import MASKS, ContrastConfig, expanded
from ticketcli.recipe.recipe import Recipe
from ticketcli.report.cells import Cells, Replicate, cells_of, runs_of, value_of
from ticketcli.report.intervals import Summary, holm, summarize
from ticketcli.report.measures import Measure, named
from ticketcli.report.paired import detectable, equivalence, sign_flip
from ticketcli.report.survey import Survey

LEVEL = 0.05
Verdict = Literal["supported", "contradicted", "equivalent", "inconclusive", "passed", "failed", "unfinished", ""]


@dataclass(frozen=True)
class Contrast:
    """One contrast and what follows from it.

    Attributes:
        name: as the recipe calls it.
        config: what was asked.
        measure: of which number; of shares the values are in [0, 1].
        values: the difference of each replicate that is complete, by what the replicate is called.
        planned: how many replicates the recipe has.
        summary: of the values: mean, spread, t interval, p.
        p_sign: of the exact sign-flip test.
        p_holm: p for all secondary contrasts together; None of others.
        margin: differences up to this count as none; None where the recipe names none, or its base is not above 0.
        p_equivalent: of two one-sided tests against the margin.
        detectable: the smallest mean that so many replicates with this spread show with a power of 80 %.
        units: the means of what `per` names, by which values are divided; none where it names nothing.
        verdict: for the question: supported (the mean is above 0), contradicted (below), equivalent or inconclusive; of
            gates passed or failed; unfinished before all replicates are there; "" of descriptive ones.
        why: what the verdict leans on, in words.
        lacking: the replicates that are not complete.
        leans_on_one: a run stands in several replicates, so its own chance is in all of them.
    """

    name: str
    config: ContrastConfig
    measure: Measure
    values: Mapping[str, float]
    planned: int
    summary: Summary
    p_sign: float | None = None
    p_holm: float | None = None
    margin: float | None = None
    p_equivalent: float | None = None
    detectable: float | None = None
    units: tuple[float, ...] = ()
    verdict: Verdict = ""
    why: str = ""
    lacking: tuple[str, ...] = ()
    leans_on_one: bool = False

    @property
    def p(self) -> float | None:
        """What decides: corrected where the contrast is one of several."""
        return self.summary.p if self.p_holm is None else self.p_holm

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values; shares in [0, 1]."""
        return {
            **{key: value for key, value in asdict(self).items() if key not in ("config", "measure", "lacking")},
            "lacking": list(self.lacking), "role": self.config.role, "what": self.config.what,
            "metric": self.measure.name, "asked": self.config.resolved(),
        }  # fmt: skip


def make_contrasts(recipe: Recipe, found: Survey) -> tuple[Contrast, ...]:
    """Every contrast that the recipe states, in its order."""
    made = {
        name: _of_cells(name, config, cells_of(config, recipe, found))
        for name, config in recipe.contrasts.items() if not config.difference
    }  # fmt: skip
    made |= {
        name: _combined(name, config, made) for name, config in recipe.contrasts.items() if config.refers_to
    }  # fmt: skip
    made = {name: _tested(made[name], made) for name in recipe.contrasts}
    made = _corrected(made)
    gates = {name: _gate(one) for name, one in made.items() if one.config.role == "gate"}
    return tuple(gates[name] if name in gates else _judged(one, gates) for name, one in made.items())


def _of_cells(name: str, config: ContrastConfig, cells: Cells) -> Contrast:
    plus, less = (expanded(side, cells.names) for side in (config.plus, config.less))
    values: dict[str, float] = {}
    used: list[frozenset[str]] = []
    lacking = []
    for replicate in cells.planned:
        known = cells.known[replicate]
        sides = [[value_of(cell, known) for cell in side] for side in (plus, less)]
        there = [[value for value in side if value is not None] for side in sides]
        if sides != there:
            lacking.append(_words(replicate))
            continue
        runs = frozenset(runs_of([*plus, *less], known))
        if runs not in used:  # replicates of the very same runs are one
            values[_words(replicate)] = statistics.fmean(there[0]) - statistics.fmean(there[1])
            used.append(runs)
    shared = sum(map(len, used)) > len(frozenset().union(*used))
    measure = Measure(MASKS, "mask distance") if config.metric == MASKS else named([config.metric])[0]
    return Contrast(
        name, config, measure, values, len(cells.planned), Summary(0), lacking=tuple(lacking), leans_on_one=shared
    )


def _words(replicate: Replicate) -> str:
    return ",".join(f"{name}={value}" for name, value in replicate) or "all"


def _combined(name: str, config: ContrastConfig, cells: Mapping[str, Contrast]) -> Contrast:
    """One contrast, or the first of two less the second, replicate by replicate, in the units that `per` names.

    A unit is a mean over all replicates, so it is the same for each; where it is not above 0 nothing is counted in it.
    """
    sides = [cells[other] for other in config.difference] or [cells[name]]
    units = tuple(statistics.fmean(cells[other].values.values() or [0.0]) for other in config.per)
    known = all(cells[other].values for other in config.per)
    usable = all(unit > 0 for unit in units)
    divisors = (units if usable else ()) or (1.0,) * len(sides)
    values = {
        key: sum(sign * side.values[key] / by for sign, side, by in zip((1, -1), sides, divisors, strict=False))
        for key in sides[0].values
        if usable and all(key in side.values for side in sides)
    }
    lacking = dict.fromkeys(key for side in sides for key in side.lacking)
    words = " and ".join(f"'{other}'" for other in config.per)
    return replace(
        sides[0], name=name, config=config, values=values, lacking=tuple(lacking), units=units,
        measure=Measure("ratio", "ratio") if units else sides[0].measure,
        leans_on_one=any(side.leans_on_one for side in sides),
        why=f"{words} not above 0, so nothing can be counted in it" if known and not usable else "",
    )  # fmt: skip


def _tested(one: Contrast, made: Mapping[str, Contrast]) -> Contrast:
    values = list(one.values.values())
    summary = summarize(values, scale=max(map(abs, values), default=0.0))
    margin = one.config.margin
    if margin is not None and one.config.margin_of:
        base = made[one.config.margin_of].values.values()
        whole = statistics.fmean(base) if base else 0.0
        margin = margin * whole if whole > 0 else None
    factor = detectable(summary.n)
    return replace(
        one,
        summary=summary,
        p_sign=sign_flip(values),
        margin=margin,
        p_equivalent=None if margin is None else equivalence(summary, margin),
        detectable=factor * summary.sd if factor is not None and summary.sd else None,
    )


def _corrected(made: Mapping[str, Contrast]) -> dict[str, Contrast]:
    """The secondary ones share one level of error."""
    names = [name for name, one in made.items() if one.config.role == "secondary"]
    adjusted = dict(zip(names, holm([made[name].summary.p for name in names]), strict=True))
    return {name: replace(one, p_holm=adjusted.get(name)) for name, one in made.items()}


def _unfinished(one: Contrast) -> str:
    return f"{one.summary.n} of {one.planned} replicates are complete" if one.lacking else ""


def _gate(one: Contrast) -> Contrast:
    """Passed when the mean exceeds so many spreads, or when its interval lies above 0."""
    found, spreads = one.summary, one.config.spreads
    if left := _unfinished(one):
        return replace(one, verdict="unfinished", why=left)
    if found.mean is None or found.sd is None:
        return replace(one, verdict="failed", why="one replicate has no spread")
    if spreads is not None:
        ratio = found.mean / found.sd if found.sd else float("inf")
        passed = found.mean > spreads * found.sd
        return replace(one, verdict="passed" if passed else "failed",
                       why=f"{ratio:.1f} standard deviations, {spreads:g} asked")  # fmt: skip
    passed = found.mean > 0 if found.low is None else found.low > 0
    return replace(
        one, verdict="passed" if passed else "failed", why=f"its interval {'is' if passed else 'is not'} above 0"
    )


def _judged(one: Contrast, gates: Mapping[str, Contrast]) -> Contrast:
    """The verdict on a primary or secondary question; without its gates there is none."""
    if one.config.role not in ("primary", "secondary"):
        return one
    if left := _unfinished(one):
        return replace(one, verdict="unfinished", why=left)
    not_passed = [name for name in one.config.needs if gates[name].verdict != "passed"]
    if not_passed:
        words = " and ".join(f"'{name}'" for name in not_passed)
        return replace(one, verdict="inconclusive", why=f"{words} not passed, so nothing follows")
    verdict, why = _verdict(one)
    return replace(one, verdict=verdict, why=why)


def _verdict(one: Contrast) -> tuple[Verdict, str]:
    mean, p = one.summary.mean, one.p
    if mean is None or p is None:
        return "inconclusive", one.why or "there is no spread to judge by"
    small = one.p_equivalent is not None and one.p_equivalent < LEVEL
    if p < LEVEL:
        asides = [
            *(["smaller than the margin"] if small else []),
            *(["the sign flips do not show it"] if one.p_sign is not None and one.p_sign >= LEVEL else []),
        ]
        return ("supported" if mean > 0 else "contradicted"), "; ".join(asides)
    if small:
        return "equivalent", "within the margin"
    return "inconclusive", ""
