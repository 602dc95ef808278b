"""The lock of the operating system on a file: it dies with its process, and no forked worker keeps it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from ticketcli.errors import LockedError, UsageError

_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
_held: set[int] = set()  # descriptors of this process


def _forget_in_child() -> None:
    """A forked worker must not keep the lock when its parent is killed."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)


def flock(path: Path) -> tuple[int, bool | None]:
    """A descriptor, and whether the lock is now held by it; None where the file system has no locks."""
    for _ in range(100):
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return descriptor, False
            if error.errno in _NO_LOCKS:
                return descriptor, None
            let_go(descriptor)
            raise
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor, True
        let_go(descriptor)  # the file was exchanged between opening and locking: that lock guards nothing
    raise LockedError(f"the lock file of '{path.stem}' changes all the time", where=str(path))


def comes_free(descriptor: int) -> bool:
    """Whether what a dead process began lets go of its lock within two seconds."""
    for _ in range(40):
        time.sleep(0.05)
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise UsageError("the lock is no regular file", where=str(path), hint="remove it") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError("the lock is no regular file", where=str(path), hint="remove it")
    _held.add(descriptor)
    return descriptor


def let_go(descriptor: int) -> None:
    """Close a descriptor, and free the lock with it; nothing where that was done."""
    if descriptor in _held:
        _held.discard(descriptor)
        with suppress(OSError):
            os.close(descriptor)
