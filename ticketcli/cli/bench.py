"""`ticket bench`: how fast the hot paths are here, against their peers."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketcli.bench.table import SUITES
from ticketcli.cli import process
from ticketcli.cli.completion import words
from ticketcli.errors import UsageError

_MINUTES = 20.0


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, bench)


def bench(
    suites: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SUITE]...", help="Suites; by default all.", autocompletion=words(*SUITES)),
    ] = None,
    budget: Annotated[
        float,
        typer.Option(
            "--budget",
            min=0,
            metavar="MINUTES",
            help="For all timing together; each comparison makes six pairs at least.",
        ),
    ] = _MINUTES,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of torch (default: its own choice).")
    ] = None,
    scale: Annotated[
        float, typer.Option("--scale", min=0.001, max=1, help="Share of the real sizes, for a quick look.")
    ] = 1.0,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", envvar="TICKET_DATA", help="Real photographs (images at any depth).")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the suites, and run none.")] = False,
    as_json: process.JsonOption = False,
    quiet: process.QuietOption = False,
) -> None:
    """Measure the hot paths against their peers, in turn A B B A, and compare what both computed.

    Trust the ratios, not the seconds. Exits with 1 if both sides of a comparison computed different things, or a suite
    ended in an error nobody expected; a goal that is missed is a finding, and no error.
    """  # fmt: skip
    _require_known(suites or [])
    if listed:
        from ticketcli.bench.show import listing

        print(json.dumps({"suites": _described()}) if as_json else listing())
        return
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # also of the processes that are timed
    process.share_the_machine()
    import torch

    from ticketcli.bench.run import chosen, run_suites, setting
    from ticketcli.bench.show import as_text

    if threads is not None:
        torch.set_num_threads(threads)

    def tell(text: str) -> None:
        if not quiet:
            print(f"bench: {text}", file=sys.stderr, flush=True)

    where = setting(scale)
    rows = list(run_suites(chosen(suites or []), seconds=60 * budget, where=where, data_dir=data_dir, tell=tell))
    print(json.dumps({"rows": [row.as_json() for row in rows]}) if as_json else as_text(rows, where))
    if any(row.failed or row.why.startswith("unexpected") for row in rows):
        raise typer.Exit(1)


def _require_known(names: list[str]) -> None:
    from ticketcli.errors import did_you_mean

    for name in names:
        if name not in SUITES:
            raise UsageError(f"no suite '{name}'", where="bench", hint=did_you_mean(name, SUITES))


def _described() -> list[dict[str, Any]]:
    return [{"name": name, "compares": suite.summary, "needs": list(suite.needs)} for name, suite in SUITES.items()]
