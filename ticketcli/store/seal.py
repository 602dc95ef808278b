"""A seal: 64 hexadecimal digits at a fixed place in a file, the sha256 of all its bytes with zeros in their place.

safetensors loads a flipped data bit silently, and a flipped digit in JSON is still JSON. A digest that is recorded
elsewhere tells only while the record is at hand; a seal travels with the file. It is no signature: it finds damage, not
malice. Files without a seal, which others or older versions wrote, are taken as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ticketcli.canon import CHUNK, canonical
from ticketcli.disk import opened, parse_json, read_regular
from ticketcli.errors import CorruptError
from ticketcli.store.atomic import write_text

KEY = "seal"
BLANK = "0" * 64
_HEAD = f'{{"{KEY}":"'  # how sealed JSON begins


def with_blank(value: Mapping[str, Any]) -> str:
    """Canonical JSON of a mapping that is not empty, led by a seal that is still blank."""
    return f'{_HEAD}{BLANK}",{canonical(value)[1:]}'


def digest_around(path: Path, at: int) -> str:
    """The sha256 of a file, its bytes `at` to `at` + 64 taken as zeros."""
    sha = hashlib.sha256()
    with opened(path) as file:
        sha.update(file.read(at))
        sha.update(BLANK.encode())
        file.seek(at + len(BLANK))
        while chunk := file.read(CHUNK):
            sha.update(chunk)
    return sha.hexdigest()


def close_seal(path: Path, at: int) -> None:
    """Write the seal over the blank at byte `at`."""
    found = digest_around(path, at)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(found.encode())


def check_seal(path: Path, at: int) -> None:
    """Refuse a file whose bytes are not those that were sealed.

    Raises:
        CorruptError: at least one byte is another.
    """
    with opened(path) as file:
        file.seek(at)
        seal = file.read(len(BLANK))
    if seal != digest_around(path, at).encode():
        raise CorruptError(
            "the file's bytes are not the ones that were written",
            where=str(path),
            hint="restore it, or make it again with the step that wrote it",
        )


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a mapping as one line of sealed JSON, atomically."""
    text = with_blank(value) + "\n"
    seal = hashlib.sha256(text.encode()).hexdigest()
    write_text(path, _HEAD + seal + text[len(_HEAD) + len(seal) :])


def read_sealed(path: Path, *, limit: int) -> dict[str, Any]:
    """The mapping that `write_sealed` wrote; a file without seal is read as plain JSON.

    Raises:
        InputMissing: no such file.
        CorruptError: no regular file, too large, no JSON mapping, or not the bytes that were sealed.
    """
    data = read_regular(path, limit=limit)
    try:
        value = parse_json(data)
    except ValueError as error:
        raise CorruptError(str(error), where=str(path)) from None
    if not isinstance(value, dict):
        raise CorruptError("it is no JSON object", where=str(path))
    seal = value.pop(KEY, None)
    if seal is not None:
        start, end = len(_HEAD), len(_HEAD) + len(BLANK)
        blank = data[:start] + BLANK.encode() + data[end:]
        if not data.startswith(_HEAD.encode()) or seal != hashlib.sha256(blank).hexdigest():
            raise CorruptError("its bytes are not the ones that were written", where=str(path))
    return value
