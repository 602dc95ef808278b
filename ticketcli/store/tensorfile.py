"""What a safetensors file holds, told without torch: strict header, content digest, our one metadata key.

The library (0.8) accepts duplicate keys and loads a flipped data bit silently, so the header is checked here and the
data by digest. Source of the format: the safetensors specification (u64 length, JSON header, data).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ticketcli.canon import CHUNK, canonical
from ticketcli.disk import opened, parse_json
from ticketcli.errors import CorruptError
from ticketcli.store.atomic import write_atomic
from ticketcli.store.seal import BLANK, check_seal, close_seal, with_blank

METADATA_KEY = "ticketcli"
FORMAT = 1
_MAX_HEADER = 16_777_216  # bytes; as JSON of the worst kind it takes 20 times that in memory
_MAX_SIDES = 32
_MAX_ELEMENTS = 2**48
_LEAD = f'{{"__metadata__":{{"{METADATA_KEY}":"{{\\"seal\\":\\"'.encode()  # how the header of a sealed file begins
_SEAL_AT = 8 + len(_LEAD)
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


def _whole(value: object, what: str) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{what} has {str(value)[:40]!r} where a whole number should be")
    return value


def _tensor(name: str, info: Any, start: int) -> TensorInfo:
    if not _NAME.fullmatch(name) or ".." in name:
        raise ValueError(f"the name {name[:80]!r} is not one that this tool writes or trusts")
    if not isinstance(info, dict) or set(info) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"'{name}' is not described as tensors are")
    if not isinstance(info["dtype"], str) or info["dtype"] not in _SIZES:
        raise ValueError(f"'{name}' has the unknown type {str(info['dtype'])[:40]}")
    if not isinstance(info["shape"], list) or len(info["shape"]) > _MAX_SIDES:
        raise ValueError(f"'{name}' has no usable shape")
    shape = tuple(_whole(side, f"the shape of '{name}'") for side in info["shape"])
    count, largest = 1, 1
    for side in shape:
        count *= side
        largest *= max(side, 1)
        if largest > _MAX_ELEMENTS:
            raise ValueError(f"'{name}' has more elements than any file")
    begin, end = (_whole(offset, f"the place of '{name}'") for offset in info["data_offsets"])
    if end - begin != count * _SIZES[info["dtype"]]:
        raise ValueError(f"'{name}' has {end - begin} bytes, its shape asks for another number")
    return TensorInfo(info["dtype"], shape, start + begin, start + end)


def _own_metadata(metadata: Any) -> dict[str, Any]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is no mapping of words")
    if METADATA_KEY not in metadata:
        return {}
    own = parse_json(metadata[METADATA_KEY])
    if not isinstance(own, dict) or own.get("format") != FORMAT:
        found = own.get("format") if isinstance(own, dict) else own
        raise ValueError(f"it has format {str(found)[:40]}, this version reads format {FORMAT}")
    if set(own) - {"seal"} != {"format", "kind", "about"} or not isinstance(own["kind"], str):
        raise ValueError(f"its {METADATA_KEY} metadata has other keys than it should")
    if not isinstance(own["about"], dict):
        raise ValueError(f"its {METADATA_KEY} metadata is about nothing")
    return own


def _read(file: IO[bytes]) -> Header:
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise ValueError("it is truncated, or no safetensors file at all")
    if length > _MAX_HEADER:
        raise ValueError(f"its header has {length:,} bytes, more than any that this tool trusts")
    data = file.read(length)
    raw = parse_json(data)
    if not isinstance(raw, dict):
        raise ValueError("its header is no JSON object")
    own = _own_metadata(raw.pop("__metadata__", {}))
    if "seal" in own and not data.startswith(_LEAD + str(own.pop("seal")).encode()):
        raise ValueError("its seal is not where it should be")
    tensors = {name: _tensor(name, info, 8 + length) for name, info in raw.items()}
    position = 8 + length
    for info in sorted(tensors.values(), key=lambda info: (info.begin, info.end)):
        if info.begin != position:
            raise ValueError("its tensors overlap or leave gaps")
        position = info.end
    if position != size:
        raise ValueError(f"it has {size} bytes, its header asks for {position}")
    return Header(tensors, own)


def read_header(path: Path) -> Header:
    """Read and check a safetensors header.

    Raises:
        InputMissing: no such file.
        CorruptError: truncated, not safetensors, duplicate or unsafe names, or tensors that overlap or leave gaps.
    """
    with opened(path) as file:
        try:
            return _read(file)
        except (ValueError, TypeError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise CorruptError(
                f"cannot use this file: {reason}",
                where=str(path),
                hint="restore it, or make it again with the step that wrote it",
            ) from None


def content_digest(path: Path, header: Header | None = None) -> str:
    """The sha256 of names, dtypes, shapes and bytes, in order of name: equal tensors, equal digest.

    Metadata does not count, so two files that differ only in their provenance have the same content.
    """
    header = read_header(path) if header is None else header
    sha = hashlib.sha256()
    with opened(path) as file:
        for name in sorted(header.tensors):
            info = header.tensors[name]
            sha.update(canonical([name, info.dtype, list(info.shape)]).encode())
            file.seek(info.begin)
            left = info.end - info.begin
            while left:
                chunk = file.read(min(CHUNK, left))
                if not chunk:
                    raise CorruptError("the file became shorter while it was read", where=str(path))
                sha.update(chunk)
                left -= len(chunk)
    return sha.hexdigest()


def metadata_for(kind: str, about: dict[str, Any]) -> dict[str, str]:
    """Our metadata, its seal blank: one key, canonical JSON, because the library writes several in random order."""
    return {METADATA_KEY: with_blank({"format": FORMAT, "kind": kind, "about": about})}


def write_tensors(
    path: Path,
    save: Callable[[Path, dict[str, str]], None],
    *,
    kind: str,
    about: dict[str, Any],
    check: Callable[[Path], None] | None = None,
) -> None:
    """Write a sealed file atomically; `save` is given where to, and the metadata that the file has to carry."""
    metadata = metadata_for(kind, about)

    def write(temporary: Path) -> None:
        save(temporary, metadata)
        with temporary.open("rb") as file:
            if file.read(_SEAL_AT + len(BLANK))[8:] != _LEAD + BLANK.encode():
                raise AssertionError("the library has placed the metadata elsewhere than before")
        close_seal(temporary, _SEAL_AT)

    write_atomic(path, write, check=check)


def check_bytes(path: Path) -> None:
    """Compare all bytes with the file's seal, where it has one that is not blank.

    Raises:
        CorruptError: at least one is another.
    """
    with opened(path) as file:
        is_sealed = file.read(_SEAL_AT)[8:] == _LEAD
        seal = file.read(len(BLANK))
    if is_sealed and seal != BLANK.encode():
        check_seal(path, _SEAL_AT)
