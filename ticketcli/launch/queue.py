"""SLURM's own programs: sbatch, squeue, sacct. Nothing here schedules anything."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ticketcli.checks.check import Answer, ask
from ticketcli.errors import InputMissing, UsageError
from ticketcli.launch.record import Submitted

# What squeue calls a job that is over; all else waits, runs, or is about to.
_OVER = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT",
     "UNKNOWN", "GONE")
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What SLURM says of a task.

    Attributes:
        state: PENDING, RUNNING, COMPLETED, FAILED ...; GONE where SLURM has forgotten it.
        reason: why it waits, if it does.
    """

    state: str
    reason: str = ""

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state not in _OVER


def require_sbatch() -> None:
    """Refuse where nothing can be submitted.

    Raises:
        InputMissing: there is no sbatch.
    """
    if shutil.which("sbatch") is None:
        raise InputMissing(
            "sbatch is not here",
            hint="submit on a login node of the cluster; 'ticket slurm render' writes the scripts anywhere",
        )


def submit(script: Path, options: Sequence[str]) -> str:
    """Hand a script to sbatch; returns the job's number.

    Raises:
        InputMissing: SLURM does not answer.
        UsageError: SLURM does not want it, in its own words.
    """
    answer = ask(["sbatch", "--parsable", *options, str(script)], seconds=60)
    number = answer.out.strip().partition(";")[0]
    if answer.code == 0 and number.isdigit():
        return number
    words = _words(answer)
    if answer.code is None or "ontact" in words or "onnect" in words:
        raise InputMissing(f"SLURM does not answer: {words}", where=script.name, hint=_AGAIN)
    raise UsageError(f"sbatch refuses: {words}", where=str(script), hint=f"mend the profile or the script; {_AGAIN}")


_AGAIN = "the same command continues, and leaves alone what is queued"


def _words(answer: Answer) -> str:
    lines = [line.partition("error: ")[2] or line for line in answer.err.splitlines() if line.strip()]
    return "; ".join(lines) or (f"it ended with {answer.code}" if answer.code is not None else "it took too long")


def look(tasks: Iterable[Submitted], *, seconds: float = 10) -> dict[str, Seen] | None:
    """Task number -> what SLURM says of it, asked once; None where nobody can be asked.

    Numbers begin anew where a cluster is set up again: a job of another name is not ours, and counts as gone.
    """
    ours = {task.task_id: task for task in tasks}
    if not ours:
        return {}
    if shutil.which("squeue") is None:
        return None
    numbers = ",".join(sorted({task.id for task in ours.values()}, key=int))
    words = ["--noheader", "--array", "--states=all", "--format=%i|%j|%T|%r", f"--jobs={numbers}"]
    answer = ask(["squeue", *words], seconds=seconds)
    if answer.code != 0 and "Invalid job id" not in answer.err:
        return None
    found = dict.fromkeys(ours, Seen("GONE"))
    for line in answer.out.splitlines():
        number, name, state, reason = [*line.split("|", 3), "", "", ""][:4]
        if number in ours and ours[number].name == name:
            found[number] = Seen(state, "" if reason == "None" else reason)
    return found | _remembered({number: ours[number] for number, seen in found.items() if seen.state == "GONE"})


def _remembered(gone: Mapping[str, Submitted]) -> dict[str, Seen]:
    """How jobs ended that the queue has forgotten, where accounting is kept."""
    if not gone or shutil.which("sacct") is None:
        return {}
    numbers = ",".join(sorted({task.id for task in gone.values()}, key=int))
    words = ["--noheader", "--parsable2", "--allocations", "--format=JobID,JobName,State", f"--jobs={numbers}"]
    answer = ask(["sacct", *words], seconds=5)
    found = {}
    for line in answer.out.splitlines() if answer.code == 0 else ():
        number, name, state = [*line.split("|", 2), "", ""][:3]
        if number in gone and gone[number].name == name and state:
            found[number] = Seen(state.split()[0])
    return found
