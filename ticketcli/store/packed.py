"""A packed ticket's layout, told without torch: one bit a weight, the values of those that live, and all the rest.

A file `NAME.ticket.safetensors` holds, for every masked parameter, `mask/NAME` (bits as in mask files) and `kept/NAME`
(the surviving values in C order, float32 or bfloat16); every other tensor of the checkpoint whole as `rest/NAME`; and,
in a bundle, the tensors of each head as `heads/HEAD/NAME`. Where no weight lives no value is stored: it is +0.0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ticketcli.errors import CorruptError
from ticketcli.naming import PACKED
from ticketcli.store.tensorfile import METADATA_KEY, Header, TensorInfo, read_header

KIND = "packed"
MASK, KEPT, REST, HEADS = "mask/", "kept/", "rest/", "heads/"
Values = Literal["fp32", "bf16"]
DTYPES: Mapping[str, str] = {"fp32": "F32", "bf16": "BF16"}  # how values are named in settings, and in files


@dataclass(frozen=True)
class Layout:
    """What a packed file holds.

    Attributes:
        shapes: masked parameter -> its shape.
        kept: masked parameter -> how many of its weights live.
        values: what the surviving values are stored as.
        rest: names of the tensors that are stored whole.
        heads: head -> names of its tensors; none in a lone ticket.
        about: what the file says of itself beside shapes and counts.
    """

    shapes: dict[str, tuple[int, ...]]
    kept: dict[str, int]
    values: Values
    rest: tuple[str, ...]
    heads: dict[str, tuple[str, ...]]
    about: dict[str, Any]

    @property
    def total(self) -> int:
        """The number of prunable weights."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def described(shapes: Mapping[str, tuple[int, ...]], kept: Mapping[str, int], values: Values) -> dict[str, Any]:
    """What a file has to say of its masked parameters, as JSON values."""
    return {"shapes": {name: list(shape) for name, shape in shapes.items()}, "kept": dict(kept), "values": values}


def read_layout(path: Path) -> Layout:
    """Read what a packed ticket says it holds; names, types and counts have to agree with what is there.

    Raises:
        InputMissing: no such file.
        CorruptError: truncated, damaged, no packed ticket, or its parts disagree.
    """
    header = read_header(path)
    if header.metadata.get("kind") != KIND:
        kind = header.metadata.get("kind", "a foreign safetensors file")
        hint = f"'ticket export TICKET --to NAME{PACKED}' makes one"
        raise CorruptError(f"expected a packed ticket, this is {kind}", where=str(path), hint=hint)
    try:
        return _layout(header)
    except CorruptError as error:
        raise CorruptError(error.what, where=f"{path}: {error.where}" if error.where else str(path)) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"the packed ticket's {METADATA_KEY} metadata is not usable: {error!r}"
        raise CorruptError(what, where=str(path)) from None


def _layout(header: Header) -> Layout:
    about = dict(header.metadata["about"])
    shapes = {str(name): _shape(sides) for name, sides in about.pop("shapes").items()}
    kept, values = dict(about.pop("kept")), about["values"]
    if values not in DTYPES:
        raise CorruptError(f"values of the unknown type {str(values)[:40]!r}")
    if kept.keys() != shapes.keys():
        raise CorruptError("the recorded shapes and the recorded counts have different names")
    places: dict[str, dict[str, TensorInfo]] = {MASK: {}, KEPT: {}, REST: {}, HEADS: {}}
    for name, info in header.tensors.items():
        part = next((one for one in places if name.startswith(one)), "")
        if not name.removeprefix(part) or not part:
            raise CorruptError("a tensor that packed tickets do not have", where=name)
        places[part][name.removeprefix(part)] = info
    if not places[MASK].keys() == places[KEPT].keys() == shapes.keys():
        raise CorruptError("bits, values and recorded shapes have different names")
    if twice := shapes.keys() & places[REST].keys():
        raise CorruptError("a tensor is there twice, packed and whole", where=min(twice))
    for name, shape in shapes.items():
        _check(name, shape, kept[name], places[MASK][name], places[KEPT][name], DTYPES[values])
    return Layout(shapes, kept, values, tuple(places[REST]), _heads(places[HEADS], about), about)


def _shape(sides: Any) -> tuple[int, ...]:
    if not isinstance(sides, list) or any(type(side) is not int or side < 0 for side in sides):
        raise ValueError("a shape is a list of whole numbers")
    return tuple(sides)


def _check(name: str, shape: tuple[int, ...], kept: Any, bits: TensorInfo, values: TensorInfo, dtype: str) -> None:
    total = math.prod(shape)
    if type(kept) is not int or not 0 <= kept <= total:
        raise CorruptError(f"{str(kept)[:40]} of {total} weights are said to live", where=name)
    if bits.dtype != "U8" or bits.shape != ((total + 7) // 8,):
        raise CorruptError(f"{total} weights ask for {(total + 7) // 8} bytes of bits", where=name)
    if values.dtype != dtype or values.shape != (kept,):
        what = f"{kept} living weights ask for as many values of {dtype}, there are {values.shape} of {values.dtype}"
        raise CorruptError(what, where=name)


def _heads(tensors: Mapping[str, TensorInfo], about: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Head -> names of its tensors; each tensor belongs to a head that is described."""
    described_ = about.get("heads", {})
    found: dict[str, list[str]] = {str(name): [] for name in described_}
    for name in tensors:
        head, slash, rest = name.partition("/")
        if head not in found or not slash or not rest:
            raise CorruptError("a tensor of a head that is not described", where=f"{HEADS}{name}")
        found[head].append(rest)
    if any(not isinstance(one, dict) for one in described_.values()):
        raise ValueError("a head is described by a mapping")
    return {head: tuple(names) for head, names in found.items()}
