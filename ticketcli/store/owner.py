"""`Owner`: who holds a lock, as its file tells; whether that process is gone, as far as this machine or SLURM knows."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from ticketcli.store.host import boot_id, host_name, process_space, process_start
from ticketcli.units import human_seconds

_OVER = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
}  # fmt: skip  # squeue(1), job state codes; COMPLETING is not among them: its processes may still write
_PATIENCE = 20.0  # seconds for SLURM to answer


@dataclass(frozen=True)
class Owner:
    """A process that works on a step.

    Attributes:
        what: the step.
        host: what its machine calls itself; "" if that tells nothing.
        boot: its machine, since when it was started.
        space: in which its process id counts.
        pid: its process id.
        started: when it began, in clock ticks of its machine; None where that is not known.
        job: its SLURM job; "" outside one.
        cluster: whose job that is.
        restarts: how often that job had been requeued.
        since: when it took the lock, in UTC.
    """

    what: str
    host: str
    boot: str
    space: str
    pid: int
    started: int | None
    job: str
    cluster: str
    restarts: int
    since: str

    @classmethod
    def here(cls, what: str) -> Owner:
        """Of the process that asks, now."""
        restarts = os.environ.get("SLURM_RESTART_COUNT", "")
        return cls(
            what=what,
            host=host_name(),
            boot=boot_id(),
            space=process_space(),
            pid=os.getpid(),
            started=process_start(os.getpid()),
            job=os.environ.get("SLURM_JOB_ID", ""),
            cluster=os.environ.get("SLURM_CLUSTER_NAME", ""),
            restarts=int(restarts) if restarts.isdigit() else 0,
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @classmethod
    def parse(cls, raw: Any) -> Owner:
        """From the lock's JSON.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(raw, dict) or set(raw) != {field.name for field in fields(cls)}:
            raise ValueError("it names no owner")
        numbers = {"pid", "restarts"} | ({"started"} if raw["started"] is not None else set())
        words = set(raw) - numbers - {"started"}
        if any(type(raw[name]) is not int or raw[name] < 0 for name in numbers):
            raise ValueError("it names no owner")
        if any(not isinstance(raw[name], str) or not raw[name].isprintable() for name in words):
            raise ValueError("it names no owner")
        return cls(**raw)

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)

    def __str__(self) -> str:
        """For people: `process 4711 on node7, SLURM job 99, since 2026-11-21 11:14:00 UTC (2m 05s)`."""
        words = f"process {self.pid}" + (f" on {self.host}" if self.host else "")
        words += f", SLURM job {self.job}" if self.job else ""
        try:
            since = datetime.fromisoformat(self.since).astimezone(UTC)
        except ValueError:
            return words
        ago = max(0.0, (datetime.now(UTC) - since).total_seconds())
        return f"{words}, since {since:%Y-%m-%d %H:%M:%S} UTC ({human_seconds(ago)})"


@dataclass(frozen=True)
class Finding:
    """Whether an owner is known to be gone, and how that is known, or what would have to be."""

    is_gone: bool
    why: str


def is_of_this_machine(owner: Owner) -> bool:
    """Whether it works, or worked before a restart, on this machine, so that its locks would be seen here."""
    return owner.boot == boot_id() != "" or owner.host == host_name() != ""


def look_for(owner: Owner, *, lock_is_free: bool | None) -> Finding:
    """Ask what can be asked. `lock_is_free`: the operating system's answer; None where the file system has no locks.

    On this machine the operating system knows: its lock dies with the process and all that the process forked. An id
    that another process has by now is told by that process's beginning. On another machine only SLURM knows; its
    silence proves nothing.
    """
    if is_of_this_machine(owner):
        return _look_here(owner, lock_is_free)
    me = Owner.here("")
    if owner.job and owner.job == me.job and owner.cluster == me.cluster:
        if owner.restarts < me.restarts:
            return Finding(True, f"job {owner.job} was requeued since")
        return Finding(False, "it belongs to this very job")
    if owner.job:
        return _ask_slurm(owner)
    return Finding(False, "whether it still lives cannot be seen from here")


def _look_here(owner: Owner, lock_is_free: bool | None) -> Finding:
    if owner.boot != boot_id():
        return Finding(True, "its machine was started anew since")
    if owner.space == process_space() and owner.started is not None:
        is_alive = process_start(owner.pid) == owner.started
        return Finding(not is_alive, "it is alive" if is_alive else "it has ended")
    if lock_is_free is None:
        return Finding(False, "whether it still lives cannot be seen: this file system has no locks")
    return Finding(lock_is_free, "it has ended" if lock_is_free else "it is alive")


def _ask_slurm(owner: Owner) -> Finding:
    if not owner.job.isdigit():
        return Finding(False, f"'{owner.job}' is no SLURM job")
    if owner.cluster and owner.cluster != _cluster():
        return Finding(False, f"job {owner.job} is of the cluster '{owner.cluster}', which is not asked from here")
    answer = _ask(["squeue", "-j", owner.job, "-h", "-o", "%T"])
    if answer is None:
        return Finding(False, "SLURM cannot be asked from here")
    code, out, err = answer
    if code != 0:
        if "Invalid job id" in err:  # finished so long ago that SLURM forgot it
            return Finding(True, f"SLURM knows no job {owner.job} any more")
        return Finding(False, "SLURM does not answer")
    states = {re.split(r"[\s+]", line.strip())[0] for line in out.splitlines() if line.strip()}
    alive = sorted(states - _OVER)
    if alive:
        return Finding(False, f"SLURM says that job {owner.job} is {alive[0]}")
    return Finding(True, f"SLURM says that job {owner.job} is {min(states) if states else 'over'}")


def _cluster() -> str:
    """The cluster that `squeue` asks about: this job's, else the one that the controller says it is."""
    if "SLURM_CLUSTER_NAME" in os.environ:
        return os.environ["SLURM_CLUSTER_NAME"]
    answer = _ask(["scontrol", "show", "config"])
    match = re.search(r"^ClusterName\s*=\s*(\S+)", answer[1], re.MULTILINE) if answer is not None else None
    return match[1] if match else ""


def _ask(command: Sequence[str]) -> tuple[int, str, str] | None:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=_PATIENCE,
            env=environment, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.returncode, done.stdout, done.stderr
