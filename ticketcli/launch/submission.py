"""Which tasks of a recipe to submit now, those that are neither made nor in the queue; and their submission."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ticketcli.errors import InputMissing, LockedError, StaleError
from ticketcli.launch.jobs import Job, Place, Queued, Task, index_range, submit_in_order
from ticketcli.launch.profile import Profile
from ticketcli.launch.queue import Seen, submit
from ticketcli.launch.record import LOGS, Submitted, add_to_record
from ticketcli.launch.script import file_of, sbatch_options
from ticketcli.plan import Step
from ticketcli.store.run_folder import Run


@dataclass(frozen=True)
class Todo:
    """What to do about each task.

    Attributes:
        open: to be submitted.
        queued: those that wait or run already, by place.
        fresh: how many are made.
    """

    open: frozenset[Place]
    queued: dict[Place, Queued] = field(default_factory=dict)
    fresh: int = 0


def find_todo(
    jobs: Sequence[Job],
    steps: Mapping[str, Step],
    submitted: Sequence[Submitted],
    seen: Mapping[str, Seen],
    asked: Mapping[str, Collection[str]] | None = None,
) -> Todo:
    """Compare the recipe with what is made and what is queued.

    Args:
        jobs: of the recipe.
        steps: their plans, by name.
        submitted: the record of the run folder.
        seen: what SLURM says of those.
        asked: step -> units to submit; all where absent.

    Raises:
        StaleError: a task is queued that the recipe has changed since.
        LockedError: all that was asked for by name is queued.
        InputMissing: something asked for needs what is neither made, queued nor asked for.
    """
    active = {(one.step, one.unit): one for one in submitted if one.task_id in seen and seen[one.task_id].is_active}
    tasks = {Place(job.name, index): task for job in jobs for index, task in job.tasks.items()}
    _refuse_changed(list(tasks.values()), active)
    fresh = {place for place, task in tasks.items() if _is_made(task, steps[task.step])}
    queued: dict[Place, Queued] = {}
    for place, task in tasks.items():
        there = active.get((task.step, task.unit))
        if place not in fresh and there is not None:
            queued[place] = Queued(there.id, there.index is not None)
    wanted = {place for place, task in tasks.items() if asked is None or task.unit in asked.get(task.step, ())}
    left = wanted - fresh - queued.keys()
    if asked is not None and not left and queued.keys() & wanted:
        one = active[_key(tasks[min(queued.keys() & wanted)])]
        raise LockedError(
            f"'{one.step}' is queued already, as job {one.task_id}", where=one.name,
            hint=f"'ticket status' shows it, 'scancel {one.task_id}' takes it out of the queue",
        )  # fmt: skip
    for place in sorted(left):
        for need in tasks[place].needs:
            if need not in fresh and need not in queued and need not in left:
                raise InputMissing(
                    f"'{tasks[place].only}' needs '{tasks[need].only}', which is neither made nor queued",
                    hint=f"submit that too, with --only {tasks[need].only}",
                )
    return Todo(frozenset(left), queued, len(fresh & wanted))


def submit_open(
    jobs: Sequence[Job], todo: Todo, run: Run, scripts: Path, profile: Profile, *, dry: bool
) -> list[dict[str, Any]]:
    """Submit what is open, in order, and remember each job as soon as it has a number; `dry` only says what it would.

    Raises:
        InputMissing, UsageError: sbatch did not take a job; those before it are submitted.
    """
    places = {task: Place(job.name, index) for job in jobs for index, task in job.tasks.items()}
    rows: list[dict[str, Any]] = []

    def hand_over(job: Job, indices: tuple[int, ...], dependency: str) -> str:
        options = sbatch_options(job, indices, dependency, profile)
        number = f"<{job.name}>" if dry else submit(scripts / file_of(job), options)
        if not dry:
            add_to_record(run, [_submitted(number, job, index) for index in indices])
        tasks = index_range(indices) if job.is_array else ""
        rows.append({"job": job.name, "id": number, "tasks": tasks, "dependency": dependency})
        return number

    submit_in_order(jobs, lambda task: places[task] in todo.open, dict(todo.queued), hand_over)
    return rows


def _submitted(number: str, job: Job, index: int) -> Submitted:
    task, ending = job.tasks[index], f"_{index}" if job.is_array else ""
    log = f"{LOGS}/{job.name}-{number}{ending}.log"
    at = index if job.is_array else None
    return Submitted(number, at, job.name, task.step, task.unit, task.identity, log)


def _key(task: Task) -> tuple[str, str]:
    return task.step, task.unit


def _is_made(task: Task, step: Step) -> bool:
    return step.state != "waiting" and any(unit.name == task.unit for unit in step.done)


def _refuse_changed(tasks: Sequence[Task], active: Mapping[tuple[str, str], Submitted]) -> None:
    """A queued job keeps the recipe that it was submitted with, so nothing may be built on it with another."""
    now = {_key(task): task.identity for task in tasks}
    steps = {task.step for task in tasks}
    changed = [one for key, one in active.items() if one.step in steps and now.get(key) != one.identity]
    if changed:
        ids = " ".join(sorted({one.id for one in changed}, key=int))
        raise StaleError(
            f"the recipe has changed since '{changed[0].step}' was submitted, as job {changed[0].task_id}",
            where=changed[0].name,
            hint=f"wait for it, or take it out of the queue: scancel {ids}",
        )
