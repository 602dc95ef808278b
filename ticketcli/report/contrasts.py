"""`Contrast`: a question that a recipe stated, answered as far as its results go, with a verdict."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
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
        planned: how many replicates there will be, by the recipe's `replicates` or its variables.
        summary: of the values: mean, spread, t interval, p.
        p_sign: of the exact sign-flip test.
        p_holm: p for all secondary contrasts together; None of others.
        margin: differences within this are equivalent; None where the recipe names none, or its base is not above 0.
        p_equivalent: of two one-sided tests against the margin.
        detectable: the smallest mean that so many replicates with this spread show with a power of 80 %.
        units: the means of what `per` names, in which values are counted; none where it names nothing.
        verdict: for the question: supported (the mean is above 0), contradicted (below), equivalent or inconclusive; of
            gates passed or failed; unfinished before all replicates are there; "" of descriptive ones.
        why: what the verdict leans on, in words.
        lacking: the replicates of the run's recipe that are not complete.
        is_partial: some planned replicates are not there, or not in this run's recipe.
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
    is_partial: bool = False
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
        name: _of_cells(name, config, cells_of(config, recipe, found), recipe.replicates)
        for name, config in recipe.contrasts.items() if not config.difference
    }  # fmt: skip
    made |= {
        name: _combined(name, config, made) for name, config in recipe.contrasts.items() if config.refers_to
    }  # fmt: skip
    n_secondary = sum(config.role == "secondary" for config in recipe.contrasts.values())
    made = {name: _tested(made[name], made, n_secondary) for name in recipe.contrasts}
    made = _corrected(made)
    gates = {name: _gate(one) for name, one in made.items() if one.config.role == "gate"}
    return tuple(gates[name] if name in gates else _judged(one, gates) for name, one in made.items())


def _of_cells(name: str, config: ContrastConfig, cells: Cells, replicates: int) -> Contrast:
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
        name, config, measure, values, max(replicates, len(cells.planned)), Summary(0), lacking=tuple(lacking),
        is_partial=bool(lacking) or replicates > len(cells.planned), leans_on_one=shared,
    )  # fmt: skip


def _words(replicate: Replicate) -> str:
    return ",".join(f"{name}={value}" for name, value in replicate) or "all"


def _combined(name: str, config: ContrastConfig, cells: Mapping[str, Contrast]) -> Contrast:
    """One contrast, or the first of two less the second, replicate by replicate, in the units that `per` names.

    A unit is a mean over all replicates; where it is not above 0 nothing is counted in it.
    """
    sides = [cells[other] for other in config.difference] or [cells[name]]
    counted = [cells[other] for other in config.per]
    keys = [key for key in sides[0].values if all(key in one.values for one in (*sides, *counted))]
    units = tuple(statistics.fmean([one.values[key] for key in keys] or [0.0]) for one in counted)
    known = bool(keys)
    usable = all(unit > 0 for unit in units)
    values = dict.fromkeys(keys, 0.0) if usable else {}
    for number, (sign, side) in enumerate(zip((1, -1), sides, strict=False)):
        for key, value in _in_units(side, counted[number] if counted else None, list(values)).items():
            values[key] += sign * value
    lacking = dict.fromkeys(key for one in (*sides, *counted) for key in one.lacking)
    words = _quoted(config.per)
    return replace(
        sides[0], name=name, config=config, values=values, lacking=tuple(lacking), units=units,
        measure=Measure("ratio", "ratio") if units else sides[0].measure,
        is_partial=any(one.is_partial for one in (*sides, *counted)),
        leans_on_one=any(side.leans_on_one for side in sides),
        why=f"{words} not above 0, so nothing can be counted in it" if known and not usable else "",
    )  # fmt: skip


def _in_units(side: Contrast, unit: Contrast | None, keys: Sequence[str]) -> dict[str, float]:
    """The values of these replicates, counted in the mean of a unit.

    That mean was measured with the same few replicates, so what each of them adds to its spread is taken along, to
    first order: value / mean, less (mean value / mean) x (unit / mean - 1). The mean stays what it was.
    """
    if unit is None or not keys:
        return {key: side.values[key] for key in keys}
    whole = statistics.fmean(unit.values[key] for key in keys)
    share = statistics.fmean(side.values[key] for key in keys) / whole
    return {key: side.values[key] / whole - share * (unit.values[key] / whole - 1) for key in keys}


def _tested(one: Contrast, made: Mapping[str, Contrast], n_secondary: int) -> Contrast:
    values = list(one.values.values())
    summary = summarize(values, scale=max(map(abs, values), default=0.0))
    margins, why = _margins(one, made), one.why
    margin = statistics.fmean(margins) if margins else None
    if margin is not None and margin <= 0:
        margin, why = None, why or f"'{one.config.margin_of}' not above 0, so there is no margin"
    level = 1 - LEVEL / n_secondary if one.config.role == "secondary" else 1 - LEVEL
    factor = detectable(summary.n, level=level)
    return replace(
        one,
        summary=summary,
        p_sign=sign_flip(values),
        margin=margin,
        p_equivalent=None if margin is None else equivalence(values, margins),
        detectable=factor * summary.sd if factor is not None and summary.sd else None,
        why=why,
    )


def _margins(one: Contrast, made: Mapping[str, Contrast]) -> list[float]:
    """The margin of each replicate; none where there is none, or what it is a share of lacks one."""
    margin, base = one.config.margin, one.config.margin_of
    if margin is None:
        return []
    if not base:
        return [margin] * len(one.values)
    whole = made[base].values
    return [margin * whole[key] for key in one.values] if all(key in whole for key in one.values) else []


def _corrected(made: Mapping[str, Contrast]) -> dict[str, Contrast]:
    """The secondary ones share one level of error, those that have no answer yet too."""
    found = {name: one.summary.p for name, one in made.items() if one.config.role == "secondary"}
    adjusted = dict(zip(found, holm([1.0 if p is None else p for p in found.values()]), strict=True))
    return {
        name: replace(one, p_holm=None if found.get(name) is None else adjusted[name]) for name, one in made.items()
    }


def _unfinished(one: Contrast) -> str:
    return f"{one.summary.n} of {one.planned} replicates are complete" if one.is_partial else ""


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
    open_ = [name for name in one.config.needs if gates[name].verdict == "unfinished"]
    if open_:
        return replace(one, verdict="unfinished", why=f"{_quoted(open_)} unfinished")
    not_passed = [name for name in one.config.needs if gates[name].verdict != "passed"]
    if not_passed:
        return replace(one, verdict="inconclusive", why=f"{_quoted(not_passed)} not passed, so nothing follows")
    verdict, why = _verdict(one)
    return replace(one, verdict=verdict, why=why)


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)


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
    return "inconclusive", one.why
