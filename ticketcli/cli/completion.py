"""What Tab offers: recipes, steps of the run, their outputs. Nothing here may fail, print or take long."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from ticketcli.errors import TicketError

_BASH = "complete_bash"
_BREAKS = frozenset("@=:")  # of bash's COMP_WORDBREAKS, those that stand in names of steps and in --flag=value


# ---------------------------------------------------------------------- what there is

Offer = str | tuple[str, str]
Completer = Callable[[typer.Context, str], list[Offer]]


def _silent(complete: Callable[[typer.Context, str], Iterator[Offer]]) -> Completer:
    """A damaged run, or a folder that cannot be read, offers nothing."""

    @wraps(complete)
    def offers(ctx: typer.Context, incomplete: str) -> list[Offer]:
        found: list[Offer] = []
        with contextlib.suppress(TicketError, OSError, ValueError):
            found.extend(complete(ctx, incomplete))
        return found

    return offers


def words(*choices: str) -> Callable[[str], list[str]]:
    """A completer that offers these words."""

    def offers(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return offers


@_silent
def recipes(ctx: typer.Context, incomplete: str) -> Iterator[Offer]:
    """Shipped recipes by name, and recipe files here and one folder below."""
    yield from shipped_recipes(ctx, incomplete)
    folder, start = os.path.split(incomplete)
    for path in sorted(Path(folder or ".").iterdir()):
        if not path.name.startswith(start) or path.name.startswith("."):
            continue
        for found in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
            if found.suffix == ".yaml":
                yield os.path.join(folder, os.path.relpath(found, folder or "."))  # noqa: PTH118 - keeps `./`


@_silent
def shipped_recipes(ctx: typer.Context, incomplete: str) -> Iterator[Offer]:  # noqa: ARG001  (typer gives both)
    """Shipped recipes by name, each with what it is for."""
    from ticketcli.cli.recipe_file import RecipeSource, shipped

    for name, item in sorted(shipped().items()):
        if name.startswith(incomplete):
            yield name, RecipeSource(item.read_text(), name).about


@_silent
def steps(ctx: typer.Context, incomplete: str) -> Iterator[Offer]:
    """Steps of the run."""
    yield from (name for name in _run(ctx).steps() if name.startswith(incomplete))


def outputs(*kinds: str, role: str = "", besides: Sequence[str] = ()) -> Completer:
    """A completer of steps, and of STEP/OUTPUT once the step is clear; of these kinds, with a file in this role."""

    @_silent
    def offers(ctx: typer.Context, incomplete: str) -> Iterator[Offer]:
        yield from words(*besides)(incomplete)
        run = _run(ctx)
        start, slash, _ = incomplete.partition("/")
        names = [name for name in run.steps() if (name == start if slash else name.startswith(start))]
        made: dict[str, list[str]] = {}
        for name in names:
            with contextlib.suppress(TicketError):  # a damaged step hides no other
                manifest = run.manifest(name)
                for output in (manifest.artifacts() if manifest else {}).values():
                    if (not kinds or output.kind in kinds) and (not role or role in output.files):
                        made.setdefault(name, []).append(output.name)
        yield from made
        if slash or len(made) == 1:
            yield from (f"{name}/{output}" for name, found in made.items() for output in found)

    return offers


def _run(ctx: typer.Context) -> Any:
    from ticketcli.store.run_folder import Run

    return Run(Path(ctx.params.get("run") or "run"))


# ---------------------------------------------------------------------- bash


def is_completing() -> bool:
    """Whether the shell is asking what Tab should offer."""
    return "_TICKET_COMPLETE" in os.environ


def run_for_shell(app: Callable[[], object]) -> None:
    """Answer the shell. Bash takes `target@arm=dense` for five words: they are put together, and what it has stays.

    Source: the bash manual, COMP_WORDBREAKS. Seen in bash 5.2: the text to be replaced begins after a `=` or `:`, and
    with a `@`.
    """
    have = _mend_words() if os.environ.get("_TICKET_COMPLETE") == _BASH else ""
    answer = io.StringIO()
    try:
        with contextlib.redirect_stdout(answer):
            app()
    finally:
        for line in answer.getvalue().splitlines():
            print(line.removeprefix(have))


def _mend_words() -> str:
    """Put the words of the command line together again; returns how much of the current one bash will not replace."""
    try:
        given, at = shlex.split(os.environ["COMP_WORDS"]), int(os.environ["COMP_CWORD"])
    except (KeyError, ValueError):
        return ""
    whole, position, have = rejoin(given, at)
    os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = shlex.join(whole), str(position)
    return have


def rejoin(given: Sequence[str], at: int) -> tuple[list[str], int, str]:
    """Words as the user typed them, the place of the current one, and the part of it before bash's last break."""
    whole: list[str] = []
    have, broken = "", False
    for word in given[: at + 1]:
        is_break = bool(word) and set(word) <= _BREAKS
        if whole and (is_break or broken):
            if is_break:
                have = whole[-1] + word.rstrip("@")
            whole[-1] += word
        else:
            have = ""
            whole.append(word)
        broken = is_break
    if at >= len(given):  # a new word is begun
        return whole, len(whole), ""
    return whole, len(whole) - 1, have
