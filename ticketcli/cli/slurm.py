"""`ticket slurm`: a recipe as job scripts, and their submission in order of dependence."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.cli.completion import recipes
from ticketcli.cli.recipe_file import RecipeSource, read_recipe
from ticketcli.store.run_folder import Run

if TYPE_CHECKING:
    from ticketcli.launch.folder import Written
    from ticketcli.launch.jobs import Job
    from ticketcli.launch.script import Setting
    from ticketcli.launch.submission import Todo
    from ticketcli.recipe.recipe import Recipe

RecipeArgument = Annotated[
    str, typer.Argument(help="A recipe file, or the name of one that comes with ticketcli.", autocompletion=recipes)
]
OverridesArgument = Annotated[list[str] | None, typer.Argument(help="step.key=value, as often as wanted.")]
DropOption = Annotated[list[str] | None, typer.Option("--drop", help="Leave step.key out of the recipe.")]
ToOption = Annotated[Path, typer.Option("--to", help="The folder of the scripts.")]
ProfileOption = Annotated[
    Path | None,
    typer.Option(
        "--profile", envvar="TICKET_SLURM_PROFILE", help="YAML: account, partition, time, modules ... of the site."
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Write over scripts that were edited.")]
DataOption = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where image sets lie, on the nodes.", rich_help_panel="Process"),
]


def command(_name: str) -> Any:
    """The group of commands, for the lazy group."""
    return process.command_group(_root, render=render, submit=submit)


def _root() -> None:
    """Write the job scripts of a recipe for a SLURM cluster, and submit them.

    Each pruning round is a job after the one before, repetitions are arrays, and what takes a round's ticket waits for
    that round alone. Jobs save their state before their time is over and go back into the queue.
    """


@dataclass(frozen=True)
class _Rendering:
    """A recipe, its jobs, and the files that they are."""

    given: RecipeSource
    recipe: Recipe
    jobs: tuple[Job, ...]
    setting: Setting
    texts: dict[str, str]


def _rendering(given: RecipeSource, run: Path, to: Path, profile: Path | None, data_dir: Path | None) -> _Rendering:
    from ticketcli.canon import digest
    from ticketcli.launch.jobs import jobs_of
    from ticketcli.launch.profile import load_profile
    from ticketcli.launch.record import LOGS
    from ticketcli.launch.script import Setting, scripts

    site, recipe = load_profile(profile), given.load_to_run()
    jobs = jobs_of(recipe)
    copy = f"{given.name}-{digest(given.text)[:12]}.yaml"  # queued jobs keep theirs when the recipe changes
    drops = [word for key in given.drops for word in ("--drop", key)]
    words = (str(to.absolute() / copy), *given.overrides, *drops)
    run = run.absolute()
    setting = Setting(given.name, words, run, run / LOGS, Path.cwd(), data_dir, site)
    return _Rendering(given, recipe, jobs, setting, scripts(jobs, setting) | {copy: given.text})


def render(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    drop: DropOption = None,
    to: ToOption = Path("slurm"),
    profile: ProfileOption = None,
    force: ForceOption = False,
    run: process.RunOption = Path("run"),
    data_dir: DataOption = None,
    dry_run: process.DryRunOption = False,
    as_json: process.JsonOption = False,
    quiet: process.QuietOption = False,
) -> None:
    """Write a script for each job, to be read, edited, and submitted; and `submit.sh`, which submits them all.

    Scripts that were edited are kept while recipe and profile stay the same.
    """
    from ticketcli.launch.folder import write_scripts

    found = _rendering(RecipeSource(*read_recipe(recipe), overrides or [], drop or []), run, to, profile, data_dir)
    files = write_scripts(to, found.texts, force=force, dry=dry_run)
    rows = [
        {"job": job.name, "stage": job.stage, "tasks": len(job.tasks), "after": _after(job),
         "time": found.setting.profile.of(job.stage).time}
        for job in found.jobs
    ]  # fmt: skip
    if as_json:
        print(json.dumps({"recipe": found.given.source, "run": str(run), "to": str(to), "jobs": rows,
                          "written": list(files.written), "edited": list(files.edited)}))  # fmt: skip
    else:
        from ticketcli.report.render import table

        columns = ["job", "stage", "tasks", "after", "time"]
        print(table(columns, [[str(row[column] or "") for column in columns] for row in rows], right=["tasks"]))
    if not quiet:
        _tell_files(files, to, dry_run)
        _tell_gpus(found)
        words = [recipe, *(overrides or []), *(word for key in drop or [] for word in ("--drop", key))]
        words += ["--run", str(run), "--to", str(to)]
        words += [
            *(["--profile", str(profile)] if profile else []),
            *(["--data-dir", str(data_dir)] if data_dir else []),
        ]
        print(f"next: ticket slurm submit {shlex.join(words)}", file=sys.stderr)


def _after(job: Job) -> str:
    return ", ".join(sorted({need.job for task in job.tasks.values() for need in task.needs}))


def _tell_files(files: Written, to: Path, dry: bool) -> None:
    would = "would be " if dry else ""
    lines = [f"{len(files.written)} files {would}written to {to}"] if files.written else [f"{to} is up to date"]
    lines += [f"kept as edited: {', '.join(files.edited)}"] if files.edited else []
    lines += [f"no part of this recipe any more: {', '.join(files.leftover)}"] if files.leftover else []
    for line in lines:
        print(line, file=sys.stderr)


def _tell_gpus(found: _Rendering) -> None:
    """A process uses one GPU."""
    asked = {job.stage: found.setting.profile.of(job.stage) for job in found.jobs}
    idle = [stage for stage, resources in asked.items() if resources.n_gpus > resources.n_processes]
    if idle:
        print(f"note: a process uses one GPU; more are asked for by {', '.join(sorted(idle))}", file=sys.stderr)


def submit(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    drop: DropOption = None,
    to: ToOption = Path("slurm"),
    profile: ProfileOption = None,
    force: ForceOption = False,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="STEP[/OUTPUT]", help="Submit this alone, rounds up to OUTPUT."),
    ] = None,
    run: process.RunOption = Path("run"),
    data_dir: DataOption = None,
    dry_run: process.DryRunOption = False,
    as_json: process.JsonOption = False,
    quiet: process.QuietOption = False,
) -> None:
    """Submit what is neither made nor queued, each job after those whose results it takes.

    Scripts are written first where they are missing or the recipe has changed; edited ones are submitted as they are.
    The same command again submits what failed.
    """
    from ticketcli.cli.only import asked_steps
    from ticketcli.launch.queue import require_sbatch
    from ticketcli.launch.record import lock_path
    from ticketcli.store.lock import locked

    found = _rendering(RecipeSource(*read_recipe(recipe), overrides or [], drop or []), run, to, profile, data_dir)
    asked = asked_steps(found.recipe, only) if only else None
    if dry_run:
        rows, todo = _submit(found, Run(run), to, asked, force=force, dry=True, quiet=quiet)
    else:
        require_sbatch()
        with locked(lock_path(Run(run)), what="the submission of this run"):
            rows, todo = _submit(found, Run(run), to, asked, force=force, dry=False, quiet=quiet)
    _tell_submitted(rows, todo, dry=dry_run, as_json=as_json)
    if not quiet and not dry_run:
        print(f"next: ticket status --run {shlex.quote(str(run))}", file=sys.stderr)


def _submit(
    found: _Rendering, folder: Run, to: Path, asked: Mapping[str, tuple[str, ...]] | None, *, force: bool, dry: bool,
    quiet: bool,
) -> tuple[list[dict[str, Any]], Todo]:  # fmt: skip
    """Find out what is to be submitted, and only then write and submit it."""
    from ticketcli.errors import InputMissing
    from ticketcli.launch import queue
    from ticketcli.launch.folder import write_scripts
    from ticketcli.launch.record import read_record
    from ticketcli.launch.submission import find_todo, submit_open
    from ticketcli.plan import plan_recipe

    record = read_record(folder)
    seen = queue.look(record)
    if seen is None:
        raise InputMissing("squeue does not answer", where=str(folder.root), hint="try again on a login node")
    steps = {step.name: step for step in plan_recipe(found.recipe, folder)}
    units = None
    if asked is not None:
        shown = {name: steps[name].up_to(*outputs) if outputs else steps[name] for name, outputs in asked.items()}
        units = {name: {unit.name for unit in (*step.done, *step.todo)} for name, step in shown.items()}
    todo = find_todo(found.jobs, steps, record, seen, units)
    files = write_scripts(to, found.texts, force=force, dry=dry)
    if not quiet:
        _tell_files(files, to, dry)
        _tell_gpus(found)
    if not dry:
        given = found.given
        folder.save_recipe(given.text, source=given.source, overrides=given.overrides, drops=given.drops)
        found.setting.logs.mkdir(exist_ok=True)  # where it is missing, SLURM lets jobs fail without a word
    return submit_open(found.jobs, todo, folder, to, found.setting.profile, dry=dry), todo


def _tell_submitted(rows: Sequence[dict[str, Any]], todo: Todo, *, dry: bool, as_json: bool) -> None:
    n_queued = len(todo.queued)
    if as_json:
        told = {"would_submit" if dry else "submitted": rows, "fresh": todo.fresh, "queued": n_queued}
        print(json.dumps(told))
        return
    if rows:
        from ticketcli.report.render import table

        columns = ["job", "id", "tasks", "dependency"]
        print(table(columns, [[row[column] for column in columns] for row in rows]) + "\n")
    words = "would be submitted" if dry else "submitted"
    before = f"; before: {todo.fresh} tasks fresh, {n_queued} queued" if todo.fresh or n_queued else ""
    print(f"{len(rows)} job{'s' * (len(rows) != 1)} {words}{before}")
