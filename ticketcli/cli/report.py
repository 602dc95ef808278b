"""`ticket report`: the tables that ended the run, again, and for papers, pages and other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.cli.recipe_file import RecipeSource, read_recipe, saved_source
from ticketcli.errors import InputMissing, UsageError
from ticketcli.plan import recorded_recipe
from ticketcli.report.run import run_report
from ticketcli.store.run_folder import Run

FORMATS = ("text", "markdown", "csv", "json")


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, report)


def report(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="report.key=value, to see other rows or metrics than the recipe says.")
    ] = None,
    run: process.RunOption = Path("run"),
    recipe: Annotated[
        str,
        typer.Option("--recipe", help="Take the tables from this recipe, not from the one that was run."),
    ] = "",
    form: Annotated[str, typer.Option("--format", help="text, markdown, csv (a line a replicate) or json.")] = "text",
    as_json: process.JsonOption = False,
) -> None:
    """Print the results tables of a run, as far as it has come."""
    if form not in FORMATS:
        raise UsageError(f"--format is '{form}'", where="--format", hint=", ".join(FORMATS))
    folder = Run(run)
    given = RecipeSource(*read_recipe(recipe)) if recipe else saved_source(folder)
    if given is not None:
        parsed = given._replace(overrides=[*given.overrides, *(overrides or [])]).load()
    else:
        parsed = recorded_recipe(folder)
    if not parsed.steps:
        raise InputMissing("nothing was made here", where=str(run), hint="ticket run RECIPE, or name another --run")
    found = run_report(parsed, folder, given.command if given else "")
    if as_json or form == "json":
        print(json.dumps(found.as_json()))
    elif form == "csv":
        print(found.as_csv())
    elif form == "markdown":
        print(found.as_markdown(given.name if given else run.name, given.about if given else ""))
    else:
        print(found.as_text(run))
