"""`ticket doctor`: what on this machine would stop or hurt a run, and what to do about it."""

from __future__ import annotations

import json
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketcli.checks import cluster, software, storage
from ticketcli.checks.check import Check
from ticketcli.cli import process
from ticketcli.cli.completion import recipes
from ticketcli.cli.endings import as_told, is_traceback_wanted
from ticketcli.data.sources import Sources
from ticketcli.errors import UsageError
from ticketcli.store.run_folder import Run
from ticketcli.units import human_seconds


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, doctor)


def doctor(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="step.key=value of the recipe, as often as wanted.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option("--drop", help="Leave step.key out of the recipe.")] = None,
    run: process.RunOption = Path("run"),
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe", help="Measure too what this recipe will take, and whether it fits.", autocompletion=recipes
        ),
    ] = "",
    device: process.DeviceOption = "auto",
    data_dir: process.DataDirOption = process.DATA_DIR,
    as_json: process.JsonOption = False,
    quiet: process.QuietOption = False,
) -> None:
    """Check the machine: torch and torchvision, the GPU, the run folder's file system, space, SLURM.

    Nothing is changed or left behind. Exits with 0 unless something failed, else with the code that a run would end
    with: 8 for no space, 5 for missing data, 2 for an unusable recipe, 1 for the rest.
    """
    if (overrides or drop) and not recipe:
        what, hint = "what is changed is a recipe's, and none is named", "ticket doctor --recipe RECIPE step.key=value"
        raise UsageError(what, where=" ".join([*(overrides or []), *(drop or [])]), hint=hint)

    def speak(text: str) -> None:
        if not quiet:
            print(f"doctor: {text}", file=sys.stderr, flush=True)

    speak("loading torch")
    probe = software.probe_torch()
    torch_found = software.check_torch(probe)
    measured, disk, memory = [], None, None
    if recipe and torch_found.state == "ok":
        speak(f"measuring {recipe}")
        check, disk, memory = _measure(recipe, overrides or [], drop or [], Run(run), device, Sources(data_dir))
        measured = [check]
    maybe = [
        software.check_versions(),
        torch_found,
        software.check_cpu(probe),
        software.check_gpu(probe, os.environ),
        software.check_memory(memory),
        storage.check_files(run),
        storage.check_space(run, disk),
        storage.check_data(data_dir, from_variable="TICKET_DATA" in os.environ),
        *measured,
        *cluster.check_slurm(run, os.environ),
        *software.check_extras(),
        software.check_completion(Path.home()),
    ]
    checks = [check for check in maybe if check is not None]
    failed = [check for check in checks if check.state == "fail"]
    if as_json:
        print(json.dumps({"checks": [check.as_json() for check in checks], "failed": len(failed)}))
    else:
        print(_as_text(checks))
    if failed:
        raise typer.Exit(failed[0].code)


def _measure(
    recipe: str, overrides: Sequence[str], drops: Sequence[str], run: Run, device: str, sources: Sources
) -> tuple[Check, int | None, int | None]:
    """What `run --estimate` measures: a finding, bytes of disk, bytes of memory."""
    process.share_the_machine()
    from ticketcli.cli.recipe_file import RecipeSource, read_recipe
    from ticketcli.plan import plan_recipe

    try:
        steps = plan_recipe(RecipeSource(*read_recipe(recipe), overrides, drops).load_to_run(), run)
        from ticketcli.execution.estimate import estimate  # torch is loaded here, and only here
        from ticketcli.execution.orders import Options

        found = estimate(steps, Options(device=device, quiet=True, sources=sources))
    except Exception as caught:  # whatever a recipe runs into, the other findings are worth having
        if is_traceback_wanted():
            traceback.print_exc()
        error = as_told(caught)
        what = "; ".join(str(error).splitlines()[:1])
        words = shlex.join([recipe, *overrides, *(word for key in drops for word in ("--drop", key))])
        return (
            Check("recipe", "fail", f"{recipe}: {what}", error.hint or f"ticket validate {words}", error.code),
            None,
            None,
        )
    left = sum(step.state != "fresh" for step in steps)
    words = f"{recipe}: {left} of {len(steps)} steps to do, {human_seconds(found.seconds)} on this machine"
    return Check("recipe", "ok", words), found.disk, found.memory


def _as_text(checks: list[Check]) -> str:
    from ticketcli.report.render import table

    rows = []
    for check in checks:
        rows.append([check.name, check.state, check.found])
        if check.hint:
            rows.append(["", "", f"try: {check.hint}"])
    counts = [f"{n} {word}" for word in ("fail", "warn") if (n := sum(check.state == word for check in checks))]
    return table(["check", "", "found"], rows) + "\n\n" + (", ".join(counts) or "nothing stands in the way of a run")
