"""A page in a folder: `report.html`, `summary.json`, `summary.md`, and each figure as an SVG of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ticketcli.errors import UsageError
from ticketcli.report.effects import table_effects
from ticketcli.report.page.masks import Masks
from ticketcli.report.page.page import Chapter, chapters, html
from ticketcli.report.page.section import Shown
from ticketcli.report.page.subject import Subject
from ticketcli.store.atomic import write_text

PAGE, JSON, MARKDOWN, FIGURES = "report.html", "summary.json", "summary.md", "figures"
SCHEMA = 1


def write_page(subjects: Sequence[Subject], where: Path) -> list[Path]:
    """Write the page; to a name that ends in .html that file alone, else a folder with all four.

    Returns:
        What was written, the page first.

    Raises:
        UsageError: there is something of that name that is no file, or no folder.
        InputMissing: jinja2 is not installed.
    """
    made = chapters(subjects)
    page = html(made)
    if where.suffix.lower() in (".html", ".htm"):
        where.parent.mkdir(parents=True, exist_ok=True)
        write_text(where, page)
        return [where]
    figures = where / FIGURES
    for folder in (where, figures):
        if folder.exists() and not folder.is_dir():
            raise UsageError(
                "there is something of this name that is no folder", where=str(folder), hint="name another"
            )
    figures.mkdir(parents=True, exist_ok=True)
    written = [where / PAGE, where / JSON, where / MARKDOWN]
    for chapter in made:
        for figure in chapter.figures:
            written.append(figures / f"{figure.name}.svg")
            write_text(written[-1], figure.file())
    write_text(where / MARKDOWN, markdown(made))
    write_text(where / JSON, json.dumps(summary(made), indent=1, sort_keys=True, allow_nan=False) + "\n")
    write_text(where / PAGE, page)  # last: where it is, all that it names is
    return written


def leftover_figures(where: Path, written: Sequence[Path]) -> list[Path]:
    """SVG files beside the figures that this page does not have: those of an earlier one."""
    return sorted(path for path in (where / FIGURES).glob("*.svg") if path not in written)


def summary(made: Sequence[Chapter]) -> dict[str, Any]:
    """Everything on the page as JSON values: shares in [0, 1]; numbers that are not finite are null."""
    found: dict[str, Any] = _finite({"schema": SCHEMA, "runs": [_run(chapter) for chapter in made]})
    return found


def _run(chapter: Chapter) -> dict[str, Any]:
    subject, masks = chapter.subject, Masks(chapter.subject)
    layers = [
        {"arm": subject.arms[arm].name, "replicate": replicate, "round": number,
         "layers": {name: {"kept": kept, "of": of} for name, (kept, of) in counts.items()}}
        for arm, replicate, number in masks.paths
        if (counts := masks.layers((arm, replicate, number)))
    ]  # fmt: skip
    effects = [
        {"table": name, **effect.as_json()}
        for name, some in (
            *((table.name, table_effects(table)) for table in subject.report.tables), *subject.effects.items(),
        ) for effect in some
    ]  # fmt: skip
    return {
        "name": subject.name,
        "about": subject.about,
        **subject.report.as_json(),
        "steps": {step.name: _step(subject, step.name) for step in subject.recipe.steps},
        "effects": effects,
        "layers": layers,
        "figures": [
            {"name": figure.name, "file": f"{FIGURES}/{figure.name}.svg", "title": figure.title,
             "caption": figure.caption, "facts": dict(figure.facts), "columns": list(figure.columns),
             "rows": [list(row) for row in figure.rows]}
            for figure in chapter.figures
        ],
        "asides": [
            {"section": section.title, "caption": block.caption, "columns": list(block.grid.columns),
             "rows": [list(row) for row in block.grid.rows], "notes": list(block.notes)}
            for section in chapter.sections for block in section.blocks
            if isinstance(block, Shown) and section.name not in ("results", "origins")
        ],
    }  # fmt: skip


def _step(subject: Subject, name: str) -> dict[str, Any]:
    step, units = subject.recipe[name], subject.found.units.get(name, {})
    return {
        "stage": step.stage,
        "state": subject.found.lacking.get(name, "done"),
        "config": step.config.identity(),
        "units": {
            unit: {
                "seconds": record.seconds, "finished": record.finished, "environment": record.environment,
                "key": record.key, "metrics": record.metrics,
                "outputs": {output.name: {role: file.content for role, file in output.files.items()}
                            for output in record.outputs},
            }
            for unit, record in units.items()
        },
    }  # fmt: skip


def _finite(value: Any) -> Any:
    """The same with null for what JSON has no word for."""
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def markdown(made: Sequence[Chapter]) -> str:
    """The tables of each run as `ticket report --format markdown` has them, then its figures."""
    parts = []
    for chapter in made:
        subject = chapter.subject
        parts.append(subject.report.as_markdown(subject.name, subject.about, ending=""))
        if chapter.figures:
            parts.append("## Figures")
        for figure in chapter.figures:
            title = " ".join(figure.title.replace("[", "(").replace("]", ")").replace("<", "&lt;").split())
            facts = "; ".join(f"{name}: {text}" for name, text in figure.facts)
            parts.append(f"![{title}]({FIGURES}/{figure.name}.svg)\n\n*{title}.* {figure.caption} {facts}.")
    return "\n\n".join(parts) + "\n"
