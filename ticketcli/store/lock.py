"""One writer a step: a lock file that the operating system frees when its process dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ticketcli.errors import LockedError


@contextmanager
def locked(path: Path, *, what: str) -> Iterator[None]:
    """Hold the lock at `path`, or say at once who cannot have it.

    Raises:
        LockedError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise LockedError(
            f"another process works on '{what}'",
            where=str(path),
            hint="wait for it to end, or give this one another --run or --name",
        ) from None
    try:
        yield
    finally:
        lock.release()
