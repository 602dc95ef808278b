"""`Table`: one results table of a recipe: rows, measures and paired differences, from what a run has measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from ticketcli.errors import TicketError, UsageError
from ticketcli.recipe.for_each import Label
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.recipe.recipe import Recipe, RecipeStep
from ticketcli.recipe.tables import (
    METRICS,
    TableConfig,
    find_value,
    over_variables,
    row_values,
    row_variables,
    values_of,
)
from ticketcli.recipe.transfer_config import TransferConfig
from ticketcli.report.intervals import Summary, holm
from ticketcli.report.measures import Measure, named
from ticketcli.report.rows import (
    Pair,
    Row,
    column_of,
    difference,
    having,
    is_shared,
    leans_on_one,
    pairs,
    partner,
    rows_of,
)
from ticketcli.report.survey import Survey
from ticketcli.store.codec import read_mask

Place = tuple[str, Label]


@dataclass(frozen=True)
class Difference:
    """What a row has more than another, over the pairs that both have.

    Attributes:
        summary: of the paired differences.
        leans_on_one: a run stands in several pairs, so its own chance is in all of them.
        p_holm: the p of `summary`, adjusted for all rows that the table compares with the same baseline.
    """

    summary: Summary
    leans_on_one: bool
    p_holm: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two rows set against each other in one measure."""

    first: Row
    second: Row
    measure: Measure
    difference: Difference
    gradient_ratio: float | None
    mask_overlap: float | None


@dataclass(frozen=True)
class Table:
    """A results table.

    Attributes:
        name: as the recipe calls it; "" where it is the only one.
        config: what was asked for.
        stage: whose results these are.
        over: the variables that make the replicates.
        variables: the variables that make the rows.
        measures: what is shown.
        rows: in the recipe's order.
        against: measure -> for each row its difference from the baseline's row; None for that row itself.
        comparisons: those of `compare`.
        missing: step -> why it is not in the table.
        twins: step -> the step that it equals.
        problems: comparisons that were asked for, of rows that are not there.
        part: of the source's images, those that prunings measured their masks on.
        frozen: what the transfers left of the backbone as it was, in words; several where they differ.
    """

    name: str
    config: TableConfig
    stage: str
    over: tuple[str, ...]
    variables: tuple[str, ...]
    measures: tuple[Measure, ...]
    rows: tuple[Row, ...]
    against: Mapping[str, Sequence[Difference | None]]
    comparisons: tuple[Comparison, ...]
    missing: Mapping[str, str]
    twins: Mapping[str, str]
    problems: tuple[str, ...]
    part: str = "validation"
    frozen: tuple[str, ...] = ()

    def label(self, value: Label) -> str:
        """A row's value in words for people; of a path its last part, which is the same on every machine."""
        text = self.config.labels.get(str(value), str(value) if value is not None else "any")
        return " ".join((PurePath(text).name if text.startswith(("/", "~", "..")) else text).split())

    def title(self, row: Row) -> str:
        """A row's labels in one line."""
        words = [self.label(value) for value in row.key.values()] or list(self.config.table)
        return ", ".join([*words, *([f"at {point_text(row)}"] if row.point != "" else [])])


def point_text(row: Row) -> str:
    """A row's round, or the sparsity that it was interpolated to, marked with ``~`` if it was."""
    if not isinstance(row.point, float):
        return str(row.point)
    return f"{'~' if row.interpolated else ''}{row.point:.2%}"


def make_table(name: str, config: TableConfig, recipe: Recipe, found: Survey) -> Table:
    """Gather one table."""
    steps = [step for group in config.table for step in recipe.instances[group]]
    values = values_of(config, {group: [s.variables for s in recipe.instances[group]] for group in config.table})
    variables, over = row_variables(config, values), over_variables(config, values)
    alike = (*over, *config.columns)
    rows = tuple(rows_of(config, variables, recipe, found))
    measures = tuple(named(_metrics(config, steps, rows)))
    places, problems = _places(config, row_values(config, values, prunes=steps[0].stage == "prune"))
    compared = [places[text] for text in config.compare if text in places]
    real = {step.name: recipe.real(step.name) for step in steps}
    return Table(
        name,
        config,
        steps[0].stage,
        over,
        variables,
        measures,
        rows,
        {measure.name: _against(rows, places.get(config.against), alike, measure) for measure in measures},
        tuple(_comparisons(rows, compared, alike, measures)),
        {step: found.lacking[other] for step, other in real.items() if other in found.lacking},
        {step: other for step, other in real.items() if step != other},
        tuple(problems),
        _part(recipe),
        tuple(dict.fromkeys(_frozen(step.config) for step in steps if isinstance(step.config, TransferConfig))),
    )


def _part(recipe: Recipe) -> str:
    """`validation` or `test`, or both where the prunings of a recipe differ."""
    splits = {step.config.split for step in recipe.steps if isinstance(step.config, PruneConfig)}
    return " or ".join(sorted(splits, reverse=True)) or "validation"


_PARTS = {"none": (), "stem": ("the stem",), "first": ("stem", "first stage"), "backbone": ("all of it",)}


def _frozen(config: TransferConfig) -> str:
    """What stays as it was of the backbone, and what BatchNorm's statistics are of there."""
    parts: list[str] = list(_PARTS[config.frozen_part])
    if config.freezes_batchnorm and not config.freeze_backbone:
        parts.append("all BatchNorm")
    if not parts:
        return "nothing"
    words, n = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]])), config.recalibrate_bn
    return f"{words}, with statistics " + (f"of {n:,} source images under the mask" if n else "as they were")


def _metrics(config: TableConfig, steps: Sequence[RecipeStep], rows: Sequence[Row]) -> list[str]:
    """The names of what is shown, in each column; of the usual measures those that were measured."""
    usual = METRICS[steps[0].stage]
    columns = dict.fromkeys(column_of(step, config.columns) for step in steps)
    asked = config.metric or usual
    names = [name if is_shared(name) else column + name for column in columns for name in asked]
    names = list(dict.fromkeys(names))
    if config.metric or steps[0].stage == "prune":
        return names
    return [name for name in names if any(row.values(name) for row in rows)] or names[:1]


def _places(config: TableConfig, values: Mapping[str, Sequence[Label]]) -> tuple[dict[str, Place], list[str]]:
    """The rows that the config names; those that an override took away are told instead."""
    places: dict[str, Place] = {}
    problems = []
    for text in (config.against, *config.compare):
        if text:
            try:
                places[text] = find_value(text, values, where="report")
            except UsageError as error:
                problems.append(f"Nothing is compared with '{text}': {error.what}.")
    return places, problems


def _against(
    rows: Sequence[Row], baseline: Place | None, over: Sequence[str], measure: Measure
) -> list[Difference | None]:
    matched: list[list[Pair]] = []
    for row in rows:
        other = None if baseline is None else partner(row, rows, *baseline)
        both = [] if other is None or other is row else pairs(row, other, over)
        matched.append(having(both, measure.name))
    found = [difference(both, measure.name) for both in matched]
    adjusted = holm([one.p for one in found])
    return [
        Difference(one, leans_on_one(both), p) if one.n else None
        for one, both, p in zip(found, matched, adjusted, strict=True)
    ]


def _comparisons(
    rows: Sequence[Row], places: Sequence[Place], over: Sequence[str], measures: Sequence[Measure]
) -> list[Comparison]:
    if len(places) != 2 or places[0][0] != places[1][0]:
        return []
    (variable, first), (_, second) = places
    made = []
    for row in rows:
        other = partner(row, rows, variable, second) if row.key[variable] == first else None
        if other is None:
            continue
        matched = pairs(row, other, over)
        overlap, ratio = _overlap(having(matched, measures[0].name)), row.mean("ticket.gradient_ratio")
        for measure in measures:
            both = having(matched, measure.name)
            told = Difference(difference(both, measure.name), leans_on_one(both))
            made.append(Comparison(row, other, measure, told, ratio, overlap))
    return made


def _overlap(matched: Sequence[Pair]) -> float | None:
    """The mean over the pairs of the share of living weights that both masks have; None without the mask files."""
    overlaps = []
    for one, other in matched:
        if one.mask is not None and other.mask is not None:
            try:
                overlaps.append(read_mask(one.mask)[0].overlap(read_mask(other.mask)[0]))
            except TicketError:  # a copy of the manifests alone has no masks; verify is the place to complain
                continue
    return statistics.fmean(overlaps) if overlaps else None
