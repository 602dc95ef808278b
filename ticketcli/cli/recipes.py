"""`ticket recipes`: list, show or copy what is shipped."""

from __future__ import annotations

import json
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.cli.completion import shipped_recipes
from ticketcli.cli.recipe_file import RecipeSource, read_recipe, shipped
from ticketcli.errors import InputMissing, UsageError
from ticketcli.store.atomic import write_text


def command(_name: str) -> Any:
    """The group of commands, for the lazy group."""
    return process.command_group(_root, ls=ls, cat=cat, cp=cp)


def _root() -> None:
    """List, show or copy the recipes that come with ticketcli."""


def ls(as_json: process.JsonOption = False) -> None:
    """List the recipes, each with what it is for."""
    found = {name: RecipeSource(item.read_text(), name).about for name, item in sorted(shipped().items())}
    if as_json:
        print(json.dumps({"recipes": [{"name": name, "about": about} for name, about in found.items()]}))
        return
    from ticketcli.report.render import width

    gap = max(map(len, found), default=0) + 2
    for name, about in found.items():
        print(textwrap.fill(about, max(width(), gap + 20), initial_indent=name.ljust(gap), subsequent_indent=" " * gap))


def cat(name: Annotated[str, typer.Argument(help="The recipe's name.", autocompletion=shipped_recipes)]) -> None:
    """Print a recipe."""
    print(read_recipe(name)[0], end="")


def cp(
    name: Annotated[str, typer.Argument(help="The recipe's name.", autocompletion=shipped_recipes)],
    to: Annotated[Path, typer.Argument(help="Where to put the copy: a file, or a folder that exists.")] = Path(),
) -> None:
    """Copy a recipe, to change it."""
    given = RecipeSource(*read_recipe(name))
    target = to / f"{given.name}.yaml" if to.is_dir() else to
    if target.exists() or target.is_symlink():
        raise UsageError("refusing to replace an existing file", where=str(target), hint="name another file")
    if not target.parent.is_dir():
        hint = f"mkdir -p {shlex.quote(str(target.parent))}"
        raise InputMissing("no such folder", where=str(target.parent), hint=hint)
    write_text(target, given.text)
    print(target)
    print(f"next: ticket run {shlex.quote(str(target))}", file=sys.stderr)
