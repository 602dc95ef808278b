"""Packed tickets: the only reader and writer of `NAME.ticket.safetensors`. The format is told in `store/packed.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ticketcli.errors import CorruptError, MismatchError
from ticketcli.store.codec import pack, unpack
from ticketcli.store.mask import Mask
from ticketcli.store.packed import HEADS, KEPT, KIND, MASK, REST, Values, described, read_layout
from ticketcli.store.tensorfile import check_bytes, write_tensors
from ticketcli.tensors.files import require_finite

_STORED: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
_EMPTY: Mapping[str, Mapping[str, Tensor]] = {}


@dataclass(frozen=True)
class Packed:
    """A packed file, unpacked.

    Attributes:
        tensors: every tensor of the checkpoint, or of a bundle's backbone; masked weights are +0.0.
        mask: which weights live; None in a bundle of a dense backbone.
        about: what the file says of itself.
        heads: head -> its tensors, in a bundle.
    """

    tensors: dict[str, Tensor]
    mask: Mask | None
    about: dict[str, Any]
    heads: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def stored(tensors: Mapping[str, Tensor], mask: Mask | None, values: Values) -> dict[str, Tensor]:
    """What a file has of a checkpoint, by the names that it has there.

    Args:
        tensors: every tensor of the checkpoint; what lies under masked weights is not looked at.
        mask: which weights live; its names and shapes are those of tensors, which are float32.
        values: what the surviving values are stored as; bf16 rounds to nearest, ties to even.

    Raises:
        MismatchError: a masked tensor is missing, of another shape or of another type.
    """
    masked = {} if mask is None else {name: _living(name, tensors, mask) for name in mask}
    found: dict[str, Tensor] = {}
    if mask is not None:
        found |= {MASK + name: torch.from_numpy(bits) for name, bits in pack(mask).items()}
    found |= {KEPT + name: living.to(_STORED[values]) for name, living in masked.items()}
    found |= {REST + name: value.detach().to("cpu") for name, value in tensors.items() if name not in masked}
    return found


def _living(name: str, tensors: Mapping[str, Tensor], mask: Mask) -> Tensor:
    """The surviving values of a parameter, in C order."""
    if name not in tensors or tuple(tensors[name].shape) != mask.shapes[name]:
        found = tuple(tensors[name].shape) if name in tensors else "not there"
        raise MismatchError(f"the mask is {mask.shapes[name]}, the weights are {found}", where=name)
    if tensors[name].dtype != torch.float32:
        raise MismatchError(f"packed weights are float32, these are {tensors[name].dtype}", where=name)
    values = tensors[name].detach().to("cpu").reshape(-1).numpy()
    living = values[np.flatnonzero(mask[name])]  # four times as fast as an index of bools
    return torch.empty(living.size).copy_(torch.from_numpy(living))  # an empty array of numpy's has no stride


def unpacked(tensors: Mapping[str, Tensor], mask: Mask | None, values: Values) -> dict[str, Tensor]:
    """What comes back of a checkpoint that is packed: +0.0 where no weight lives, and rounded if so stored."""
    if mask is None:
        return dict(tensors)
    return _restored(stored(tensors, mask, values), mask)


def _restored(parts: Mapping[str, Tensor], mask: Mask | None) -> dict[str, Tensor]:
    found = {name.removeprefix(REST): value for name, value in parts.items() if name.startswith(REST)}
    for name, alive in ({} if mask is None else mask).items():
        whole = np.zeros(alive.size, dtype=np.float32)
        whole[np.flatnonzero(alive)] = parts[KEPT + name].to(torch.float32).numpy()
        found[name] = torch.from_numpy(whole).reshape(alive.shape)
    return found


def packed_bytes(tensors: Mapping[str, Tensor], mask: Mask, values: Values) -> int:
    """The bytes of all that a packed file stores, without its header."""
    return sum(value.nbytes for value in stored(tensors, mask, values).values())


def write_packed(
    path: Path,
    tensors: Mapping[str, Tensor],
    mask: Mask | None,
    *,
    values: Values,
    about: Mapping[str, Any],
    heads: Mapping[str, Mapping[str, Tensor]] = _EMPTY,
) -> None:
    """Write a packed ticket, or a bundle if there are heads, atomically; read back and compared before it is there.

    Args:
        path: ends in `.ticket.safetensors`.
        tensors: every tensor of the checkpoint, or of the backbone that the heads share.
        mask: which of its weights live; None for a bundle of a dense backbone.
        values: what the surviving values are stored as.
        about: JSON values; of a bundle with `heads`, a mapping for each.
        heads: head -> its tensors; stored whole.

    Raises:
        DivergedError: a value is not finite.
        MismatchError: mask and tensors do not fit.
    """
    parts = stored(tensors, mask, values)
    parts |= {f"{HEADS}{head}/{name}": value for head, own in heads.items() for name, value in own.items()}
    own = {name: value.detach().to("cpu").contiguous() for name, value in parts.items()}
    require_finite(own, where=str(path))
    shapes, kept = (mask.shapes, mask.kept_by_name) if mask is not None else ({}, {})
    details = {**about, **described(shapes, kept, values)}

    def check(written: Path) -> None:
        found = load_file(written)
        if found.keys() != own.keys() or not all(_same(found[name], value) for name, value in own.items()):
            raise CorruptError("what was written does not come back", where=str(path))

    write_tensors(
        path, lambda to, metadata: save_file(own, to, metadata=metadata), kind=KIND, about=details, check=check
    )


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal in type, shape and every bit."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


def read_packed(path: Path) -> Packed:
    """Read a packed ticket or a bundle back.

    Raises:
        InputMissing: no such file.
        CorruptError: truncated, damaged, no packed ticket, or bits, values and counts disagree.
    """
    layout = read_layout(path)
    check_bytes(path)
    try:
        parts = load_file(path)
    except (SafetensorError, ValueError, RuntimeError, TypeError, OSError) as error:
        raise CorruptError(f"cannot read: {error}", where=str(path)) from None
    bits = {name.removeprefix(MASK): value.numpy() for name, value in parts.items() if name.startswith(MASK)}
    try:
        mask = unpack(bits, layout.shapes) if layout.shapes else None
    except CorruptError as error:
        raise CorruptError(error.what, where=f"{path}: {error.where}" if error.where else str(path)) from None
    if mask is not None and mask.kept_by_name != layout.kept:
        raise CorruptError(
            "the living weights are not as many as recorded", where=str(path), hint="the file is damaged: restore it"
        )
    heads = {
        head: {name: parts[f"{HEADS}{head}/{name}"] for name in names} for head, names in layout.heads.items()
    }  # fmt: skip
    return Packed(_restored(parts, mask), mask, layout.about, heads)
