"""`ticket status`: the state of every step, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketcli.cli import process
from ticketcli.cli.completion import recipes
from ticketcli.cli.recipe_file import load_recipe, read_recipe, saved_recipe
from ticketcli.errors import InputMissing
from ticketcli.plan import Step, plan_step, recorded_step
from ticketcli.recipe.recipe import RecipeStep
from ticketcli.store.run_folder import Run


def command(name: str) -> Any:
    """The command, for the lazy group."""
    return process.lone_command(name, status)


def status(
    recipe: Annotated[
        str,
        typer.Argument(
            help="The recipe; by default the one that the folder was last run with.", autocompletion=recipes
        ),
    ] = "",
    run: process.RunOption = Path("run"),
    check: Annotated[bool, typer.Option("--check", help="Exit with 3 unless every step is fresh.")] = False,
    as_json: process.JsonOption = False,
) -> None:
    """Show which steps are fresh, partial, stale, missing or waiting, and why; and the SLURM jobs of each.

    Fresh: made, and as is asked for now. Partial: begun, and continues. Stale: made from something else, and is made
    anew. Missing: not made. Waiting: an input is still to come; what is there of the step is judged then.
    """
    folder = Run(run)
    if not run.is_dir() and not recipe:
        raise InputMissing(
            "no such run folder", where=str(run), hint="name one with --run, or make one with 'ticket run'"
        )
    found = run_rows(folder, recipe)
    if not found:
        raise InputMissing("nothing was made here", where=str(run), hint="ticket run RECIPE, or name another --run")
    rows = _with_jobs(folder, found, as_json)
    if as_json:
        print(json.dumps({"run": str(run), "steps": rows}))
    else:
        from ticketcli.report.steps import steps_table

        print(steps_table(rows))
    if check and any(row["state"] != "fresh" for row in rows):
        raise typer.Exit(3)


def _with_jobs(folder: Run, rows: list[dict[str, str]], as_json: bool) -> list[dict[str, Any]]:
    """The rows, with the jobs of each step where any were submitted; SLURM is asked once, and need not answer."""
    from ticketcli.launch.record import read_record

    record = read_record(folder)
    if not record:
        return list(rows)
    from ticketcli.launch.queue import look
    from ticketcli.launch.view import jobs_as_json, jobs_as_text

    seen = look(record)
    found: list[dict[str, Any]] = []
    for row in rows:
        jobs = [one for one in record if one.step == row["step"]]
        told = (
            jobs_as_json(jobs, seen)
            if as_json
            else jobs_as_text(jobs, seen, folder.root, fresh=row["state"] == "fresh")
        )
        found.append({**row, "jobs" if as_json else "job": told})
    return found


def run_rows(folder: Run, recipe: str = "") -> list[dict[str, str]]:
    """One row a step: those of the recipe, then those that were made beside it."""
    parsed = load_recipe(*read_recipe(recipe)) if recipe else saved_recipe(folder)
    known: dict[str, RecipeStep] = {step.name: step for step in parsed.steps} if parsed else {}
    planned: dict[str, Step] = {}

    def plan(name: str) -> Step | None:
        if name not in planned:
            step = known.get(name) or recorded_step(folder, name)
            if step is None:
                return None
            planned[name] = plan_step(step, folder, plan)
        return planned[name]

    for name in [*known, *folder.steps()]:
        plan(name)
    return [
        {"step": name, "stage": step.spec.name, "state": step.state, "why": step.why} for name, step in planned.items()
    ]
