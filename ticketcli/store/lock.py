"""One writer a step. Two things say who that is, because neither is enough alone.

The lock of the operating system (flock on `STEP.lock`) dies with its process, but some shared file systems keep it to
one machine, or have none. The owner's file (`STEP.owner`) is seen from everywhere, and made by a hard link, which only
one of several succeeds in; but it outlives its process. So a step is free when the lock can be had and there is no
owner's file, or one whose owner is known to be gone. Lock files stay; they are empty.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ticketcli.canon import canonical
from ticketcli.disk import parse_json, read_regular, space_errors
from ticketcli.errors import CorruptError, InputMissing, LockedError
from ticketcli.store.flock import comes_free, flock, let_go
from ticketcli.store.host import temporary_name
from ticketcli.store.owner import Finding, Owner, is_of_this_machine, look_for

_LIMIT = 65_536  # bytes of an owner's file
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@dataclass
class Held:
    """A lock that this process holds. `broken` says whose was broken for it, and why; "" if nobody's."""

    path: Path
    owner: Owner
    broken: str = ""
    _descriptor: int = field(default=-1, repr=False)

    def check(self) -> None:
        """Refuse to go on if somebody broke this lock, so that two do not write.

        Raises:
            LockedError: the owner's file is another's, or gone.
        """
        if _read(owner_path(self.path)) != self.owner:
            raise LockedError(
                f"the lock on '{self.owner.what}' was taken from this process",
                where=str(self.path),
                hint="nothing was written since; end the other process before you start this again",
            )

    def release(self) -> None:
        """Let others in."""
        with suppress(OSError, CorruptError):
            if self.owner.pid == os.getpid() and _read(owner_path(self.path)) == self.owner:
                owner_path(self.path).unlink()
        let_go(self._descriptor)


def owner_path(lock: Path) -> Path:
    """Where a lock's owner says who it is."""
    return lock.with_suffix(".owner")


def read_owner(lock: Path) -> Owner | None:
    """Who holds a lock, or held it when it was killed; None where nobody is named.

    Raises:
        CorruptError: somebody is named, but in no way that can be read.
    """
    return _read(owner_path(lock))


@contextmanager
def locked(path: Path, *, what: str, break_lock: bool = False) -> Iterator[Held]:
    """Hold the lock at `path`, or say at once who does.

    A lock whose owner is gone is taken over: on this machine the operating system knows, on another SLURM does.
    `break_lock` takes over from another machine's owner without asking, never from a process that lives on this one.

    Raises:
        LockedError: another process holds it.
        UsageError: there is something at `path` that is no lock.
        NoSpaceError: the disk is full.
    """
    held = _acquire(path, what, break_lock)
    try:
        yield held
    finally:
        held.release()


def _acquire(path: Path, what: str, break_lock: bool) -> Held:
    with space_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, is_free = flock(path)
        try:
            if is_free is False:
                descriptor, is_free = _past_the_dead(path, descriptor, what, break_lock)
            owner = Owner.here(what)
            return Held(path, owner, _claim(path, owner, is_free, break_lock), descriptor)
        except BaseException:
            let_go(descriptor)
            raise


def _past_the_dead(path: Path, descriptor: int, what: str, break_lock: bool) -> tuple[int, bool | None]:
    """Somebody has the lock. On NFS that can be a machine that died with it: then a new lock file is begun.

    Raises:
        LockedError: it is not known to be gone.
    """
    owner = _patiently(path)
    if owner is None:
        raise _refusal(path, what, None, Finding(False, ""))
    finding = look_for(owner, lock_is_free=False)
    if is_of_this_machine(owner):
        if finding.is_gone and comes_free(descriptor):
            return descriptor, True
        why = "it has ended, but what it began goes on" if finding.is_gone else finding.why
        raise _refusal(path, what, owner, Finding(False, why))
    if not (finding.is_gone or break_lock):
        raise _refusal(path, what, owner, finding)
    path.unlink(missing_ok=True)
    let_go(descriptor)
    descriptor, is_free = flock(path)
    if is_free is False:
        let_go(descriptor)
        raise _refusal(path, what, _patiently(path), Finding(False, ""))
    return descriptor, is_free


def _patiently(path: Path) -> Owner | None:
    """The owner, who may have the lock since a moment only and be about to say so."""
    for _ in range(20):
        with suppress(CorruptError):
            if (owner := read_owner(path)) is not None:
                return owner
        time.sleep(0.02)
    return None


# ------------------------------------------------------------------ the owner's file


def _read(path: Path) -> Owner | None:
    try:
        return Owner.parse(parse_json(read_regular(path, limit=_LIMIT)))
    except InputMissing:
        return None
    except ValueError as error:
        raise CorruptError(f"who holds this lock cannot be read: {error}", where=str(path)) from None


def _claim(lock: Path, owner: Owner, is_free: bool | None, break_lock: bool) -> str:
    """Make this the owner's file; returns whose lock was broken for it.

    Raises:
        LockedError: another is named there, who is not known to be gone.
    """
    path, broken = owner_path(lock), ""
    own = path.with_name(temporary_name(path.name))
    try:
        with own.open("xb") as file:
            file.write(canonical(owner.as_json()).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        for _ in range(3):
            if _link(own, path):
                return broken
            broken = _take_away(lock, owner.what, is_free, break_lock) or broken
        raise _refusal(lock, owner.what, None, Finding(False, ""))
    finally:
        own.unlink(missing_ok=True)


def _link(own: Path, path: Path) -> bool:
    """Give the file its place, unless there is one; of several that try, one succeeds."""
    try:
        os.link(own, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            return False
        own.rename(path)  # a file system without hard links: there the operating system's lock has to do
    return True


def _take_away(lock: Path, what: str, is_free: bool | None, break_lock: bool) -> str:
    """Remove the file of an owner who is gone; returns whom to name, "" for one of this machine.

    It is moved aside first, and what was moved is looked at: should another have done the same and put its own file
    there in between, that is put back.
    """
    path = owner_path(lock)
    try:
        owner = _read(path)
    except CorruptError as error:
        if not break_lock:
            hint = "once you know that nobody works on this step: --break-lock"
            raise LockedError(f"'{what}' is locked; {error.what}", where=str(path), hint=hint) from None
        path.unlink(missing_ok=True)
        return "an owner whose file could not be read"
    if owner is None:
        return ""
    finding = look_for(owner, lock_is_free=is_free)
    is_here = is_of_this_machine(owner)
    if not finding.is_gone and (is_here or not break_lock):
        raise _refusal(lock, what, owner, finding)
    aside = path.with_name(temporary_name(path.name))
    try:
        path.rename(aside)
    except FileNotFoundError:
        return ""
    try:
        if _read(aside) != owner:
            _link(aside, path)
            raise _refusal(lock, what, _read(path), Finding(False, ""))
    finally:
        aside.unlink(missing_ok=True)
    return "" if is_here else f"{owner}: {finding.why if finding.is_gone else 'by --break-lock'}"


def _refusal(path: Path, what: str, owner: Owner | None, finding: Finding) -> LockedError:
    if owner is None:
        hint = "wait for it to end, or give this one another --run or --name"
        return LockedError(f"another process works on '{what}'", where=str(path), hint=hint)
    is_here = is_of_this_machine(owner)
    end = f"kill {owner.pid}" if is_here and not owner.job else f"scancel {owner.job}" if owner.job else "end it there"
    hint = f"wait for it, or end it ({end}), or give this one another --run or --name"
    if not is_here:
        hint += "; once you know that it is gone: --break-lock"
    why = f"; {finding.why}" if finding.why and finding.why != "it is alive" else ""
    return LockedError(f"another process works on '{what}': {owner}{why}", where=str(path), hint=hint)
