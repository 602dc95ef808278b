"""`ticket validate`: is this recipe usable?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.cli.completion import recipes
from ticketcli.cli.recipe_file import load_recipe, read_recipe


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, validate)


def validate(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one.", autocompletion=recipes)],
    overrides: Annotated[list[str] | None, typer.Argument(help="step.key=value, as often as wanted.")] = None,
) -> None:
    """Check a recipe and show all that is wrong with it at once."""
    text, source = read_recipe(recipe)
    parsed = load_recipe(text, source, overrides or [])
    print(f"{source}: {len(parsed.steps)} steps, good")
