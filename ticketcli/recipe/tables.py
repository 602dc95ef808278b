"""`report:`: which results a recipe compares, in one table or several."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ticketcli.errors import TicketError, UsageError, collected, did_you_mean
from ticketcli.recipe.config import Config, Names
from ticketcli.recipe.for_each import Label, Variables

STEP = "step"  # the row variable that a table of several steps has beside those of for_each
CONTRASTS, REPLICATES = "contrasts", "replicates"  # the keys of `report:` that are about no table
REPLICATE = "seed"  # the variable that makes replicates unless over: says otherwise
STAGES = ("transfer", "evaluate", "prune")
# What is shown unless metric: says otherwise; of several, those that were measured.
METRICS = {
    "transfer": ("test.top1", "test.miou", "test.box.ap", "test.mask.ap"),
    "evaluate": ("top1", "miou", "box.ap", "mask.ap"),
    "prune": ("healed.top1", "healed.psnr"),
}
_TICKET_OF_ROUND = re.compile(r"(.+)/\d+")


def _names(value: object) -> object:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _numbers(value: object) -> object:
    return (value,) if isinstance(value, int | float) else tuple(value) if isinstance(value, list) else value


def _text(value: object) -> object:
    return str(value) if isinstance(value, int | float) else value


def _texts(value: object) -> object:
    return tuple(_text(one) for one in value) if isinstance(value, list) else value


def _words(value: object) -> object:
    return {str(key): words for key, words in value.items()} if isinstance(value, dict) else value


OneOrMore = Annotated[Names, BeforeValidator(_names)]


class TableConfig(Config):
    """One table of results: a row for each value of `rows`; mean, spread and interval over the replicates `over`."""

    table: OneOrMore = Field(description="the steps whose results are shown: transfer, evaluate or prune")
    rows: OneOrMore | None = Field(None, description="the variables that make the rows; all but `over` when absent")
    over: OneOrMore | None = Field(None, description="the variables that make the replicates; seed when absent")
    columns: OneOrMore = Field((), description="the variables whose values stand side by side, such as the task")
    metric: OneOrMore = Field(
        (),
        description="what is shown, dotted as in the manifest; when absent, the measures that the tasks are known by",
    )
    against: Annotated[str, BeforeValidator(_text)] = Field(
        "", description="the row value that every row is compared with, in pairs"
    )
    compare: Annotated[Names, BeforeValidator(_texts)] = Field(
        (), description="two row values whose paired difference is told in words"
    )
    at: Annotated[tuple[float, ...], BeforeValidator(_numbers)] = Field(
        (), description="sparsities to interpolate to, linearly between neighbouring rounds, or tickets of them"
    )
    labels: Annotated[dict[str, str], BeforeValidator(_words)] = Field(
        default_factory=dict, description="row value -> words for people"
    )


def parse_tables(raw: Mapping[str, Any], errors: list[TicketError]) -> dict[str, TableConfig]:
    """Tables by name from `report:`, which is one table, or has `tables:` with one table a name, beside `contrasts:`.

    What is wrong with one of them joins `errors`.
    """
    raw = {key: value for key, value in raw.items() if key not in (CONTRASTS, REPLICATES)}
    tables: dict[str, TableConfig] = {}
    if raw and "tables" not in raw:
        with collected(errors):
            tables[""] = TableConfig.parse(raw, where="report")
    elif raw and (len(raw) > 1 or not isinstance(raw["tables"], dict) or not raw["tables"]):
        hint = "report: {tables: {first: {table: STEP}, second: {table: STEP}}}"
        errors.append(UsageError("report has tables: and other keys, or no table in it", where="report", hint=hint))
    elif raw:
        for one in raw["tables"].items():
            with collected(errors):
                tables |= TableConfig.parse_each(dict([one]), where="report.tables", example="{table: STEP}")
    return tables


def where_of(name: str) -> str:
    """Where a table stands in the recipe, for errors."""
    return f"report.tables.{name}" if name else "report"


def check_table(
    config: TableConfig,
    where: str,
    stages: Mapping[str, str],
    instances: Mapping[str, Sequence[Variables]],
    *,
    as_written: bool,
) -> list[TicketError]:
    """What a table asks for that the recipe does not have.

    Args:
        config: the table.
        where: its place in the recipe.
        stages: step -> its stage, "" where there is no such stage.
        instances: step -> the variables of each of its repetitions, without the steps of which nobody knows them.
        as_written: nothing was overridden; else row values that are gone are no mistake.
    """
    errors: list[TicketError] = list(_wrong_steps(config, where, stages))
    errors += _wrong_numbers(config, where)
    if not errors and all(step in instances for step in config.table):
        errors += _wrong_variables(config, where, stages, instances, as_written=as_written)
    return errors


def _wrong_steps(config: TableConfig, where: str, stages: Mapping[str, str]) -> Iterator[UsageError]:
    for step in config.table:
        if step not in stages:
            yield UsageError(f"no step '{step}'", where=f"{where}.table", hint=did_you_mean(step, stages))
        elif stages[step] not in ("", *STAGES):
            yield UsageError(
                f"'{step}' is a {stages[step]} step, which makes no results",
                where=f"{where}.table", hint="name a step of " + ", ".join(STAGES),
            )  # fmt: skip
    known = {stages.get(step, "") for step in config.table} - {""}
    if len(known) > 1 or not config.table:
        yield UsageError("steps of different stages, or none, in one table", where=f"{where}.table",
                         hint="tables: with one table for each stage")  # fmt: skip
    if len(set(config.table)) != len(config.table):
        yield UsageError("a step twice in one table", where=f"{where}.table", hint="name each step once")


def _wrong_numbers(config: TableConfig, where: str) -> Iterator[UsageError]:
    if any(not 0 <= sparsity < 1 for sparsity in config.at):
        yield UsageError("a sparsity is a share, from 0 to below 1", where=f"{where}.at", hint="0.8 for 80 %")
    if len(config.compare) not in (0, 2) or len(set(config.compare)) != len(config.compare):
        what = f"compare has {len(set(config.compare))} values"
        yield UsageError(what, where=f"{where}.compare", hint="name two rows")


def _wrong_variables(
    config: TableConfig,
    where: str,
    stages: Mapping[str, str],
    instances: Mapping[str, Sequence[Variables]],
    *,
    as_written: bool,
) -> Iterator[TicketError]:
    if len(config.table) > 1 and any(STEP in variables for step in config.table for variables in instances[step]):
        yield UsageError("'step' tells the steps of a table apart", where=where, hint="call the variable otherwise")
    values = values_of(config, instances)
    unknown = [(key, name) for key in ("rows", "over", "columns") for name in getattr(config, key) or ()
               if name not in values]  # fmt: skip
    for key, name in unknown:
        what = f"'{', '.join(config.table)}' is not repeated over '{name}'"
        yield UsageError(what, where=f"{where}.{key}", hint=did_you_mean(name, values))
    if unknown:
        return
    rows, over = row_variables(config, values), over_variables(config, values)
    for name in values:
        if (name in rows) + (name in over) + (name in config.columns) > 1:
            yield UsageError(f"'{name}' makes two of rows, replicates and columns", where=where, hint="take one")
        if name not in rows and name not in over and name not in config.columns:
            yield UsageError(
                f"'{name}' makes neither rows nor replicates, so the table would pool it",
                where=where, hint=f"add '{name}' to rows:, to over: or to columns:",
            )  # fmt: skip
    yield from _wrong_rows(config, where, values, prunes=stages[config.table[0]] == "prune", as_written=as_written)


def _wrong_rows(
    config: TableConfig, where: str, values: Mapping[str, Sequence[Label]], *, prunes: bool, as_written: bool
) -> Iterator[TicketError]:
    rows = row_values(config, values, prunes=prunes)
    if config.at and not prunes and all(rows[name] == values[name] for name in rows):
        yield UsageError(
            "at interpolates between rounds, and no row is the ticket of one",
            where=f"{where}.at", hint="rows such as ours/7 and ours/8",
        )  # fmt: skip
    if not as_written:
        return
    errors: list[TicketError] = []
    found = []
    for key, wanted in (("compare", config.compare), ("against", (config.against,) if config.against else ())):
        for text in wanted:
            with collected(errors):
                found.append((key, find_value(text, rows, where=f"{where}.{key}")[0]))
    if len({name for key, name in found if key == "compare"}) > 1:
        what, hint = "compare names values of two variables", "name two values of one"
        errors.append(UsageError(what, where=f"{where}.compare", hint=hint))
    yield from errors


def values_of(config: TableConfig, instances: Mapping[str, Sequence[Variables]]) -> dict[str, list[Label]]:
    """Variable -> the values it takes among the table's steps, in order; with `step` first where there are several."""
    found: dict[str, list[Label]] = {STEP: list(config.table)} if len(config.table) > 1 else {}
    for step in config.table:
        for variables in instances[step]:
            for name, label in variables.items():
                known = found.setdefault(name, [])
                if label not in known:
                    known.append(label)
    return found


def over_variables(config: TableConfig, values: Iterable[str]) -> tuple[str, ...]:
    """The variables that make the replicates."""
    if config.over is not None:
        return config.over
    return tuple(name for name in values if name == REPLICATE and name not in (*(config.rows or ()), *config.columns))


def row_variables(config: TableConfig, values: Iterable[str]) -> tuple[str, ...]:
    """The variables that make the rows."""
    if config.rows is not None:
        return config.rows
    names = list(values)
    over = over_variables(config, names)
    return tuple(name for name in names if name not in over and name not in config.columns)


def row_values(config: TableConfig, values: Mapping[str, Sequence[Label]], *, prunes: bool) -> dict[str, list[Label]]:
    """Row variable -> its values; where tickets are interpolated `ours/7` and `ours/8` are one, `ours`."""
    along = bool(config.at) and not prunes
    return {
        name: list(dict.fromkeys(curve_of(label) if along else label for label in values[name]))
        for name in row_variables(config, values)
    }


def curve_of(label: Label) -> Label:
    """The step whose round a label names: `ours` of `ours/7`. Any other label is on no curve, and is itself."""
    match = _TICKET_OF_ROUND.fullmatch(label) if isinstance(label, str) else None
    return label if match is None else match[1]


def find_value(text: str, rows: Mapping[str, Sequence[Any]], *, where: str) -> tuple[str, Any]:
    """The row variable and value that `text` means: a value that only one of them has, or ``variable=value``.

    Raises:
        UsageError: none has it, or several do.
    """
    name, _, value = text.partition("=")
    found = [(row, label) for row, labels in rows.items() for label in labels if str(label) == text]
    found = found or [(name, label) for label in rows.get(name, ()) if str(label) == value]
    if len(found) == 1:
        return found[0]
    if found:
        several = " or ".join(f"{row}={label}" for row, label in found)
        raise UsageError(f"'{text}' could be several rows", where=where, hint=f"write {several}")
    known = [str(label) for labels in rows.values() for label in labels]
    raise UsageError(f"no row '{text}'", where=where, hint=did_you_mean(text, known))
