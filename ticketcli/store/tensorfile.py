"""What a safetensors file holds, told without torch: strict header, content digest, our one metadata key.

The library (0.8) accepts duplicate keys and loads a flipped data bit silently, so the header is checked here and the
data by digest. Source of the format: the safetensors specification (u64 length, JSON header, data).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ticketcli.canon import CHUNK, canonical
from ticketcli.errors import CorruptError, InputMissing

METADATA_KEY = "ticketcli"
FORMAT = 1
_MAX_HEADER = 100_000_000
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-/#]*")
_SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4,
          "I64": 8, "U64": 8, "F64": 8}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One tensor's place in the file; `begin` and `end` are absolute byte offsets."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """The names, shapes and places of a file's tensors, and our metadata (empty for foreign files)."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, Any]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: info.shape for name, info in self.tensors.items()}


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def read_header(path: Path) -> Header:
    """Read and check a safetensors header.

    Raises:
        InputMissing: no such file.
        CorruptError: truncated, not safetensors, duplicate or unsafe names, or tensors that overlap or leave gaps.
    """
    if not path.exists():
        raise InputMissing("no such file", where=str(path))
    if not path.is_file():
        raise CorruptError("not a regular file", where=str(path))
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _MAX_HEADER):
                raise ValueError("it is truncated, or no safetensors file at all")
            raw = json.loads(file.read(length), object_pairs_hook=_no_duplicates)
        if not isinstance(raw, dict):
            raise ValueError("its header is no JSON object")
        metadata = raw.pop("__metadata__", {})
        start, tensors = 8 + length, {}
        for name, info in raw.items():
            if not _NAME.fullmatch(name) or ".." in name:
                raise ValueError(f"the name {name!r} is not one that this tool writes or trusts")
            shape = tuple(info["shape"])
            begin, end = info["data_offsets"]
            count = 1
            for side in shape:
                if not isinstance(side, int) or side < 0:
                    raise ValueError(f"the shape of '{name}' is {shape}")
                count *= side
            if info["dtype"] not in _SIZES:
                raise ValueError(f"'{name}' has the unknown type {info['dtype']}")
            if end - begin != count * _SIZES[info["dtype"]]:
                raise ValueError(f"'{name}' has {end - begin} bytes, its shape asks for another number")
            tensors[name] = TensorInfo(info["dtype"], shape, start + begin, start + end)
        position = start
        for info in sorted(tensors.values(), key=lambda info: (info.begin, info.end)):
            if info.begin != position:
                raise ValueError("its tensors overlap or leave gaps")
            position = info.end
        if position != size:
            raise ValueError(f"it has {size} bytes, its header asks for {position}")
        own = json.loads(metadata[METADATA_KEY]) if METADATA_KEY in metadata else {}
        if own and own.get("format") != FORMAT:
            raise ValueError(f"it has format {own.get('format')}, this version reads format {FORMAT}")
    except (ValueError, KeyError, TypeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptError(
            f"cannot use this file: {error}",
            where=str(path),
            hint="restore it, or make it again with the step that wrote it",
        ) from None
    return Header(tensors, own)


def content_digest(path: Path, header: Header | None = None) -> str:
    """The sha256 of names, dtypes, shapes and bytes, in order of name: equal tensors, equal digest.

    Metadata does not count, so two files that differ only in their provenance have the same content.
    """
    header = read_header(path) if header is None else header
    sha = hashlib.sha256()
    with path.open("rb") as file:
        for name in sorted(header.tensors):
            info = header.tensors[name]
            sha.update(canonical([name, info.dtype, list(info.shape)]).encode())
            file.seek(info.begin)
            left = info.end - info.begin
            while left:
                chunk = file.read(min(CHUNK, left))
                sha.update(chunk)
                left -= len(chunk)
    return sha.hexdigest()


def metadata_for(kind: str, about: dict[str, Any]) -> dict[str, str]:
    """Our metadata: one key, canonical JSON, because the library writes several keys in random order."""
    return {METADATA_KEY: canonical({"format": FORMAT, "kind": kind, "about": about})}
