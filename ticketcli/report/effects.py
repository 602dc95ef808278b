"""`Effect`: a paired difference with all that is needed to judge it, wherever it was computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ticketcli.report.contrast_words import in_order
from ticketcli.report.contrasts import Contrast
from ticketcli.report.intervals import Summary
from ticketcli.report.measures import Measure
from ticketcli.report.tables import Difference, Table


@dataclass(frozen=True)
class Effect:
    """One contrast.

    Attributes:
        name: what less what.
        measure: of which number; differences are in its units, shares in [0, 1].
        summary: of the paired differences.
        values: the differences themselves, one a pair.
        p_adjusted: p for all contrasts that are tested together; None where it is tested alone.
        margin: differences within this of 0 are called equivalent; None where nobody said.
        detectable: the smallest difference that so many pairs show with a power of 80 %; None where it is not known.
        role: gate, primary, secondary or descriptive.
        verdict: what follows, in words.
        note: what else has to be known.
    """

    name: str
    measure: Measure
    summary: Summary
    values: tuple[float, ...] = ()
    p_adjusted: float | None = None
    margin: float | None = None
    detectable: float | None = None
    role: str = "descriptive"
    verdict: str = ""
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {**asdict(self), "measure": self.measure.name, "values": list(self.values)}


def table_effects(table: Table) -> list[Effect]:
    """What a table compares: each row with its baseline, and the two rows of `compare`."""
    made: dict[tuple[str, str], Effect] = {}
    for measure in table.measures:
        for row, one in zip(table.rows, table.against[measure.name], strict=True):
            if one is not None and one.summary.mean is not None:
                name = f"{table.title(row)}, less {table.label(table.config.against)}"
                made[name, measure.name] = _effect(name, measure, one)
    for found in table.comparisons:
        if found.difference.summary.mean is not None:
            name = f"{table.title(found.first)}, less {table.title(found.second)}"
            made.setdefault((name, found.measure.name), _effect(name, found.measure, found.difference))
    return list(made.values())


def contrast_effects(contrasts: Sequence[Contrast]) -> list[Effect]:
    """What the recipe asks, gates first; those of which no replicate is there stay out."""
    return [
        Effect(
            one.name, one.measure, one.summary, tuple(one.values.values()), one.p_holm, one.margin, one.detectable,
            one.config.role, one.verdict, _told(one),
        )
        for one in in_order(contrasts) if one.summary.mean is not None
    ]  # fmt: skip


def _told(one: Contrast) -> str:
    """The question and what its verdict leans on."""
    parts = [part for part in (one.config.what.rstrip("."), one.why) if part]
    return f"{one.name}: {'; '.join(parts)}." if parts else ""


def _effect(name: str, measure: Measure, one: Difference) -> Effect:
    note = "Some pairs share a run, so this holds for that run alone." if one.leans_on_one else ""
    return Effect(name, measure, one.summary, p_adjusted=one.p_holm, verdict=verdict(one.summary), note=note)


def verdict(summary: Summary) -> str:
    """What a difference allows to be said."""
    if summary.low is None or summary.high is None or summary.mean is None:
        return "one pair has no interval" if summary.n == 1 else "equal differences have no interval"
    if summary.low <= 0 <= summary.high:
        return "inconclusive at this size"
    return f"{'higher' if summary.mean > 0 else 'lower'} in this run"


def of_measure(effects: Sequence[Effect]) -> dict[str, list[Effect]]:
    """By the measure that they are of, in their order: one axis holds no two units."""
    groups: dict[str, list[Effect]] = {}
    for effect in effects:
        groups.setdefault(effect.measure.name, []).append(effect)
    return groups
