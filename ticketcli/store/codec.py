"""Masks and gates on disk: one bit each, eight to a byte, little bit order, C order, in a safetensors file."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ticketcli.canon import canonical
from ticketcli.errors import CorruptError
from ticketcli.naming import GATES, MASK
from ticketcli.store.mask import Mask
from ticketcli.store.tensorfile import METADATA_KEY, check_bytes, read_header, write_tensors

KIND = "mask"
GATES_KIND = "gates"  # see `explain/gate_file.py`
_WORDS = {KIND: ("a mask", MASK, "living weights"), GATES_KIND: ("gates", GATES, "open gates")}


def pack(mask: Mask) -> dict[str, NDArray[np.uint8]]:
    """Name -> ceil(n / 8) bytes. Unused bits of the last byte are 0."""
    return {name: np.packbits(array.reshape(-1), bitorder="little") for name, array in mask.items()}


def mask_digest(mask: Mask) -> str:
    """The sha256 of which weights live, names and shapes included, as 64 hex digits."""
    sha = hashlib.sha256(canonical({name: list(shape) for name, shape in mask.shapes.items()}).encode())
    for data in pack(mask).values():
        sha.update(data.tobytes())
    return sha.hexdigest()


def unpack(packed: dict[str, NDArray[np.uint8]], shapes: dict[str, tuple[int, ...]]) -> Mask:
    """The inverse of `pack`.

    Raises:
        CorruptError: names differ, a byte count does not fit its shape, or an unused bit is set.
    """
    if packed.keys() != shapes.keys():
        raise CorruptError("the mask's tensors and its recorded shapes have different names")
    arrays = {}
    for name, data in packed.items():
        n = math.prod(shapes[name])
        if data.dtype != np.uint8 or data.shape != ((n + 7) // 8,):
            raise CorruptError(
                f"the mask has {data.size} bytes where its shape {shapes[name]} asks for {(n + 7) // 8}",
                where=name,
            )
        if n % 8 and data[-1] >> (n % 8):
            raise CorruptError("bits beyond the last weight are set", where=name)
        arrays[name] = np.unpackbits(data, count=n, bitorder="little").view(np.bool_).reshape(shapes[name])
    return Mask.of_new(arrays)


def _shape(sides: Any) -> tuple[int, ...]:
    if not isinstance(sides, list) or any(type(side) is not int or side < 0 for side in sides):
        raise ValueError("a shape is a list of whole numbers")
    return tuple(sides)


def write_mask(path: Path, mask: Mask, about: dict[str, Any], *, kind: str = KIND) -> None:
    """Write `<name>.mask.safetensors` atomically; `about` goes beside the shapes and exact counts.

    Of kind `gates` it is a file of gates, one bit for each of every image.
    """
    details = {
        **about,
        "shapes": {name: list(shape) for name, shape in mask.shapes.items()},
        "kept": mask.kept_by_name,
        "total": mask.total,
    }
    write_tensors(path, lambda to, metadata: save_file(pack(mask), to, metadata=metadata), kind=kind, about=details)


def read_mask(path: Path, *, kind: str = KIND) -> tuple[Mask, dict[str, Any]]:
    """Read a mask file, or one of gates, and what it says about itself.

    Raises:
        InputMissing: no such file.
        CorruptError: truncated, damaged, of another kind, or counts that differ from the recorded ones.
    """
    header = read_header(path)
    expected, ending, bits = _WORDS[kind]
    if header.metadata.get("kind") != kind:
        found = header.metadata.get("kind", "a foreign safetensors file")
        raise CorruptError(f"expected {expected}, this is {found}", where=str(path), hint=f"such files end in {ending}")
    check_bytes(path)
    about = dict(header.metadata["about"])
    try:
        shapes = {name: _shape(sides) for name, sides in about.pop("shapes").items()}
        kept, total = about.pop("kept"), about.pop("total")
        mask = unpack(load_file(path), shapes)
    except CorruptError as error:
        raise CorruptError(error.what, where=f"{path}: {error.where}" if error.where else str(path)) from None
    except SafetensorError as error:
        raise CorruptError(f"cannot read: {error}", where=str(path)) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptError(f"the mask's {METADATA_KEY} metadata is not usable: {error!r}", where=str(path)) from None
    if mask.kept_by_name != kept or mask.total != total:
        raise CorruptError(
            f"the {bits} are not as many as recorded",
            where=str(path),
            hint="the file is damaged: restore it",
        )
    return mask, about
