"""`metrics.jsonl` read back: its lines, and whether it still begins with what a manifest or a state says it held."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of `metrics.jsonl`.

    Raises:
        CorruptError: a line is none that this tool writes.
    """
    with opened(path) as file:
        for number in itertools.count(1):
            line = file.readline(_LONGEST_LINE)
            if not line:
                return
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("it ends in the middle")
                yield _checked(parse_json(line, constants=True))
            except ValueError as error:
                raise CorruptError(f"line {number} is damaged: {error}", where=str(path)) from None


def _checked(line: Any) -> dict[str, Any]:
    if not isinstance(line, dict) or not isinstance(line.get("event"), str):
        raise ValueError("it tells no event")
    numbers = [line.get("done"), line.get("total")]
    if line["event"] == "progress" and not (
        isinstance(line.get("what"), str) and all(type(number) is int for number in numbers)
    ):
        raise ValueError("it tells no progress")
    return line
