"""SLURM: whether the job that this runs in will be continued after its time limit. Silent where there is none."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from ticketcli.checks.check import Check, ask
from ticketcli.checks.storage import nearest
from ticketcli.units import human_seconds

_ADVICE = (
    "'ticket slurm render' writes such jobs: #SBATCH --signal=USR2@120 --requeue, and srun ticket ...: "
    "the state is saved, code 75 means run me again"
)


def check_slurm(run: Path, environment: Mapping[str, str]) -> list[Check]:
    """The job, or that there could be one; and whether the run folder outlives it."""
    job = environment.get("SLURM_JOB_ID")
    if job is None:
        return [Check("slurm", "note", "sbatch is here", _ADVICE)] if shutil.which("sbatch") else []
    return [_job(job, environment), *_temporary(run, environment)]


def _job(job: str, environment: Mapping[str, str]) -> Check:
    words = f"job {job}"
    end = environment.get("SLURM_JOB_END_TIME", "")
    if end.isdigit():
        words += f", ends in {human_seconds(max(0.0, int(end) - time.time()))}"
    control = shutil.which("scontrol")
    answer = ask([control, "show", "job", job], seconds=10) if control else None
    requeue = re.search(r"\bRequeue=(\d)", answer.out) if answer else None
    if requeue and requeue[1] == "0":
        return Check("slurm", "warn", f"{words}, and is not requeued", _ADVICE)
    return Check("slurm", "ok" if requeue else "note", words, "" if requeue else _ADVICE)


def _temporary(run: Path, environment: Mapping[str, str]) -> list[Check]:
    folder = environment.get("TMPDIR")
    if folder and nearest(run).resolve().is_relative_to(Path(folder).resolve()):
        found = f"the run folder lies in TMPDIR ({folder})"
        return [Check("slurm", "warn", found, "it is emptied when the job ends: name a shared folder with --run")]
    return []
