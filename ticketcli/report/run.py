"""What a run found: its tables, as text, Markdown, CSV or JSON, and how they were made."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ticketcli.recipe.recipe import Recipe
from ticketcli.recipe.tables import TableConfig
from ticketcli.report.contrast_words import TITLE, contrasts_grid, contrasts_legend, verdicts
from ticketcli.report.contrasts import Contrast, make_contrasts
from ticketcli.report.intervals import Summary
from ticketcli.report.observations import Observation
from ticketcli.report.provenance import Provenance, provenance
from ticketcli.report.render import width
from ticketcli.report.rows import Row
from ticketcli.report.survey import survey
from ticketcli.report.tables import Comparison, Difference, Table, make_table
from ticketcli.report.words import comparison, grid, legend
from ticketcli.store.run_folder import Run

_UNEDITED = "This page is what `ticket report --format markdown` prints, unedited."


@dataclass(frozen=True)
class Report:
    """The tables of a run and what was asked of them, as far as it has come."""

    tables: tuple[Table, ...]
    provenance: Provenance
    notes: tuple[str, ...] = ()
    contrasts: tuple[Contrast, ...] = ()

    def as_text(self, root: Path, columns: int | None = None) -> str:
        """The tables, the comparisons in words, how to read them, how they were made, and what to run next."""
        parts = []
        for table in self.tables:
            shown = grid(table)
            parts += [table.name] if table.name else []
            parts += [shown.as_text(columns or width()), *(comparison(table, one) for one in table.comparisons)]
            parts.append("\n".join(legend(table, shown)))
        if self.contrasts:
            room = columns or width()
            parts += [TITLE, contrasts_grid(self.contrasts).as_text(room)]
            parts += [_wrapped(lines(self.contrasts), room) for lines in (verdicts, contrasts_legend)]
        if not self.tables and not self.contrasts:
            parts.append("Nothing to compare: no step transfers, evaluates or prunes.")
        parts.append("\n".join(self.notes))
        facts = self.provenance.facts()
        parts.append("\n".join(f"{name.capitalize() + ':':10} {words}" for name, words in facts))
        where = "\n".join(
            [
                f"Files: {root.absolute()}",
                f"Next:  ticket status --run {root}             what was made, and from what",
                f"       ticket inspect STEP --run {root}       every round of a step",
                f"       ticket verify --run {root}             hash all files again",
            ]
        )
        return "\n\n".join(part for part in [*parts, where] if part)

    def as_markdown(self, title: str, about: str, *, ending: str = _UNEDITED) -> str:
        """A page for `recipes/results/`: the tables, how to read them, and how they were made."""
        parts = [f"# {title}", about]
        facts = [(name, f"`{words}`" if name == "command" else words) for name, words in self.provenance.facts()]
        parts.append("\n".join(f"- {name}: {words}" for name, words in facts))
        for table in self.tables:
            shown = grid(table)
            parts += [f"## {table.name}"] if table.name else []
            parts += [shown.as_markdown(), *(comparison(table, one).replace("\n  ", "\n") for one in table.comparisons)]
            parts.append("\n".join(f"- {line}" for line in legend(table, shown)))
        if self.contrasts:
            parts += [f"## {TITLE}", contrasts_grid(self.contrasts).as_markdown()]
            told = (verdicts(self.contrasts), contrasts_legend(self.contrasts))
            parts += ["\n".join(f"- {line}" for line in lines) for lines in told]
        parts.append("\n".join(f"- {line}" for line in self.notes))
        parts.append(ending)
        return "\n\n".join(part for part in parts if part)

    def as_csv(self) -> str:
        """One line a replicate, or a round of one: every variable and every number measured, for other statistics."""
        lines = [_line(table, row, one) for table in self.tables for row in table.rows for one in row.observations]
        columns = dict.fromkeys(name for line in lines for name in line)
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(columns) or ["table"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        return buffer.getvalue().rstrip("\n")

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values; shares in [0, 1]."""
        return {
            "tables": [_table_json(table) for table in self.tables],
            "contrasts": [one.as_json() for one in self.contrasts],
            "made": self.provenance.as_json(),
            "notes": list(self.notes),
        }


def run_report(recipe: Recipe, run: Run, command: str = "") -> Report:
    """Gather the tables that the recipe asks for, or those of `default_tables`, from the manifests of what is there."""
    found = survey(recipe, run)
    tables = tuple(
        make_table(name, config, recipe, found)
        for name, config in (recipe.tables or default_tables(recipe)).items()
    )  # fmt: skip
    return Report(tables, provenance(recipe, found, command), found.notes, make_contrasts(recipe, found))


def default_tables(recipe: Recipe) -> Mapping[str, TableConfig]:
    """One table for each step that transfers or evaluates, else for each that prunes: a row for each repetition."""
    for stages in (("transfer", "evaluate"), ("prune",)):
        groups = [group for group, steps in recipe.instances.items() if steps and steps[0].stage in stages]
        if groups:
            return {
                group if len(groups) > 1 else "": TableConfig(
                    table=(group,),
                    rows=tuple(dict.fromkeys(name for step in recipe.instances[group] for name in step.variables)),
                    over=(),
                )
                for group in groups
            }
    return {}


def _wrapped(lines: Sequence[str], room: int) -> str:
    return "\n".join(textwrap.fill(line, room, subsequent_indent="  ", break_on_hyphens=False) for line in lines)


def _line(table: Table, row: Row, one: Observation) -> dict[str, Any]:
    variables = dict(one.variables)
    point = {} if row.point == "" else {"sparsity_asked" if isinstance(row.point, float) else "round": row.point}
    known = {
        "table": table.name or " ".join(table.config.table),
        "group": one.step.partition("@")[0],
        "step": one.step,
        "same_as": one.real if one.real != one.step else "",
    }
    measured = {**point, "interpolated": int(one.interpolated), **one.metrics}
    # A variable may be called as a column of ours is, such as sparsity; it keeps its name.
    apart = [{f"measured.{name}" if name in variables else name: value for name, value in part.items()}
             for part in (known, measured)]  # fmt: skip
    return apart[0] | variables | apart[1]


def _table_json(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "steps": list(table.config.table),
        "over": list(table.over),
        "rows": [_row_json(table, index, row) for index, row in enumerate(table.rows)],
        "comparisons": [_comparison_json(table, one) for one in table.comparisons],
        "missing": dict(table.missing),
        "same_as": dict(table.twins),
        "notes": legend(table, grid(table)),
    }


def _row_json(table: Table, index: int, row: Row) -> dict[str, Any]:
    names = dict.fromkeys(name for one in row.measured for name in one.metrics)
    return {
        "key": dict(row.key),
        "label": table.title(row),
        "point": row.point,
        "interpolated": row.interpolated,
        "metrics": {name: asdict(row.summary(name)) for name in names},
        "against": {
            measure.name: _difference_json(one)
            for measure in table.measures
            if (one := table.against[measure.name][index]) is not None
        },
        "replicates": [
            {"step": one.step, "variables": dict(one.variables),
             **{measure.name: one.metrics.get(measure.name) for measure in table.measures}}
            for one in row.observations
        ],
    }  # fmt: skip


def _difference_json(one: Difference) -> dict[str, Any]:
    return {**asdict(one.summary), "p_holm": one.p_holm, "leans_on_one": one.leans_on_one}


def _comparison_json(table: Table, one: Comparison) -> dict[str, Any]:
    summary: Summary = one.difference.summary
    return {
        "rows": [table.title(one.first), table.title(one.second)],
        "keys": [dict(one.first.key), dict(one.second.key)],
        "metric": one.measure.name,
        "difference": asdict(summary),
        "gradient_ratio": one.gradient_ratio,
        "mask_overlap": one.mask_overlap,
    }
