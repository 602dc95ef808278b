"""What lies in a run folder and serves nothing any more: found here, deleted by `ticket gc` and by nothing else."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ticketcli.errors import CorruptError, InputMissing, TicketError
from ticketcli.store.generations import unit_of
from ticketcli.store.host import is_temporary, may_be_written
from ticketcli.store.manifest import NAME, OLD, Manifest
from ticketcli.store.run_folder import LOCKS, METRICS, STATE, Run
from ticketcli.store.tensorfile import check_bytes, read_header

Kind = Literal["old generation", "stray temporary", "superseded state", "damaged state", "log of nothing", "unknown"]
_MIRROR = "tensorboard"
_DAY = 86_400.0  # seconds after which another machine's temporary file is nobody's


@dataclass(frozen=True)
class Leftover:
    """A file or a folder that nothing needs; `unknown` ones are told and never deleted."""

    path: Path
    kind: Kind
    bytes: int


def _leftover(path: Path, kind: Kind) -> Leftover:
    files = [path] if path.is_symlink() or not path.is_dir() else path.rglob("*")
    return Leftover(path, kind, sum(file.lstat().st_size for file in files if not file.is_dir()))


def steps_on_disk(run: Run) -> list[str]:
    """All that look like a step's, begun or finished, and those of which only old generations are left."""
    marks = (NAME, METRICS, STATE)
    folders = [path for path in _entries(run.root) if path.is_dir() and not path.name.startswith(".")]
    found = {path.name for path in folders if any(os.path.lexists(path / mark) for mark in marks)}
    return sorted(found | {path.name for path in _entries(run.root / OLD) if path.is_dir()})


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where it is a link, so that nothing outside the run is ever looked at."""
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def references(run: Run) -> list[str]:
    """The inputs and files that the run's manifests name, as they name them.

    Raises:
        CorruptError: a manifest cannot be read, so that nobody knows what it names.
    """
    found: list[str] = []
    for name in run.steps():
        manifest = run.manifest(name)
        if manifest is not None:
            found += map(str, manifest.inputs.get("refs", {}).values())
            found += [str(record["path"]) for record in manifest.inputs.get("files", {}).values()]
            found += [
                str(file.locate(run.step_folder(name)))
                for artifact in manifest.artifacts().values()
                for file in artifact.files.values()
            ]
    return found


def of_step(run: Run, name: str, named: list[str]) -> Iterator[Leftover]:
    """A step's leftovers. They are certain only while the caller holds its lock.

    `named` are the `references` of the run: an old generation in which one of them lies is kept.
    """
    for generation in _entries(run.root / OLD / name):
        place = f"{OLD}/{name}/{generation.name}/"
        if generation.is_symlink() or not generation.is_dir() or not generation.name.isdecimal():
            yield _leftover(generation, "unknown")
        elif not any(place in reference for reference in named):
            yield _leftover(generation, "old generation")
    folder = run.step_folder(name)
    manifest = run.manifest(name)
    if manifest is None:
        yield from _without_manifest(folder)
        return
    own = {file.path for artifact in manifest.artifacts().values() for file in artifact.files.values()}
    for path in _entries(folder):
        if is_temporary(path.name) and not path.is_dir():
            yield _leftover(path, "stray temporary")
        elif path.name == STATE:
            yield from _states(path, manifest)
        elif path.name not in own | {NAME, METRICS, _MIRROR}:
            yield _leftover(path, "unknown")


def _without_manifest(folder: Path) -> Iterator[Leftover]:
    """A step that was cut before its first manifest has a log of nothing, unless something else lies beside it."""
    kinds: dict[Path, Kind] = {}
    for path in _entries(folder):
        is_stray = is_temporary(path.name) and not path.is_dir()
        is_log = path.name in (METRICS, _MIRROR) or (path.name == STATE and not _entries(path))
        kinds[path] = "stray temporary" if is_stray else "log of nothing" if is_log else "unknown"
    has_unknown = "unknown" in kinds.values()
    for path, kind in kinds.items():
        yield _leftover(path, "unknown" if has_unknown and kind == "log of nothing" else kind)


def _states(folder: Path, manifest: Manifest) -> Iterator[Leftover]:
    for path in _entries(folder):
        if is_temporary(path.name) and not path.is_dir():
            yield _leftover(path, "stray temporary")
        elif not unit_of(path.name):
            yield _leftover(path, "unknown")
        elif unit_of(path.name) in manifest.units or manifest.status == "done":
            yield _leftover(path, "superseded state")
        elif state_problem(path) is not None:
            yield _leftover(path, "damaged state")


def state_problem(path: Path) -> TicketError | None:
    """What is wrong with a saved state; None where nothing is, or it is gone by now."""
    try:
        if read_header(path).metadata.get("kind") != "state":
            return CorruptError("expected a saved state", where=str(path))
        check_bytes(path)
    except InputMissing as error:
        return error if os.path.lexists(path) else None
    except CorruptError as error:
        hint = "the next start falls back to the state before; 'ticket gc' deletes this one"
        return CorruptError(error.what, where=str(path), hint=hint)
    return None


def of_run(run: Run) -> Iterator[Leftover]:
    """Temporary files beside the steps, whose writers are gone as far as can be told."""
    for path in (*_entries(run.root), *_entries(run.root / LOCKS)):
        if not is_temporary(path.name) or path.is_dir():
            continue
        if not may_be_written(path.name) or time.time() - path.lstat().st_mtime > _DAY:
            yield _leftover(path, "stray temporary")


def remove(leftover: Leftover) -> None:
    """Delete it; links are deleted themselves, not what they point to.

    Raises:
        TicketError: the operating system refuses.
    """
    if leftover.kind == "unknown":
        raise AssertionError(f"{leftover.path} is not known to be superfluous")
    path = leftover.path
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise TicketError(f"cannot delete: {error.strerror}", where=str(path)) from None
