"""`ticket report`: the tables that ended the run, again, and for papers, pages and other programs."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from ticketcli.cli import process
from ticketcli.cli.completion import recipes, words
from ticketcli.cli.recipe_file import RecipeSource, read_recipe, saved_source
from ticketcli.errors import InputMissing, UsageError
from ticketcli.plan import recorded_recipe
from ticketcli.recipe.recipe import Recipe
from ticketcli.report.run import Report, run_report
from ticketcli.store.run_folder import Run

FORMATS = ("text", "markdown", "csv", "json")
_RUN = Path("run")


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, report)


def report(
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN|KEY=VALUE",
            help="Run folders; and report.key=value, to see other rows or metrics than the recipe says.",
        ),
    ] = None,
    run: process.RunOption = _RUN,
    page: Annotated[
        Path | None,
        typer.Option(
            "--page",
            metavar="FOLDER",
            help="Write a page that opens in a browser, its figures and its numbers; FILE.html: the page alone.",
        ),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe", help="Take the tables from this recipe, not from the one that was run.", autocompletion=recipes
        ),
    ] = "",
    form: Annotated[
        str,
        typer.Option(
            "--format", help="text, markdown, csv (a line a replicate) or json.", autocompletion=words(*FORMATS)
        ),
    ] = "text",
    as_json: process.JsonOption = False,
) -> None:
    """Print the results tables of runs, as far as they have come; or write all that they hold as a page."""
    if form not in FORMATS:
        raise UsageError(f"--format is '{form}'", where="--format", hint=", ".join(FORMATS))
    folders, overrides = _told_apart(given or [], run)
    read = [_read(folder, recipe, overrides) for folder in folders]
    if page is not None:
        if form != "text":
            raise UsageError("a page has a format of its own", where="--format", hint="leave it out")
        _write(read, page, as_json=as_json)
        return
    form = "json" if as_json else form
    if form == "csv" and len(read) > 1:
        raise UsageError("csv is of one run", where="--format", hint="ask for each run on its own, or take json")
    if form == "json" and len(read) > 1:
        print(json.dumps({"runs": [{"run": str(one.run.root), **one.report.as_json()} for one in read]}))
        return
    print("\n\n".join(_text(one, form, several=len(read) > 1) for one in read))


def _told_apart(given: list[str], run: Path) -> tuple[list[Path], list[str]]:
    """Run folders and overrides: what has an ``=`` is an override."""
    overrides = [word for word in given if "=" in word]
    for word in overrides:
        if Path(word).is_dir():
            hint = f"--run {shlex.quote(word)}"
            raise UsageError("what has an = is taken for an override, and this is a folder", where=word, hint=hint)
    folders = [Path(word) for word in given if "=" not in word]
    return ([run] if not folders else folders if run == _RUN else [run, *folders]), overrides


class _Read(NamedTuple):
    """A run as it was asked for."""

    run: Run
    recipe: Recipe
    report: Report
    name: str
    about: str


def _read(root: Path, recipe: str, overrides: list[str]) -> _Read:
    folder = Run(root)
    given = RecipeSource(*read_recipe(recipe)) if recipe else saved_source(folder)
    if given is not None:
        parsed = given._replace(overrides=[*given.overrides, *overrides]).load()
    else:
        parsed = recorded_recipe(folder)
    if not parsed.steps:
        raise InputMissing("nothing was made here", where=str(root), hint="ticket run RECIPE, or name another --run")
    found = run_report(parsed, folder, given.command if given else "")
    return _Read(folder, parsed, found, given.name if given else root.name, given.about if given else "")


def _text(one: _Read, form: str, *, several: bool) -> str:
    if form == "json":
        return json.dumps(one.report.as_json())
    if form == "csv":
        return one.report.as_csv()
    if form == "markdown":
        return one.report.as_markdown(one.name, one.about)
    return (f"== {one.run.root} ==\n\n" if several else "") + one.report.as_text(one.run.root)


def _write(read: list[_Read], where: Path, *, as_json: bool) -> None:
    from ticketcli.report.contrast_words import TITLE
    from ticketcli.report.effects import contrast_effects
    from ticketcli.report.page.files import leftover_figures, write_page
    from ticketcli.report.page.page import require_jinja
    from ticketcli.report.page.subject import Subject
    from ticketcli.report.survey import survey

    require_jinja()
    subjects = [
        Subject(
            name, one.run, one.recipe, survey(one.recipe, one.run), one.report, one.about,
            {TITLE: found} if (found := contrast_effects(one.report.contrasts)) else {},
        )
        for name, one in zip(_names(read), read, strict=True)
    ]  # fmt: skip
    written = write_page(subjects, where)
    left = leftover_figures(where, written) if len(written) > 1 else []
    if left:
        some = ", ".join(path.name for path in left[:3]) + (" ..." if len(left) > 3 else "")
        print(f"report: {len(left)} figures of an earlier page are still there: {some}", file=sys.stderr)
    if as_json:
        print(json.dumps({"page": str(written[0]), "files": [str(path) for path in written]}))
        return
    print(f"Page: {written[0].absolute()}")
    if len(written) > 1:
        print(f"      with summary.json, summary.md and {len(written) - 3} figures beside it")


def _names(read: list[_Read]) -> list[str]:
    """What to call the runs: by their folders, with as much of the path as tells them apart."""
    paths = [one.run.root.absolute() for one in read]
    for n in range(1, 1 + max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-n:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise UsageError("a run is named twice", where="RUN", hint="name each once")
