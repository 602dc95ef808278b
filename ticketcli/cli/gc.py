"""`ticket gc`: the one command that deletes, and says first what."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.errors import InputMissing
from ticketcli.store.leftovers import Leftover, of_run, of_step, references, remove, steps_on_disk
from ticketcli.store.lock import locked
from ticketcli.store.manifest import OLD
from ticketcli.store.run_folder import Run
from ticketcli.units import human_bytes

_PLURALS = {
    "old generation": "old generations",
    "stray temporary": "stray temporaries",
    "superseded state": "superseded states",
    "damaged state": "damaged states",
    "log of nothing": "logs of nothing",
}


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, gc)


def gc(
    run: process.RunOption = Path("run"),
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    dry_run: process.DryRunOption = False,
    as_json: process.JsonOption = False,
) -> None:
    """List what a run no longer needs, and delete it if you say yes.

    That is: superseded generations in .old/, temporary files of killed processes, saved states of finished units,
    damaged states, logs of nothing. Never what a manifest names, and nothing while a step is at work (exit 7). On a
    terminal it asks; elsewhere it deletes only with --yes.
    """
    folder = Run(run)
    if not run.is_dir():
        raise InputMissing("no such run folder", where=str(run), hint="name one with --run")
    found = _found(folder)
    total = sum(one.bytes for one in found)
    if not as_json:
        _list(run, found, total)
    is_agreed = bool(found) and not dry_run and (yes or (not as_json and _asked()))
    if is_agreed:
        _delete(folder, found)
    if as_json:
        told = [{"path": str(one.path.relative_to(run)), "kind": one.kind, "bytes": one.bytes} for one in found]
        print(json.dumps({"run": str(run), "found": told, "bytes": total, "deleted": is_agreed}))
    elif is_agreed:
        print(f"deleted, {human_bytes(total)} freed")
    elif found:
        print(f"nothing is deleted; 'ticket gc --run {run} --yes' does it")


def _found(run: Run) -> list[Leftover]:
    """All that may go. A step is locked while it is looked at, so that nothing under way is taken for a leftover."""
    named = references(run)
    found: list[Leftover] = []
    for name in steps_on_disk(run):
        with locked(run.lock_path(name), what=name):
            found += of_step(run, name, named)
    return [one for one in (*found, *of_run(run)) if one.kind != "unknown"]


def _list(run: Path, found: list[Leftover], total: int) -> None:
    if not found:
        print(f"{run}: nothing to delete")
        return
    counts = Counter(one.kind for one in found)
    words = ", ".join(f"{n} {kind if n == 1 else _PLURALS[kind]}" for kind, n in counts.items())
    print(f"{run}: {words}; {human_bytes(total)}")
    for one in found:
        print(f"  {human_bytes(one.bytes):>8}  {one.kind:<16}  {one.path.relative_to(run)}")


def _asked() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and typer.confirm("Delete them?", default=False)


def _delete(run: Run, agreed: list[Leftover]) -> None:
    """Delete what was agreed to and is still superfluous, each step under its lock."""
    named, wanted = references(run), {one.path for one in agreed}
    for name in steps_on_disk(run):
        with locked(run.lock_path(name), what=name):
            for one in list(of_step(run, name, named)):
                if one.path in wanted:
                    remove(one)
    for one in list(of_run(run)):
        if one.path in wanted:
            remove(one)
    for shelf in (*sorted((run.root / OLD).glob("*")), run.root / OLD):
        with suppress(OSError):  # not empty, or never there
            shelf.rmdir()
