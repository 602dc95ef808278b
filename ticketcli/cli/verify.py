"""`ticket verify`: nothing is taken on trust."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.cli.completion import steps as steps_of_run
from ticketcli.cli.recipe_file import saved_source
from ticketcli.errors import CorruptError, InputMissing, TicketError
from ticketcli.store.audit import Audit, old_generations, step_problems
from ticketcli.store.host import may_be_written
from ticketcli.store.leftovers import Leftover, of_run, of_step, steps_on_disk
from ticketcli.store.run_folder import RECIPE, Run
from ticketcli.units import human_bytes


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, verify)


def verify(
    steps: Annotated[
        list[str] | None, typer.Argument(help="Steps; by default all of the run.", autocompletion=steps_of_run)
    ] = None,
    run: process.RunOption = Path("run"),
    old: Annotated[bool, typer.Option("--old", help="The superseded generations in .old/ too.")] = False,
    as_json: process.JsonOption = False,
) -> None:
    """Read every file of a run again and compare with what was written. Exits with 6 if anything differs.

    Outputs, manifests, logs, saved states and the copy of the recipe. What nothing needs is told, and is no damage.
    """
    folder = Run(run)
    names = steps or folder.steps()
    if not names and not (old and old_generations(folder)):
        raise InputMissing("no steps to verify", where=str(run), hint="name a run folder with --run")
    for name in names:
        if name not in folder.steps():
            raise InputMissing(f"no step '{name}'", where=str(run), hint="steps here: " + ", ".join(folder.steps()))
    audit = Audit()
    problems = problems_of(folder, steps, old=old, audit=audit)
    bad = {name: [str(problem) for problem in found] for name, found in problems.items()}
    left = _leftovers(folder, steps)
    if as_json:
        verified = [name for name in names if name not in bad]
        told = [{"path": str(one.path.relative_to(run)), "kind": one.kind, "bytes": one.bytes} for one in left]
        found = {"run": str(run), "verified": verified, "problems": bad, "leftovers": told}
        print(json.dumps({**found, "files": audit.n_files, "bytes": audit.n_bytes}))
    else:
        _tell(run, names, bad, left, audit)
    if bad:
        raise typer.Exit(6)


def problems_of(
    run: Run, steps: Sequence[str] | None = None, *, old: bool = False, audit: Audit | None = None
) -> dict[str, list[TicketError]]:
    """What is wrong, by step, old generation (as .old/STEP/001) or file of the run; nothing for what is as it was."""
    audit = audit or Audit()
    found = {name: step_problems(run.step_folder(name), audit) for name in steps or run.steps()}
    for place in old_generations(run) if old else ():
        found[str(place.relative_to(run.root))] = step_problems(place, audit, is_old=True)
    if not steps:
        found[RECIPE] = _recipe_problems(run)
    return {name: problems for name, problems in found.items() if problems}


def _recipe_problems(run: Run) -> list[TicketError]:
    try:
        saved_source(run)
    except CorruptError as error:
        return [error]
    return []


def _leftovers(run: Run, steps: list[str] | None) -> list[Leftover]:
    """What nothing needs. Of other machines' temporary files nobody can tell whether they are being written."""
    found = [] if steps else list(of_run(run))
    for name in steps or steps_on_disk(run):
        try:
            found += [one for one in of_step(run, name, []) if not _is_meant(one)]
        except CorruptError:
            continue  # told already
    return found


def _is_meant(one: Leftover) -> bool:
    """Whether it is kept on purpose, or being written just now."""
    return one.kind == "old generation" or (one.kind == "stray temporary" and may_be_written(one.path.name))


def _tell(run: Path, names: list[str], bad: dict[str, list[str]], left: list[Leftover], audit: Audit) -> None:
    for found in bad.values():
        for problem in found:
            print(f"error: {problem}", file=sys.stderr)
    for one in left:
        print(f"note: {one.kind}: {one.path.relative_to(run)}, {human_bytes(one.bytes)}", file=sys.stderr)
    if any(one.kind != "unknown" for one in left):
        print("note: 'ticket gc' deletes what is stray, superseded or damaged", file=sys.stderr)
    n_good = sum(name not in bad for name in names)
    size = f"{audit.n_files} files, {human_bytes(audit.n_bytes)}"
    print(f"{n_good} of {len(names)} steps verified ({size})" + (f", {len(bad)} damaged" if bad else ""))
