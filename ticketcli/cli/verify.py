"""`ticket verify`: nothing is taken on trust."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.cli.completion import steps as steps_of_run
from ticketcli.errors import InputMissing
from ticketcli.plan import check_files
from ticketcli.store.run_folder import Run


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, verify)


def verify(
    steps: Annotated[
        list[str] | None, typer.Argument(help="Steps; by default all of the run.", autocompletion=steps_of_run)
    ] = None,
    run: process.RunOption = Path("run"),
    as_json: process.JsonOption = False,
) -> None:
    """Hash every file of a run again and compare with what was written. Exits with 6 if anything differs."""
    folder = Run(run)
    names = steps or folder.steps()
    if not names:
        raise InputMissing("no steps to verify", where=str(run), hint="name a run folder with --run")
    for name in names:
        if name not in folder.steps():
            raise InputMissing(f"no step '{name}'", where=str(run), hint="steps here: " + ", ".join(folder.steps()))
    problems = {name: check_files(folder, name, thorough=True) for name in names}
    bad = {name: [str(problem) for problem in found] for name, found in problems.items() if found}
    if as_json:
        print(json.dumps({"run": str(run), "verified": [name for name in names if name not in bad], "problems": bad}))
    else:
        for found in bad.values():
            for problem in found:
                print(f"error: {problem}", file=sys.stderr)
        print(f"{len(names) - len(bad)} of {len(names)} steps verified" + (f", {len(bad)} damaged" if bad else ""))
    if bad:
        raise typer.Exit(6)
