"""What was submitted from a run folder: a line a task, so that none is submitted twice and `status` can show it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ticketcli.errors import CorruptError
from ticketcli.store.atomic import write_json
from ticketcli.store.run_folder import LOCKS, Run

RECORD = "slurm.json"
LOGS = ".logs"  # no step can be called so
_LOCK = ".submission.lock"


@dataclass(frozen=True)
class Submitted:
    """A task in SLURM's hands.

    Attributes:
        id: the number of its job.
        index: its index where that is an array, else None.
        name: the job's name.
        step: the recipe's step.
        unit: the step's unit.
        identity: what decides its result, as it was then.
        log: where it writes, below the run folder.
    """

    id: str
    index: int | None
    name: str
    step: str
    unit: str
    identity: str
    log: str

    @property
    def task_id(self) -> str:
        """As SLURM writes it: 17, or 17_2 in an array."""
        return self.id if self.index is None else f"{self.id}_{self.index}"


def read_record(run: Run) -> tuple[Submitted, ...]:
    """What was submitted, the newest of each unit.

    Raises:
        CorruptError: the record cannot be read.
    """
    path = run.root / RECORD
    if not path.is_file():
        return ()
    try:
        return tuple(Submitted(**entry) for entry in json.loads(path.read_text())["jobs"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(
            f"the record of submitted jobs is damaged: {error!r}", where=str(path),
            hint="move it away when 'squeue' shows no job of this run",
        ) from None  # fmt: skip


def add_to_record(run: Run, new: Sequence[Submitted]) -> None:
    """Remember these; each takes the place of an earlier one of the same unit."""
    taken = {(one.step, one.unit) for one in new}
    kept = [one for one in read_record(run) if (one.step, one.unit) not in taken]
    write_json(run.root / RECORD, {"schema": 1, "jobs": [asdict(one) for one in (*kept, *new)]})


def lock_path(run: Run) -> Path:
    """One submission at a time."""
    return run.root / LOCKS / _LOCK
