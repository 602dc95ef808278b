"""`ticket export --bundle`: one frozen backbone and n heads in a file, and a ledger of the bytes that this saves."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ticketcli.canon import CHUNK
from ticketcli.errors import MismatchError, UsageError
from ticketcli.exports.packing import Written, facts_of
from ticketcli.exports.subject import Subject, network_to_export
from ticketcli.stages.networks import body_of, is_classifier
from ticketcli.store.mask import Mask
from ticketcli.store.packed import Values
from ticketcli.tasks.table import TASKS
from ticketcli.tensors.digest import digest_of
from ticketcli.tensors.packed import stored, unpacked, write_packed
from ticketcli.training.yields import Loaded

_LEVEL = 6  # of zlib, as servers of files compress
_NAME = re.compile(r"[^A-Za-z0-9_.\-]+")
Tell = Callable[[str], None]


@dataclass(frozen=True)
class _Part:
    """A transferred network, taken apart.

    Attributes:
        backbone: tensors that the networks share, by the encoder's own names.
        head: all other tensors, by the network's.
        mask: of the backbone.
    """

    name: str
    subject: Subject
    source: Loaded
    prefix: str
    backbone: dict[str, Tensor]
    head: dict[str, Tensor]
    mask: Mask | None


def export_bundle(subjects: Sequence[Subject], to: Path, values: Values, tell: Tell) -> Written:
    """Write one backbone and the heads of networks that were transferred with it frozen.

    Raises:
        UsageError: fewer than two networks, or one that is no transfer.
        MismatchError: a backbone differs, or its mask; names the tensor.
    """
    if len(subjects) < 2:
        raise UsageError("a bundle is of two networks or more", where="--bundle", hint="name more transfers")
    names = _names([subject.ref for subject in subjects])
    parts = [_apart(name, subject) for name, subject in zip(names, subjects, strict=True)]
    for other in parts[1:]:
        _require_same(parts[0], other)
    first = parts[0]
    shared = unpacked(first.backbone, first.mask, values)
    heads = {part.name: part.head for part in parts}
    about = {
        "of": "bundle", "checkpoint": {"arch": first.source.about["arch"]},
        "heads": {part.name: _described(part, shared) for part in parts},
        "digests": {part.name: part.subject.digests["values"] for part in parts},
        **({} if first.mask is None else {"sparsity": first.mask.sparsity}),
    }  # fmt: skip
    write_packed(to, first.backbone, first.mask, values=values, about=about, heads=heads)
    tell("counting bytes")
    ledger = _ledger(parts, to, values)
    facts = {**facts_of(first.source, first.source.mask), "networks": len(parts), "heads": list(heads),
             "stored": values, "bytes": to.stat().st_size, "dense_bytes": sum(p.subject.sizes["values"] for p in parts),
             "ledger": ledger}  # fmt: skip
    return Written("bundle", to, facts, _words(parts, ledger, to))


def _names(refs: Sequence[str]) -> list[str]:
    """A short name for each network, as tensors may be called; equal ones are numbered."""
    plain = [_NAME.sub("-", ref.removesuffix(".safetensors").strip("./")).strip("-.") or "head" for ref in refs]
    return [
        name if plain.count(name) == 1 else f"{name}-{plain[: place + 1].count(name)}"
        for place, name in enumerate(plain)
    ]


def _apart(name: str, subject: Subject) -> _Part:
    source = subject.load()
    if subject.artifact.kind != "task":
        what = f"'{subject.ref}' is a {subject.artifact.kind}, and has learnt no target"
        hint = "transfer it first, with --freeze-backbone true"
        raise UsageError(what, where="--bundle", hint=hint)
    prefix = TASKS[source.about.get("task", "classification")].prefix
    heads: tuple[str, ...] = ()
    if is_classifier(source.about):
        heads = body_of(network_to_export(source)).head_prefixes
    backbone = {
        key.removeprefix(prefix): value
        for key, value in source.values.items()
        if key.startswith(prefix) and not (heads and key.startswith(heads))
    }
    head = {key: value for key, value in source.values.items() if key.removeprefix(prefix) not in backbone}
    head |= {key: value for key, value in source.values.items() if prefix and not key.startswith(prefix)}
    mask = source.mask
    if mask is not None:
        inner = {key.removeprefix(prefix): bits for key, bits in mask.items()}
        mask = Mask({key: bits for key, bits in inner.items() if key in backbone})
    return _Part(name, subject, source, prefix, backbone, head, mask)


def _require_same(one: _Part, other: _Part) -> None:
    hint = "transfer both with --freeze-backbone true and one stem, from the same ticket"
    where = f"{one.subject.ref} and {other.subject.ref}"
    if one.source.about["arch"] != other.source.about["arch"]:
        what = f"the backbones are {one.source.about['arch']} and {other.source.about['arch']}"
        raise MismatchError(what, where=where, hint=hint)
    if one.source.about.get("normalization") != other.source.about.get("normalization"):
        raise MismatchError("the backbones expect images normalised differently", where=where, hint=hint)
    for name in sorted(one.backbone.keys() | other.backbone.keys()):
        mine, theirs = one.backbone.get(name), other.backbone.get(name)
        if mine is None or theirs is None or mine.shape != theirs.shape or not torch.equal(mine, theirs):
            raise MismatchError(f"the backbones differ in '{name}'", where=where, hint=hint)
    if (one.mask is None) != (other.mask is None) or (one.mask is not None and one.mask != other.mask):
        name = _first_other_mask(one.mask, other.mask)
        raise MismatchError(f"the backbones' masks differ in '{name}'", where=where, hint=hint)


def _first_other_mask(one: Mask | None, other: Mask | None) -> str:
    mine, theirs = dict(one or {}), dict(other or {})
    for name in sorted(mine.keys() | theirs.keys()):
        if name not in mine or name not in theirs or (mine[name] != theirs[name]).any():
            return name
    return ""


def _described(part: _Part, shared: Mapping[str, Tensor]) -> dict[str, Any]:
    whole = {part.prefix + name: value for name, value in shared.items()} | part.head
    return {
        "of": "task",
        "ref": part.subject.ref,
        "prefix": part.prefix,
        "checkpoint": dict(part.source.about),
        "unpacked": digest_of(whole),
    }


# ---------------------------------------------------------------------- the ledger


def _ledger(parts: Sequence[_Part], to: Path, values: Values) -> dict[str, dict[str, int]]:
    """Bytes of this bundle, of n packed tickets, and of n checkpoints as finetuning leaves them.

    wire: through zlib, as servers send files; disk: the files; memory: weights and buffers, dense in all runtimes.
    """
    first = parts[0]
    backbone, heads = _held(first.backbone), [_held(part.head) for part in parts]
    checkpoints = [Path(part.subject.artifact.files["values"].path) for part in parts]
    masks = [Path(part.subject.artifact.files["mask"].path) for part in parts if part.mask is not None]
    packs = [_packed_parts(part, values) for part in parts]
    return {
        "bundle": {"wire": _sent([to]), "disk": to.stat().st_size, "memory": backbone + sum(heads)},
        "packed copies": {
            "wire": sum(_compressed(pack) for pack in packs),
            "disk": sum(sum(len(piece) for piece in pack) for pack in packs),
            "memory": len(parts) * backbone + sum(heads),
        },
        "finetuned copies": {
            "wire": _sent([*checkpoints, *masks]),
            "disk": sum(path.stat().st_size for path in (*checkpoints, *masks)),
            "memory": len(parts) * backbone + sum(heads),
        },
    }


def _held(tensors: Mapping[str, Tensor]) -> int:
    return sum(value.nbytes for value in tensors.values())


def _packed_parts(part: _Part, values: Values) -> list[bytes]:
    """The bytes of a packed ticket of this network, headers left out: what finetuning of all of it would send."""
    pieces = stored(part.backbone, part.mask, values) | part.head
    return [bytes(value.contiguous().reshape(-1).view(torch.uint8).numpy().data) for value in pieces.values()]


def _compressed(pieces: Sequence[bytes]) -> int:
    coder = zlib.compressobj(_LEVEL)
    return sum(len(coder.compress(piece)) for piece in pieces) + len(coder.flush())


def _sent(paths: Sequence[Path]) -> int:
    """Bytes of files, each compressed on its own."""
    total = 0
    for path in paths:
        coder = zlib.compressobj(_LEVEL)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                total += len(coder.compress(chunk))
        total += len(coder.flush())
    return total


def _words(parts: Sequence[_Part], ledger: Mapping[str, Mapping[str, int]], to: Path) -> tuple[str, ...]:
    ours, theirs = ledger["bundle"], ledger["finetuned copies"]
    shares = ", ".join(f"{ours[what] / theirs[what]:.2f} {words}" for what, words in (
        ("wire", "on the wire"), ("disk", "on disk"), ("memory", "in memory")))  # fmt: skip
    return (
        f"Of {len(parts)} finetuned copies: {shares}.",
        "Wire: each file through zlib. Disk: as it lies. Memory: weights and buffers, dense in every runtime.",
        "Packed copies: what finetuning would send packed, were every backbone its own.",
        f"'ticket import {to.name} --head {parts[0].name}' brings a network back.",
    )
