"""`ticket recipes`: list, show or copy what is shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.cli.completion import shipped_recipes
from ticketcli.cli.recipe_file import read_recipe, shipped
from ticketcli.errors import UsageError
from ticketcli.store.atomic import write_text


def command(name: str) -> Any:
    """The group of commands, for the lazy group."""
    return process.command_group(_root, ls=ls, cat=cat, cp=cp)


def _root() -> None:
    """List, show or copy the recipes that come with ticketcli."""


def ls() -> None:
    """List the recipes, each with its first comment line."""
    for name, item in sorted(shipped().items()):
        first = next((line for line in item.read_text().splitlines() if line.startswith("# ")), "# ")
        print(f"{name:16} {first[2:]}")


def cat(name: Annotated[str, typer.Argument(help="The recipe's name.", autocompletion=shipped_recipes)]) -> None:
    """Print a recipe."""
    print(read_recipe(name)[0], end="")


def cp(
    name: Annotated[str, typer.Argument(help="The recipe's name.", autocompletion=shipped_recipes)],
    to: Annotated[Path, typer.Argument(help="Where to put the copy.")],
) -> None:
    """Copy a recipe, to change it."""
    target = to / f"{name}.yaml" if to.is_dir() else to
    if target.exists():
        raise UsageError("refusing to replace an existing file", where=str(target))
    write_text(target, read_recipe(name)[0])
    print(target)
