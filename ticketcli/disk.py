"""What a file system may answer: refusals as errors that say what to do, and files that are not what they seem.

A name can belong to a device that never ends, a FIFO that never begins, or a file larger than memory; so whatever is
read whole is read here, from regular files only and only up to a limit.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import IO, Any

from ticketcli.errors import CorruptError, InputMissing, NoSpaceError, TicketError, UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_WORDS = ("No space left", "Disk quota exceeded", "File too large")  # as other libraries wrap them


def _no_space(path: Path, reason: str) -> NoSpaceError:
    hint = "free some space and run the same command again"
    if "too large" in reason:
        hint = "the limit on file sizes (ulimit -f) or the file system's own is reached; lift it, and run it again"
    return NoSpaceError(reason[:1].lower() + reason[1:], where=str(path), hint=hint)


@contextmanager
def space_errors(path: Path) -> Iterator[None]:
    """Turn the refusals of the operating system to write to `path` into errors that say what to do."""
    try:
        yield
    except TicketError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise _no_space(path, error.strerror or "no space left on device") from None
        raise TicketError(f"cannot write: {error.strerror or error}", where=str(path)) from error
    except Exception as error:  # safetensors wraps the operating system's error
        words = next((words for words in _FULL_WORDS if words in str(error)), None)
        if words is None:
            raise
        raise _no_space(path, words if "space" not in words else "no space left on device") from None


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A regular file, open for reading. Links are followed; devices, FIFOs and folders are refused unopened.

    Raises:
        InputMissing: no such file, or it may not be read.
        CorruptError: no regular file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CorruptError("not a regular file", where=str(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # no waiting, should it be exchanged now
    except (FileNotFoundError, NotADirectoryError):
        raise InputMissing("no such file", where=str(path)) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputMissing(f"cannot read this file: {reason}", where=str(path)) from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CorruptError("not a regular file", where=str(path))
        yield file


def read_regular(path: Path, *, limit: int) -> bytes:
    """All bytes of a regular file.

    Raises:
        InputMissing: no such file, or it may not be read.
        CorruptError: no regular file, more than `limit` bytes, or the disk does not give them.
    """
    with opened(path) as file:
        try:
            found = file.read(limit + 1)
        except OSError as error:
            raise CorruptError(f"cannot read this file: {error.strerror}", where=str(path)) from None
    if len(found) > limit:
        raise CorruptError(f"the file has more than the {limit:,} bytes that it may have", where=str(path))
    return found


def opened_to_append(path: Path) -> FileIO:
    """A regular file, made if it is not there, open for writing at its end and unbuffered, so that errors come at once.

    Raises:
        UsageError: there is something else, such as a link, which could lead out of the run folder.
        NoSpaceError: the disk is full.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    refusal = UsageError("refusing to write to something that is no regular file", where=str(path), hint="move it away")
    with space_errors(path):
        try:
            descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            raise refusal if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO) else error from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise refusal
    return FileIO(descriptor, "ab")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def parse_json(data: bytes | str, *, constants: bool = False) -> Any:
    """Strict JSON: UTF-8, no key twice, nested no deeper than Python reads safely; NaN and Infinity only if asked for.

    Raises:
        ValueError: it is something else; says what.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        constant = None if constants else _no_constant
        return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=constant)
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8 text") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
