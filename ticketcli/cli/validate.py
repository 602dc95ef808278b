"""`ticket validate`: are these recipes usable?"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.cli.completion import recipes as offered
from ticketcli.cli.recipe_file import RecipeSource, read_recipe
from ticketcli.errors import TicketError, UsageError, UsageErrors

_OVERRIDE = re.compile(r"[^/=]+\.[^/=]+=.*", re.DOTALL)


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, validate)


def validate(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE",
            help="Recipe files, or names of shipped ones; step.key=value changes each of them.",
            autocompletion=offered,
        ),
    ],
    drop: Annotated[list[str] | None, typer.Option("--drop", help="Leave step.key out of the recipe.")] = None,
    as_json: process.JsonOption = False,
) -> None:
    """Check recipes and show all that is wrong with them at once. Exits with the code of the first that is not good."""
    overrides = [word for word in words if _OVERRIDE.fullmatch(word) and not Path(word).is_file()]
    recipes = [word for word in words if word not in overrides]
    if not recipes:
        raise UsageError("no recipe is named", hint="ticket validate RECIPE; 'ticket recipes ls' shows what is shipped")
    rows: list[dict[str, Any]] = []
    codes = []
    for recipe in recipes:
        try:
            text, source = read_recipe(recipe)
            n_steps = len(RecipeSource(text, source, overrides, drop or []).load_to_run().steps)
        except TicketError as error:
            several = error.errors if isinstance(error, UsageErrors) else (error,)
            rows.append({"recipe": recipe, "good": False, "errors": [str(one) for one in several]})
            codes.append(error.code)
        else:
            rows.append({"recipe": source, "good": True, "steps": n_steps})
    if as_json:
        print(json.dumps({"recipes": rows}))
    else:
        _tell(rows)
    if codes:
        raise typer.Exit(codes[0])


def _tell(rows: list[dict[str, Any]]) -> None:
    """Good recipes to stdout, mistakes to stderr."""
    for row in rows:
        if row["good"]:
            print(f"{row['recipe']}: {row['steps']} step{'s' * (row['steps'] != 1)}, good")
            continue
        for error in row["errors"]:
            print(f"error: {row['recipe']}: {error}", file=sys.stderr)
