"""`Document`: a file of annotations in COCO's format as JSON has it, its entries not yet looked at."""

from __future__ import annotations

import gc
import hashlib
import json
import math
import reprlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ticketcli.errors import CorruptError, InputMissing

SECTIONS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class Document:
    """Three lists of whatever the file holds in them.

    Attributes:
        path: of the file.
        images: one entry an image.
        annotations: one entry an object.
        categories: one entry a class.
        sha256: of the file's bytes, 64 hexadecimal digits.
    """

    path: Path
    images: list[Any]
    annotations: list[Any]
    categories: list[Any]
    sha256: str = ""


def load_document(path: Path) -> Document:
    """Read a file of annotations. Its other keys (info, licenses) are left alone.

    Raises:
        InputMissing: no such file, or it may not be read.
        CorruptError: not JSON, or without one of the three lists.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CorruptError("not a regular file", where=str(path))
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputMissing(f"cannot read the annotations: {reason}", where=str(path)) from None
    found = _parsed(data, path)
    if not isinstance(found, dict):
        hint = "an object with images, annotations and categories is expected"
        hint += "; a list is a file of results" if isinstance(found, list) else ""
        raise CorruptError(f"not annotations in COCO's format: {shown(found)}", where=str(path), hint=hint)
    for section in SECTIONS:
        if not isinstance(found.get(section), list):
            what = f"'{section}' is no list" if section in found else f"there is no '{section}'"
            hint = "annotations in COCO's format have images, annotations and categories"
            raise CorruptError(what, where=f"{path}: {section}", hint=hint)
    images, annotations, categories = (found[section] for section in SECTIONS)
    return Document(path, images, annotations, categories, hashlib.sha256(data).hexdigest())


def _parsed(data: bytes, path: Path) -> Any:
    try:
        with no_collection():
            return json.loads(data)
    except RecursionError:
        raise CorruptError("not readable as JSON: nested too deeply", where=str(path)) from None
    except ValueError as error:  # of bytes that are no text, too
        raise CorruptError(f"not readable as JSON: {error}", where=str(path)) from None


@contextmanager
def no_collection() -> Iterator[None]:
    """No search for cycles while millions of values are made, none of which has any."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxdict, self.maxstring, self.maxother = 2, 4, 3, 40, 40


_SHORT = _Short()


def shown(value: Any) -> str:
    """A value of a file, short, and without characters that a terminal would obey."""
    return ascii_of(_SHORT.repr(value))


def ascii_of(text: str) -> str:
    """Text of a file for people: what cannot be printed is written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def whole(value: Any) -> int | None:
    """A whole number, which some programs write as 640.0; None for everything else."""
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    return None


def finite(numbers: list[Any]) -> bool:
    """Whether all of these numbers are finite, and their sum too."""
    try:
        return math.isfinite(sum(numbers))
    except OverflowError:
        return False
