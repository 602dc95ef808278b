"""What a run's files are worth: every one is read again, and compared with what was written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ticketcli.errors import CorruptError, InputMissing, TicketError
from ticketcli.log import check_marks
from ticketcli.store.leftovers import state_problem
from ticketcli.store.manifest import OLD, FileRecord, Manifest, read_manifest
from ticketcli.store.run_folder import METRICS, STATE, Run


@dataclass
class Audit:
    """What was read so far: `seen` are the files, by path and digest, so that each is hashed once."""

    n_files: int = 0
    n_bytes: int = 0
    seen: set[tuple[Path, str]] = field(default_factory=set)

    def check(self, record: FileRecord, base: Path) -> None:
        """Hash a recorded file again, unless that was done.

        Raises:
            InputMissing: it is gone.
            CorruptError: it is not the one recorded.
        """
        key = record.locate(base), record.sha256
        if key not in self.seen:
            record.check(base, thorough=True)
            self.seen.add(key)
            self.n_files += 1
            self.n_bytes += record.size


def step_problems(folder: Path, audit: Audit, *, is_old: bool = False) -> list[TicketError]:
    """All that is wrong with a step's folder: its manifest, outputs, log and saved states.

    Of an old generation (`is_old`) files may be missing: units that still serve were left where they are.
    """
    try:
        manifest = read_manifest(folder)
    except CorruptError as error:
        return [error]
    if manifest is None:
        return []
    audit.n_files += 1
    return [*_outputs(folder, manifest, audit, is_old), *_log(folder, manifest, is_old), *_states(folder, audit)]


def _outputs(folder: Path, manifest: Manifest, audit: Audit, is_old: bool) -> Iterator[TicketError]:
    for artifact in manifest.artifacts().values():
        for record in artifact.files.values():
            if is_old and record.path.startswith(os.pardir):
                continue  # another step's, which may have been made anew since
            try:
                audit.check(record, folder)
            except InputMissing as error:
                if not is_old:
                    yield error
            except TicketError as error:
                yield error


def _log(folder: Path, manifest: Manifest, is_old: bool) -> Iterator[TicketError]:
    marks = [(unit.metrics_end, unit.metrics_sha256) for unit in manifest.units.values()]
    path = folder / METRICS
    if not os.path.lexists(path) and (is_old or not any(end for end, _ in marks)):
        return  # a step that was just begun has none yet
    try:
        check_marks(path, marks, is_whole=manifest.status == "done")
    except TicketError as error:
        yield error


def _states(folder: Path, audit: Audit) -> Iterator[TicketError]:
    for path in sorted((folder / STATE).glob("*.safetensors")):
        problem = state_problem(path)
        audit.n_files += 1
        if problem is not None:
            yield problem


def old_generations(run: Run) -> list[Path]:
    """The folders of all generations that were superseded."""
    return sorted(path for path in (run.root / OLD).glob("*/*") if path.is_dir())
