"""Finding and reading recipes: a path, or the name of one inside the package."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePath
from typing import NamedTuple

from ticketcli.cli.recipe_check import check_step
from ticketcli.disk import read_regular
from ticketcli.errors import CorruptError, InputMissing, TicketError, UsageError, did_you_mean
from ticketcli.recipe.recipe import Check, Recipe, parse_recipe
from ticketcli.recipe.strict_yaml import LONGEST
from ticketcli.stage import STAGES
from ticketcli.store.run_folder import RECIPE, Run
from ticketcli.store.seal import read_sealed


def shipped() -> dict[str, Traversable]:
    """Name -> the recipes that come with ticketcli; those in a folder of theirs with its name, such as `paper/coco`."""
    inside = files("ticketcli").joinpath("recipes")
    if not inside.is_dir():  # a source checkout: the folder stands beside the package
        inside = files("ticketcli").joinpath("..", "recipes")
    return dict(_recipes_in(inside))


def _recipes_in(folder: Traversable, before: str = "") -> Iterator[tuple[str, Traversable]]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _recipes_in(item, f"{before}{item.name}/")
        elif item.name.endswith(".yaml"):
            yield before + item.name.removesuffix(".yaml"), item


def read_recipe(name: str) -> tuple[str, str]:
    """The text of a recipe and what to call it.

    Raises:
        InputMissing: neither a file nor a shipped recipe.
    """
    path = Path(name)
    if path.is_file():
        try:
            return read_regular(path, limit=4 * LONGEST).decode(), str(path)
        except UnicodeDecodeError as error:
            raise UsageError(f"a recipe is UTF-8 text; byte {error.start} is not", where=str(path)) from None
    known = shipped()
    if name in known:
        return known[name].read_text(), name
    inner = path.as_posix().removeprefix("recipes/").removesuffix(".yaml")
    if inner in known and path.as_posix() == f"recipes/{inner}.yaml":
        return known[inner].read_text(), inner
    raise InputMissing(f"no recipe '{name}'", where=str(path.absolute()), hint=did_you_mean(name, known))


def load_recipe(text: str, source: str, overrides: Sequence[str] = (), drops: Sequence[str] = ()) -> Recipe:
    """Parse a recipe against the table of stages, whether or not all of it can be run: it may have been, before."""
    return _parsed(RecipeSource(text, source, overrides, drops), None)


def _parsed(given: RecipeSource, check: Check | None) -> Recipe:
    configs = {name: spec.config for name, spec in STAGES.items()}
    text, source, overrides, drops = given
    return parse_recipe(text, configs, where=source, overrides=overrides, drops=drops, check=check)


class RecipeSource(NamedTuple):
    """A recipe as it was given: its text, what to call it, and what the command line changed in it."""

    text: str
    source: str
    overrides: Sequence[str] = ()
    drops: Sequence[str] = ()

    def load(self) -> Recipe:
        """Parse it; as `load_recipe`."""
        return _parsed(self, None)

    def load_to_run(self) -> Recipe:
        """Parse it, and refuse it where it tells of itself that it cannot run."""
        return _parsed(self, check_step)

    @property
    def name(self) -> str:
        """The file's name without folder and ending."""
        return PurePath(self.source).stem

    @property
    def about(self) -> str:
        """The first comment line, which says what it is for."""
        return next((line[2:] for line in self.text.splitlines() if line.startswith("# ")), "")

    @property
    def command(self) -> str:
        """What to type to run it; folders of this machine are left out."""
        drops = [word for drop in self.drops for word in ("--drop", drop)]
        return shlex.join(map(_portable, ["ticket", "run", self.source, *self.overrides, *drops]))


def _portable(word: str) -> str:
    """A word of a command without absolute folders: ``/home/me/r.yaml`` is ``r.yaml``."""
    return re.sub(r"(?:(?<=[=\[,:\s])|^)(?:~|\.\.)?/(?:[^/\s,\]}]+/)*", "", word)


def saved_source(run: Run) -> RecipeSource | None:
    """The recipe that a run folder was last run with, as it was given, or None.

    Raises:
        CorruptError: it is there but cannot be read.
    """
    path = run.root / RECIPE
    if not os.path.lexists(path):
        return None
    try:
        saved = read_sealed(path, limit=16 * LONGEST)
        text, source, overrides, drops = (saved[name] for name in ("text", "source", "overrides", "drops"))
        if set(map(type, (text, source, *overrides, *drops))) != {str} or len(saved) != 4:
            raise TypeError("a field is not as expected")
    except (CorruptError, InputMissing, KeyError, TypeError) as error:
        what = error.what if isinstance(error, TicketError) else repr(error)
        raise CorruptError(
            f"the saved recipe is damaged: {what}", where=str(path), hint="run the recipe again"
        ) from None
    return RecipeSource(text, source, tuple(overrides), tuple(drops))


def saved_recipe(run: Run) -> Recipe | None:
    """The recipe that a run folder was last run with, or None.

    Raises:
        CorruptError: it is there but cannot be read.
    """
    saved = saved_source(run)
    return saved.load() if saved else None
