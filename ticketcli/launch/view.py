"""What `ticket status` says of a step's jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ticketcli.launch.queue import Seen
from ticketcli.launch.record import Submitted


def jobs_as_json(jobs: Sequence[Submitted], seen: Mapping[str, Seen] | None) -> list[dict[str, Any]]:
    """Every job of a step, with its state, which is None where SLURM could not be asked."""
    return [
        {
            "id": job.task_id,
            "unit": job.unit,
            "state": seen[job.task_id].state if seen is not None else None,
            "reason": seen[job.task_id].reason if seen is not None else "",
            "log": job.log,
        }
        for job in jobs
    ]


def jobs_as_text(jobs: Sequence[Submitted], seen: Mapping[str, Seen] | None, run: Path, *, fresh: bool) -> str:
    """The one that runs, and how many wait and why; or how the last one ended, where the step is not finished.

    ``17_0 RUNNING, 3 PENDING (Dependency)`` or ``17_0 FAILED, see .logs/ours-round-02-17_0.log``.
    """
    if seen is None:
        return ", ".join(job.task_id for job in jobs[:1]) + (" unknown" if jobs else "")
    active = [(job, seen[job.task_id]) for job in jobs if seen[job.task_id].is_active]
    words = [f"{job.task_id} {found.state}" for job, found in active if found.state != "PENDING"]
    waiting = [(job, found) for job, found in active if found.state == "PENDING"]
    reasons = Counter(found.reason for _, found in waiting)
    if len(waiting) == 1:
        words.append(f"{waiting[0][0].task_id} PENDING" + _why(reasons))
    elif waiting:
        words.append(f"{len(waiting)} PENDING" + _why(reasons))
    ended = [(job, seen[job.task_id]) for job in jobs if not seen[job.task_id].is_active]
    bad = [(job, found) for job, found in ended if found.state not in ("COMPLETED", "GONE")]
    if not words and not fresh and ended:
        job, found = (bad or ended)[0]
        words.append(f"{job.task_id} {found.state}")
        words += [f"see {job.log}"] if (run / job.log).is_file() else []
    return ", ".join(words)


def _why(reasons: Counter[str]) -> str:
    named = [reason for reason in reasons if reason]
    return f" ({', '.join(sorted(named))})" if named else ""
