"""Finding and reading recipes: a path, or the name of one inside the package."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from ticketcli.errors import CorruptError, InputMissing, did_you_mean
from ticketcli.recipe.recipe import Recipe, parse_recipe
from ticketcli.stage import STAGES
from ticketcli.store.run_folder import RECIPE, Run


def shipped() -> dict[str, Traversable]:
    """Name -> the recipes that come with ticketcli."""
    inside = files("ticketcli").joinpath("recipes")
    if not inside.is_dir():  # a source checkout: the folder stands beside the package
        inside = files("ticketcli").joinpath("..", "recipes")
    return {item.name.removesuffix(".yaml"): item for item in inside.iterdir() if item.name.endswith(".yaml")}


def read_recipe(name: str) -> tuple[str, str]:
    """The text of a recipe and what to call it.

    Raises:
        InputMissing: neither a file nor a shipped recipe.
    """
    path = Path(name)
    if path.is_file():
        return path.read_text(), str(path)
    known = shipped()
    if name in known:
        return known[name].read_text(), name
    stem = path.stem
    if stem in known and str(path) == f"recipes/{stem}.yaml":
        return known[stem].read_text(), stem
    raise InputMissing(f"no recipe '{name}'", where=str(path.absolute()), hint=did_you_mean(name, known))


def load_recipe(text: str, source: str, overrides: Sequence[str] = (), drops: Sequence[str] = ()) -> Recipe:
    """Parse a recipe against the table of stages."""
    configs = {name: spec.config for name, spec in STAGES.items()}
    return parse_recipe(text, configs, where=source, overrides=overrides, drops=drops)


def saved_recipe(run: Run) -> Recipe | None:
    """The recipe that a run folder was last run with, or None.

    Raises:
        CorruptError: it is there but cannot be read.
    """
    path = run.root / RECIPE
    if not path.is_file():
        return None
    try:
        saved = json.loads(path.read_text())
        return load_recipe(saved["text"], saved["source"], saved["overrides"], saved["drops"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(
            f"the saved recipe is damaged: {error!r}", where=str(path), hint="run the recipe again"
        ) from None
