"""`ticket report`: the table that ended the run, again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ticketcli.cli import process
from ticketcli.cli.recipe_file import saved_recipe
from ticketcli.errors import InputMissing
from ticketcli.report.run import run_report
from ticketcli.store.run_folder import Run


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, report)


def report(run: process.RunOption = Path("run"), as_json: process.JsonOption = False) -> None:
    """Print the results table of a run, as far as it has come."""
    folder = Run(run)
    recipe = saved_recipe(folder)
    if recipe is None:
        raise InputMissing(
            "this folder was not made by a recipe", where=str(run), hint="ticket run RECIPE, or ticket status"
        )
    found = run_report(recipe, folder)
    print(json.dumps(found.as_json()) if as_json else found.as_text(run))
