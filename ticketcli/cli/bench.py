"""`ticket bench`: how fast the hot paths are here, against their peers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticketcli.bench.table import SUITES
from ticketcli.cli import process
from ticketcli.cli.completion import words
from ticketcli.errors import UsageError

if TYPE_CHECKING:
    from ticketcli.bench.row import Setting

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
    device: Annotated[
        str, typer.Option("--device", help="cpu, or cuda: what can be measured on a GPU, in about ten minutes.")
    ] = "cpu",
    scale: Annotated[
        float, typer.Option("--scale", min=0.001, max=1, help="Share of the real sizes, for a quick look.")
    ] = 1.0,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", envvar="TICKET_DATA", help="Real photographs (images at any depth).")
    ] = None,
    growth: Annotated[
        bool,
        typer.Option(
            "--growth", help="Measure how cost grows with the work instead: weights, rounds, tickets, processes."
        ),
    ] = False,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="With --growth: draw it, too.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the suites, and run none.")] = False,
    as_json: process.JsonOption = False,
    quiet: process.QuietOption = False,
) -> None:
    """Measure the hot paths against their peers, in turn A B B A, and compare what both computed.

    Trust the ratios, not the seconds. Exits with 1 if both sides of a comparison computed different things, or a suite
    ended in an error nobody expected; a goal that is missed is a finding, and no error.
    """  # fmt: skip
    _require_known(suites or [])
    if growth and suites:
        raise UsageError(
            "--growth measures all its works, and no suites", where="--growth", hint="leave the suites out"
        )
    if svg is not None and not growth:
        raise UsageError("--svg draws what --growth measures", where="--svg", hint="add --growth")
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
    from ticketcli.execution.machine import pick_device

    if threads is not None:
        torch.set_num_threads(threads)

    def tell(text: str) -> None:
        if not quiet:
            print(f"bench: {text}", file=sys.stderr, flush=True)

    where = setting(scale)
    if growth:
        _measure_growth(where, svg, tell, as_json=as_json)
        return
    on = torch.device("cpu") if device == "cpu" else pick_device(device)  # memory stays as the peers have it
    names = chosen(suites or [], on)
    rows = list(run_suites(names, seconds=60 * budget, where=where, data_dir=data_dir, tell=tell, device=on))
    print(json.dumps({"rows": [row.as_json() for row in rows]}) if as_json else as_text(rows, where))
    if any(row.failed or row.why.startswith("unexpected") for row in rows):
        raise typer.Exit(1)


def _measure_growth(where: Setting, svg: Path | None, tell: Callable[[str], None], *, as_json: bool) -> None:
    from ticketcli.bench.growth import growths
    from ticketcli.bench.growth_page import as_text, figure_of
    from ticketcli.store.atomic import write_text

    found = list(growths(where.scale, tell))
    if svg is not None:
        write_text(svg, figure_of(found, where).file())
    print(json.dumps({"growths": [one.as_json() for one in found]}) if as_json else as_text(found, where))


def _require_known(names: list[str]) -> None:
    from ticketcli.errors import did_you_mean

    for name in names:
        if name not in SUITES:
            raise UsageError(f"no suite '{name}'", where="bench", hint=did_you_mean(name, SUITES))


def _described() -> list[dict[str, Any]]:
    return [{"name": name, "compares": suite.summary, "needs": list(suite.needs)} for name, suite in SUITES.items()]
