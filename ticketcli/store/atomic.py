"""The one writer: a file appears whole, durable and with the user's own permissions, or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from ticketcli.canon import canonical
from ticketcli.disk import space_errors
from ticketcli.errors import UsageError
from ticketcli.store.host import temporary_name


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable (a rename is only safe once its folder is on disk)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, write: Callable[[Path], None], *, check: Callable[[Path], None] | None = None) -> None:
    """Let `write` fill a sibling temporary file, then put it in the place of `path`.

    The order is: write, fsync, `check` (which raises to refuse), rename, fsync of the folder. A failure at any point
    leaves what stood at `path` untouched and no temporary file behind.

    Raises:
        UsageError: `path` exists and is no regular file (a link, a device, a folder).
        NoSpaceError: the disk is full.
    """
    if path.is_symlink() or (path.exists() and not stat.S_ISREG(path.lstat().st_mode)):
        raise UsageError("refusing to replace something that is no regular file", where=str(path))
    temporary = path.with_name(temporary_name(path.name))
    with space_errors(path):
        try:
            write(temporary)
            temporary.chmod(0o666 & ~_umask())
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            if check is not None:
                check(temporary)
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes, *, check: Callable[[Path], None] | None = None) -> None:
    """Write a file of these bytes atomically."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomic(path, write, check=check)


def write_json(path: Path, value: object) -> None:
    """Write canonical JSON atomically, one value and a line end."""
    write_text(path, canonical(value) + "\n")
