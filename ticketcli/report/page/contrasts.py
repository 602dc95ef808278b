"""What the recipe's questions came to, and all paired differences with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

from ticketcli.figures.figure import Figure
from ticketcli.figures.forest import Forest, Line
from ticketcli.figures.scales import Axis
from ticketcli.report.contrast_words import TITLE, contrasts_grid, contrasts_legend, verdicts
from ticketcli.report.effects import Effect, of_measure, table_effects
from ticketcli.report.grid import Grid
from ticketcli.report.measures import Measure
from ticketcli.report.page.results import tick
from ticketcli.report.page.section import Block, Drawn, Names, Section, Shown, Words
from ticketcli.report.page.subject import Subject, counted

_MOST = 24  # lines of one figure
_ROLES = {"primary": 0, "secondary": 1, "gate": 2, "descriptive": 5}  # how each looks


def answers(subject: Subject) -> Section | None:
    """A line for each gate and each question, with its verdict, and their numbers; None where nothing is asked."""
    asked = [one for one in subject.report.contrasts if one.config.role != "descriptive"]
    if not asked:
        return None
    numbers = Shown("In numbers", contrasts_grid(asked), tuple(contrasts_legend(asked)))
    return Section("answers", TITLE, (*map(Words, verdicts(asked)), numbers))


def contrasts(subject: Subject, names: Names) -> Section:
    """The contrasts that were handed in, then those of the tables."""
    groups = {**subject.effects}
    for table in subject.report.tables:
        found = table_effects(table)
        if found:
            groups.setdefault(table.name or " and ".join(table.config.table), found)
    blocks: list[Block] = []
    for title, effects in groups.items():
        for some in of_measure(effects).values():
            blocks += _group(subject, title, some, names)
    if not blocks:
        why = "No two rows are compared: report: has neither against: nor compare:, or no pair is there yet."
        blocks.append(Words(why, is_absence=True))
    return Section("contrasts", "Paired differences", tuple(blocks))


def _group(subject: Subject, title: str, effects: Sequence[Effect], names: Names) -> list[Block]:
    measure = effects[0].measure
    known = [effect for effect in effects if effect.summary.mean is not None]
    blocks: list[Block] = []
    for start in range(0, len(known), _MOST):
        some = known[start : start + _MOST]
        numbers = [effect.summary.n for effect in some]
        told = "Each line is a mean of paired differences; right of the dashed line is more."
        if any(effect.margin is not None for effect in some):
            told += " The grey band is the margin within which differences are called equivalent."
        interval = "95 %, paired t" if any(effect.summary.low is not None for effect in some) else "none: too few pairs"
        lines = tuple(_line(effect) for effect in some)
        axis = Axis(f"difference in {measure.head}{measure.unit and ','}{measure.unit}", lambda v: tick(measure, v))
        blocks.append(Drawn(Figure(
            names.take("difference", title, measure.head),
            f"Differences in {measure.head}: {title}", told, subject.facts(f"{counted(numbers)} pairs", interval),
            Forest(axis, lines), f"{told} {'; '.join(f'{line.name}: {line.text}' for line in lines)}.",
        )))  # fmt: skip
    blocks.append(
        Shown(f"In numbers: differences in {measure.head}, {title}", _grid(effects, measure), _notes(effects))
    )
    return blocks


def _line(effect: Effect) -> Line:
    found = effect.summary
    assert found.mean is not None
    return Line(
        effect.name, found.mean, found.low, found.high, effect.values, effect.measure.difference(found.mean),
        _ROLES.get(effect.role, 5), effect.margin,
    )  # fmt: skip


def _grid(effects: Sequence[Effect], measure: Measure) -> Grid:
    def difference(value: float | None) -> str:
        return "" if value is None else measure.difference(value)

    rows = []
    for effect in effects:
        found = effect.summary
        interval = "" if found.low is None else f"{difference(found.low)} to {difference(found.high)}"
        rows.append((
            effect.name, effect.role if effect.role != "descriptive" else "", effect.verdict, str(found.n),
            difference(found.mean), interval, _probability(found.p), _probability(effect.p_adjusted),
            "" if effect.detectable is None else difference(effect.detectable).lstrip("+"),
        ))  # fmt: skip
    head = (
        "what less what",
        "role",
        "verdict",
        "pairs",
        "difference",
        "95 % interval",
        "p",
        "p, adjusted",
        "detectable",
    )
    kept = [0, *(1 for _ in [0] if any(row[1] for row in rows)), *range(2, len(head))]
    chosen = tuple(tuple(row[index] for index in kept) for row in rows)
    return Grid(tuple(head[index] for index in kept), chosen, kept.index(2) + 1).without_empty()


def _notes(effects: Sequence[Effect]) -> tuple[str, ...]:
    notes = list(dict.fromkeys(effect.note for effect in effects if effect.note))
    unit = effects[0].measure.unit.strip()
    if unit:
        notes.insert(0, f"Differences are in {unit if unit != 'points' else 'percentage points, or points of AP'}.")
    if any(effect.p_adjusted is not None for effect in effects):
        notes.append("P, adjusted: by Holm's method, for all that are tested together; the intervals are not.")
    if any(effect.detectable is not None for effect in effects):
        notes.append("Detectable: the smallest difference that so many pairs show with a power of 80 %.")
    else:
        notes.append("How small a difference so many pairs could show (the power) was not computed for these.")
    return tuple(notes)


def _probability(p: float | None) -> str:
    return "" if p is None else f"{p:.2g}" if p >= 1e-3 else "<0.001"
