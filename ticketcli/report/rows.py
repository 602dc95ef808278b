"""The rows of a results table, what their replicates have in common, and how two rows differ pair by pair."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ticketcli.recipe.for_each import Label, Variables
from ticketcli.recipe.recipe import Recipe, RecipeStep
from ticketcli.recipe.tables import STEP, TableConfig, curve_of
from ticketcli.report.intervals import Summary, summarize
from ticketcli.report.measures import IN
from ticketcli.report.observations import Observation, Point, interpolate, observe
from ticketcli.report.survey import Survey

Pair = tuple[Observation, Observation]


@dataclass(frozen=True)
class Row:
    """All replicates of one choice of the row variables, at one round where the rows are rounds.

    Attributes:
        key: row variable -> label.
        point: the round, or the sparsity interpolated to; "" where the rows are no rounds.
        observations: the replicates that are there, those of equal steps too.
    """

    key: Mapping[str, Label]
    point: Point
    observations: tuple[Observation, ...]

    @property
    def measured(self) -> list[Observation]:
        """One observation for each step that was run: a step that equals another adds no evidence."""
        return list({(one.real, *one.metrics): one for one in reversed(self.observations)}.values())[::-1]

    def values(self, name: str) -> list[float]:
        """The measured values of a metric."""
        return [one.metrics[name] for one in self.measured if name in one.metrics]

    def summary(self, name: str) -> Summary:
        """Mean, spread and interval of a metric."""
        return summarize(self.values(name))

    def mean(self, name: str) -> float | None:
        """The mean of a metric, or None."""
        values = self.values(name)
        return statistics.fmean(values) if values else None

    @property
    def interpolated(self) -> bool:
        """Whether any value of this row was not measured."""
        return any(one.interpolated for one in self.observations)


def rows_of(config: TableConfig, variables: Sequence[str], recipe: Recipe, found: Survey) -> list[Row]:
    """The rows, in the order of the recipe; those without a replicate yet are there, and empty."""
    points: dict[tuple[Label, ...], dict[Point, list[Observation]]] = {}
    for steps in _alike(config, variables, recipe):
        step, labels = steps[0], _labels(steps[0], config, variables)
        is_curve = labels != step.variables
        key = tuple(step.group if name == STEP else labels.get(name) for name in variables)
        inner = points.setdefault(key, {})
        for point in config.at if is_curve or step.stage == "prune" else ("",):
            inner.setdefault(point, [])
        made = [one for each in steps for one in observe(each, recipe, found, config.at)]
        if is_curve:
            along = [replace(one, variables=labels) for one in made]
            made = [one for sparsity in config.at if (one := interpolate(along, sparsity))]
        for one in made:
            inner.setdefault(one.point, []).append(_in_columns(one, column_of(step, config.columns)))
    return [
        Row(dict(zip(variables, key, strict=True)), point, tuple(inner[point]))
        for key, inner in points.items()
        for point in sorted(inner, key=_order)
    ]


def _alike(config: TableConfig, variables: Sequence[str], recipe: Recipe) -> list[list[RecipeStep]]:
    """The steps of a table: each on its own, or where tickets are interpolated those that differ in its round alone."""
    found: dict[tuple[str, tuple[tuple[str, Label], ...]], list[RecipeStep]] = {}
    for group in config.table:
        for step in recipe.instances[group]:
            found.setdefault((group, tuple(_labels(step, config, variables).items())), []).append(step)
    return list(found.values())


def _labels(step: RecipeStep, config: TableConfig, variables: Sequence[str]) -> Variables:
    """The labels of a step; where tickets are interpolated, those of its row without the ticket's round."""
    if not config.at or step.stage == "prune":
        return step.variables
    return {name: curve_of(label) if name in variables else label for name, label in step.variables.items()}


def column_of(step: RecipeStep, columns: Sequence[str]) -> str:
    """What the metrics of a step are called by where columns stand side by side; "" where they do not."""
    labels = key_of(step, columns)
    return "".join(f"{label}{IN}" for label in labels.values() if label is not None)


def _in_columns(one: Observation, column: str) -> Observation:
    """The same, its own measures under the name of its column; those of the ticket behind it are of no column."""
    if not column:
        return one
    metrics = {name if is_shared(name) else column + name: value for name, value in one.metrics.items()}
    return replace(one, metrics=metrics)


def is_shared(name: str) -> bool:
    """Whether a metric is of the ticket itself, and so of no column."""
    return name in ("sparsity", "bytes") or name.startswith("ticket.")


def having(matched: Sequence[Pair], name: str) -> list[Pair]:
    """The pairs of which both have a metric: those of its column, where there are columns."""
    return [(one, other) for one, other in matched if name in one.metrics and name in other.metrics]


def _order(point: Point) -> tuple[bool, float, str]:
    """Rounds by number, then what is no round by name."""
    return (True, 0.0, point) if isinstance(point, str) else (False, point, "")


def key_of(step: RecipeStep, variables: Sequence[str]) -> dict[str, Label]:
    """The labels of a step that make its row; None for a variable that it does not depend on."""
    return {name: step.group if name == STEP else step.variables.get(name) for name in variables}


def pairs(first: Row, second: Row, over: Sequence[str]) -> list[Pair]:
    """The replicates of both rows whose `over` variables are equal; never by position.

    A step that does not depend on a variable fits all of its values. A pair of the same two runs counts once, and a
    run is not paired with itself: that difference is 0 whatever was measured.
    """
    found: dict[tuple[str, str], Pair] = {}
    for one in first.observations:
        for other in second.observations:
            shared = [name for name in over if name in one.variables and name in other.variables]
            if one.real != other.real and all(one.variables[name] == other.variables[name] for name in shared):
                found.setdefault((one.real, other.real), (one, other))
    return list(found.values())


def difference(matched: Sequence[Pair], name: str) -> Summary:
    """What the first of each pair has more than the second: mean, spread, interval and p of the paired differences."""
    both = [(one.metrics[name], other.metrics[name]) for one, other in matched
            if name in one.metrics and name in other.metrics]  # fmt: skip
    scale = max((abs(value) for pair in both for value in pair), default=0.0)
    return summarize([one - other for one, other in both], scale=scale)


def leans_on_one(matched: Sequence[Pair]) -> bool:
    """Whether a run stands in several pairs, so that its own chance is in all of them."""
    return any(len({pair[side].real for pair in matched}) < len(matched) for side in (0, 1))


def partner(row: Row, rows: Sequence[Row], variable: str, label: Label) -> Row | None:
    """The row that differs from this one in one variable alone, which has this label there.

    A row of no round, such as the dense network's, is the partner of another at every sparsity.
    """
    wanted = {**row.key, variable: label}
    return next((other for other in rows if other.key == wanted and other.point in (row.point, "")), None)
