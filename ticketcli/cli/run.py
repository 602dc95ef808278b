"""`ticket run RECIPE`: chains the stages, skips what is fresh, resumes what was cut."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketcli.board import mirror_finished, require_tensorboard
from ticketcli.cli import process
from ticketcli.cli.completion import recipes
from ticketcli.cli.drive import drive
from ticketcli.cli.membership import hand_over
from ticketcli.cli.only import asked_steps
from ticketcli.cli.recipe_file import RecipeSource, read_recipe
from ticketcli.data.sources import Sources
from ticketcli.errors import UsageError
from ticketcli.launch.member import began
from ticketcli.launch.torchrun import Several
from ticketcli.plan import Step, plan_recipe, plan_step
from ticketcli.store.run_folder import Run
from ticketcli.units import human_seconds


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, run_recipe)


def run_recipe(
    recipe: Annotated[
        str, typer.Argument(help="A recipe file, or the name of one that comes with ticketcli.", autocompletion=recipes)
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="step.key=value, as often as wanted.")] = None,
    drop: Annotated[list[str] | None, typer.Option("--drop", help="Leave step.key out of the recipe.")] = None,
    run: process.RunOption = Path("run"),
    device: process.DeviceOption = "auto",
    resume: process.ResumeOption = "auto",
    save_every: process.SaveOption = 60.0,
    max_minutes: process.MaxMinutesOption = None,
    data_dir: process.DataDirOption = process.DATA_DIR,
    download: process.DownloadOption = False,
    workers: process.WorkersOption = None,
    tensorboard: process.TensorBoardOption = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="STEP[/OUTPUT]",
            help="Make this step alone, rounds up to OUTPUT; what it needs has to be there. As often as wanted.",
            rich_help_panel="Process",
        ),
    ] = None,
    break_lock: process.BreakLockOption = False,
    nproc: process.NprocOption = 1,
    nodes: process.NodesOption = 1,
    node: process.NodeOption = None,
    rendezvous: process.RendezvousOption = "",
    dry_run: process.DryRunOption = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Measure a few steps; print time, disk and memory of the rest.")
    ] = False,
    as_json: process.JsonOption = False,
    quiet: process.QuietOption = False,
) -> None:
    """Run a recipe: skip what is fresh, resume what was cut, make the rest. The same command continues."""
    started = began()
    if tensorboard:
        require_tensorboard()
    given = RecipeSource(*read_recipe(recipe), overrides or [], drop or [])
    parsed, source = given.load_to_run(), given.source
    folder = Run(run)
    asked = asked_steps(parsed, only)
    plans: dict[str, Step] = {step.name: step for step in plan_recipe(parsed, folder)}
    plans = {name: plans[name].up_to(*outputs) if outputs else plans[name] for name, outputs in asked.items()}
    states = {name: step.state for name, step in plans.items()}
    if dry_run:
        _foretell(source, folder, list(plans.values()), resume, as_json)
        return
    if estimate:
        if only:
            raise UsageError("an estimate is of the whole recipe", where="--only", hint="leave --only away")
        _estimate(list(plans.values()), folder, device, Sources(data_dir, download, workers), as_json)
        return
    fresh = [name for name, state in states.items() if state == "fresh"]
    todo = [name for name in plans if name not in fresh or resume == "never"]
    several = Several(nproc, nodes, node, rendezvous)
    if todo:
        hand_over(several, quiet=quiet)
    elif not several.tells:
        return
    folder.save_recipe(given.text, source=source, overrides=overrides or [], drops=drop or [])
    if not quiet:
        print(
            f"{source}: {len(plans)} steps, {len(fresh)} fresh, {len(todo)} to do, in {run}",
            file=sys.stderr,
            flush=True,
        )

    def plan(name: str) -> Step:
        return plan_step(parsed[name], folder, plan)

    def asked_plan(name: str) -> Step:
        return plan(name).up_to(*asked[name]) if asked[name] else plan(name)

    if tensorboard:
        for name in fresh:
            mirror_finished(folder.step_folder(name), folder.metrics_path(name))
    for position, name in enumerate(todo, 1):
        if not quiet:
            print(f"[{position}/{len(todo)}]", end=" ", file=sys.stderr, flush=True)
        drive(
            name,
            folder,
            partial(asked_plan, name),
            device=device,
            resume=resume,
            save_every=save_every,
            quiet=quiet,
            sources=Sources(data_dir, download, workers),
            tensorboard=tensorboard,
            break_lock=break_lock,
            max_minutes=max_minutes,
            started=started,
            last=position == len(todo),
        )
    if not quiet:
        word = "everything is fresh, nothing to do" if not todo else f"{len(todo)} steps done"
        print(f"{source}: {word}, {human_seconds(time.monotonic() - started)}", file=sys.stderr, flush=True)
    if only:
        _tell_states(source, run, [asked_plan(name) for name in plans], as_json)
        return
    from ticketcli.report.run import run_report

    report = run_report(parsed, folder, given.command)
    print(json.dumps(report.as_json()) if as_json else report.as_text(folder.root))


def _foretell(source: str, run: Run, steps: Sequence[Step], resume: str, as_json: bool) -> None:
    """What the run would find of each step, and the refusal that it would end with."""
    if resume == "never":
        steps = [step.anew() for step in steps]
    _tell_states(source, run.root, steps, as_json)
    for step in steps if resume == "must" else ():
        if step.state == "waiting" and not any(ref.step for ref in step.recipe.refs.values()):
            return  # for a file, which nothing in the recipe makes
        comes_to_nothing = step.state == "waiting" and run.manifest(step.name) is None
        (replace(step, state="missing") if comes_to_nothing else step).require_resumable(run)


def _tell_states(source: str, run: Path, steps: Sequence[Step], as_json: bool) -> None:
    """The state of each step, to stdout."""
    rows = [{"step": step.name, "stage": step.spec.name, "state": step.state, "why": step.why} for step in steps]
    if as_json:
        print(json.dumps({"recipe": source, "run": str(run), "steps": rows}))
        return
    from ticketcli.report.steps import steps_table

    print(steps_table(rows))


def _estimate(steps: list[Step], run: Run, device: str, sources: Sources, as_json: bool) -> None:
    """Cut every step short, and print what the whole of them will take here."""
    process.share_the_machine()
    from ticketcli.execution.estimate import estimate  # torch is loaded here, and only here
    from ticketcli.execution.orders import Options
    from ticketcli.report.steps import estimate_table

    found = estimate(steps, Options(device=device, quiet=True, sources=sources))
    free = shutil.disk_usage(
        next(folder for folder in (run.root, *run.root.absolute().parents) if folder.exists())
    ).free
    totals = {"seconds": found.seconds, "disk": found.disk, "free": free, "memory": found.memory,
              "gpu_memory": found.gpu_memory}  # fmt: skip
    rows = [{"step": step.name, "group": step.recipe.group, "state": step.state, **asdict(found.steps[step.name])}
            for step in steps]  # fmt: skip
    print(json.dumps({"steps": rows, **totals}) if as_json else estimate_table(rows, totals))
