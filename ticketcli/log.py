"""`metrics.jsonl` read back: its lines, and whether it still begins with what a manifest or a state says it held."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from ticketcli.canon import CHUNK
from ticketcli.disk import opened, parse_json
from ticketcli.errors import CorruptError, InputMissing

_LONGEST_LINE = 10_000_000  # bytes
_HINT = "restore it, or make the step anew with --resume never; the old is kept"


def check_log(path: Path, n: int, sha256: str = "") -> Any:
    """The sha256, to go on with, of the first `n` bytes of a log.

    Raises:
        CorruptError: it has fewer, or `sha256` is given and is another.
    """
    sha, left = hashlib.sha256(), n
    if n:
        try:
            with opened(path) as file:
                while left and (chunk := file.read(min(CHUNK, left))):
                    sha.update(chunk)
                    left -= len(chunk)
        except InputMissing as error:
            raise CorruptError(error.what, where=str(path), hint=_HINT) from None
    if left:
        raise CorruptError(f"it has {n - left} bytes, {n} were written", where=str(path), hint=_HINT)
    if sha256 and sha.hexdigest() != sha256:
        raise CorruptError("its bytes are not the ones that were written", where=str(path), hint=_HINT)
    return sha


def check_marks(path: Path, marks: Iterable[tuple[int, str]], *, is_whole: bool) -> None:
    """Compare a log with all (bytes, sha256 of as many) that were recorded of it; "" stands for no digest.

    What follows the last is `is_whole` nothing, else lines of a unit under way, the last of which may be unfinished.

    Raises:
        CorruptError: it is shorter or other than recorded, or goes on in a way that no log does.
    """
    end, sha = 0, check_log(path, 0)
    with opened(path) as file:
        for mark, expected in sorted(marks):
            while end < mark and (chunk := file.read(min(CHUNK, mark - end))):
                sha.update(chunk)
                end += len(chunk)
            if end < mark:
                raise CorruptError(f"it has {end} bytes, {mark} were written", where=str(path), hint=_HINT)
            if expected and sha.hexdigest() != expected:
                raise CorruptError("its bytes are not the ones that were written", where=str(path), hint=_HINT)
        if is_whole and file.read(1):
            raise CorruptError(f"it goes on after the {end} bytes that were written", where=str(path), hint=_HINT)
        if not is_whole:
            for _ in _lines(file, path, may_be_cut=True):
                pass


def read_log(path: Path, *, may_be_cut: bool = False) -> Iterator[dict[str, Any]]:
    """The lines of `metrics.jsonl`; `may_be_cut` passes over an unfinished last one, as a step under way has it.

    Raises:
        CorruptError: a line is none that this tool writes.
    """
    with opened(path) as file:
        yield from _lines(file, path, may_be_cut=may_be_cut)


def _lines(file: IO[bytes], path: Path, *, may_be_cut: bool = False) -> Iterator[dict[str, Any]]:
    for number in itertools.count(1):
        line = file.readline(_LONGEST_LINE)
        if not line or (may_be_cut and not line.endswith(b"\n")):
            return
        try:
            if not line.endswith(b"\n"):
                raise ValueError("it ends in the middle")
            yield _checked(parse_json(line, constants=True))
        except ValueError as error:
            raise CorruptError(f"line {number} is damaged: {error}", where=str(path)) from None


def _is_shallow(value: Any, levels: int = 20) -> bool:
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(one, levels - 1) for one in inner)


def _checked(line: Any) -> dict[str, Any]:
    if not _is_shallow(line):
        raise ValueError("it is nested too deeply")
    if not isinstance(line, dict) or not isinstance(line.get("event"), str):
        raise ValueError("it tells no event")
    numbers = [line.get("done"), line.get("total")]
    if line["event"] == "progress" and not (
        isinstance(line.get("what"), str) and all(type(number) is int for number in numbers)
    ):
        raise ValueError("it tells no progress")
    return line
