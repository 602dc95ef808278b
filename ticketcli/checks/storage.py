"""The file system of the run folder: what the one writer and the lock rely on, and room."""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from ticketcli.checks.check import Check, ask
from ticketcli.errors import NoSpaceError, TicketError
from ticketcli.store.atomic import sync_folder
from ticketcli.store.lock import locked
from ticketcli.units import human_bytes

_LITTLE = 1_000_000_000  # bytes: a few checkpoints of a ResNet-50 with their saved states
_FEW_FILES = 1_000
_SHARE = 0.8  # of the free space, beyond which an estimate is too close
_IN_MEMORY = ("tmpfs", "ramfs")
_NAME = "step@arm=a,seed=0"  # as steps are called
_SECOND_LOCK = (
    "import fcntl, sys\n"
    "with open(sys.argv[1], 'a') as file:\n"
    "    try:\n"
    "        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    "    except BlockingIOError:\n"
    "        print('refused')\n"
)


def nearest(folder: Path) -> Path:
    """The folder, or the first of its parents that exists."""
    folder = folder.expanduser().absolute()
    return next(one for one in (folder, *folder.parents) if one.exists())


@contextmanager
def scratch(place: Path) -> Iterator[Path]:
    """A folder that is gone afterwards, also when a signal ends the process."""

    def leave(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with tempfile.TemporaryDirectory(prefix=".ticket-doctor-", dir=place) as made:
            yield Path(made)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_files(run: Path) -> Check:
    """Do on the run's file system what a run does there: write, sync, rename over, lock. Leaves nothing behind."""
    place = nearest(run)
    if not place.is_dir():
        return Check("run folder", "fail", f"{place} is no folder", "name another with --run", 2)
    started = time.monotonic()
    try:
        with scratch(place) as folder:
            refusal = _first_refusal(folder)
    except OSError as error:
        refusal = "make a folder", "name a folder that you may write to, with --run", error
    if refusal is not None:
        doing, hint, reason = refusal
        why = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason).splitlines()[0]
        full = isinstance(reason, OSError) and reason.errno in (errno.ENOSPC, errno.EDQUOT)
        return Check("run folder", "fail", f"cannot {doing} in {place}: {why}", hint, NoSpaceError.code if full else 1)
    kind, mounted = file_system(place)
    took = f"{1000 * (time.monotonic() - started):.0f} ms"
    found = f"{place}: {kind} at {mounted}; write, sync, rename and lock work ({took})"
    if kind in _IN_MEMORY:
        return Check(
            "run folder", "warn", found, "it lies in memory and is gone after a restart: name a disk with --run"
        )
    return Check("run folder", "ok", found)


def _first_refusal(folder: Path) -> tuple[str, str, Exception] | None:
    for doing, hint, act in _TRIALS:
        try:
            act(folder)
        except (OSError, NotImplementedError, TicketError) as error:
            return doing, hint, error
    return None


def _write(folder: Path) -> None:
    path = folder / _NAME
    path.write_bytes(b"before")
    path.chmod(0o640)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _rename(folder: Path) -> None:
    newer = folder / ".newer.tmp"
    newer.write_bytes(b"after")
    newer.replace(folder / _NAME)
    if (folder / _NAME).read_bytes() != b"after":
        raise TicketError("the old content is still there")


def _lock(folder: Path) -> None:
    path = folder / "step.lock"
    with locked(path, what="a check"):
        answer = ask([sys.executable, "-I", "-c", _SECOND_LOCK, str(path)], seconds=20)
    if answer.code is None:
        raise TicketError("no answer in 20 s")
    if answer.out.strip() != "refused":
        raise TicketError(answer.err.strip().rpartition("\n")[2] or "a second process got the same lock")


_TRIALS: tuple[tuple[str, str, Callable[[Path], None]], ...] = (
    ("write and sync a file", "name a folder on another file system with --run", _write),
    ("rename over a file", "name a folder on another file system with --run", _rename),
    ("sync a folder", "name a folder on another file system with --run", sync_folder),
    (
        "lock a file",
        "two commands on one step would spoil it: have the file system mounted with locks (NFS: no `nolock`; "
        "Lustre: `flock`), or name another with --run",
        _lock,
    ),
)


def check_space(run: Path, needed: int | None = None) -> Check:
    """Free bytes and files against what is needed; without an estimate, against what a few checkpoints take."""
    place = nearest(run)
    state = os.statvfs(place)
    free = state.f_bavail * state.f_frsize
    told = f"{human_bytes(free)} free"
    told += "" if needed is None else f", {human_bytes(needed)} needed"
    hint = "free some space, or name another file system with --run"
    if state.f_files and state.f_favail < _FEW_FILES:
        return Check("space", "fail", f"room for {state.f_favail:,} more files only; {told}", hint, NoSpaceError.code)
    if needed is not None and needed > free:
        return Check("space", "fail", told, hint, NoSpaceError.code)
    if needed is not None and needed > _SHARE * free:
        return Check("space", "warn", told, hint)
    if needed is None and free < _LITTLE:
        return Check("space", "warn", told, hint)
    return Check("space", "ok", told)


def check_data(folder: Path, *, from_variable: bool) -> Check:
    """The folder of named image sets."""
    named = "TICKET_DATA" if from_variable else "--data-dir"
    place = folder.expanduser().absolute()
    if place.is_dir():
        if os.access(place, os.R_OK | os.X_OK):
            return Check("data", "ok", str(place))
        return Check("data", "fail", f"{place} cannot be read", "change its permissions", 5)
    if place.exists():
        return Check("data", "fail", f"{place} is no folder", f"name the folder of image sets with {named}", 5)
    hint = "'digits' needs none; for other image sets name it with --data-dir or TICKET_DATA"
    return Check("data", "note", f"no folder {place}", hint)


def file_system(place: Path) -> tuple[str, str]:
    """What kind of file system a folder lies on, and where that is mounted; ("file system", "?") where unknown."""
    best = ("file system", "?")
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return best
    longest = -1
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        mounted = Path(point.encode().decode("unicode_escape"))
        if place.resolve().is_relative_to(mounted) and len(point) >= longest:
            best, longest = (kind, str(mounted)), len(point)
    return best
