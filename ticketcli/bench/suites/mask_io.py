"""Mask files: how many bytes, and how long, against a tensor of bool or float for each layer."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.subjects import network, sparse
from ticketcli.store.codec import pack, read_mask, write_mask
from ticketcli.store.mask import Mask

_SPARSITY = 0.79
_LEVEL = 6
_NAMES = 0.02  # share of the bits that names and shapes may add; of the small nets, more


def run(job: BenchJob) -> Iterator[Row]:
    """Bytes against bool, float and entropy; then writing and reading."""
    subject = network(job)
    mask = sparse(subject.values(), _SPARSITY)
    ours, theirs = job.folder / "ours.mask.safetensors", job.folder / "theirs.pt"
    _write(ours, mask)
    size, round_trip = ours.stat().st_size, _round_trip(ours, mask)
    what = f"the mask of {subject.arch}, {mask.sparsity:.0%} sparse"
    bits = Goal("cost", 1 + _NAMES) if job.full else None
    yield job.counted(what, size, "a bit a weight", mask.total / 8, equality=round_trip, goal=bits)
    for peer, kind in (("bool tensors", torch.bool), ("float tensors", torch.float32)):
        _save(theirs, mask, kind)
        yield job.counted(what, size, peer, theirs.stat().st_size, equality=round_trip)
    yield _compressed(job, mask)
    _save(theirs, mask, torch.bool)
    yield job.compare(
        f"write it ({subject.arch})", partial(_write, ours, mask), "torch.save, bool",
        partial(_save, theirs, mask, torch.bool), equality=partial(_round_trip, ours, mask),
        note="ours reaches the disk (fsync) before its name does; torch.save does not wait",
    )  # fmt: skip
    plain = job.folder / "plain.safetensors"
    save_file({name: torch.from_numpy(array.copy()) for name, array in mask.items()}, plain)
    yield job.compare(
        f"read it ({subject.arch})", partial(read_mask, ours), "safetensors, bool", partial(_load, plain),
        equality=partial(_same_read, ours, plain), note="ours checks seal, shapes and counts",
    )  # fmt: skip


def _compressed(job: BenchJob, mask: Mask) -> Row:
    """The packed bits through zlib, against the least that any code needs if all that is known is a layer's density."""
    packed = pack(mask)
    small = {name: _smallest(bits.tobytes()) for name, bits in packed.items()}
    least = sum(_entropy(array) for array in mask.values()) / 8
    opened = all(zlib.decompress(small[name]) == packed[name].tobytes() for name in packed)
    goal = Goal("cost", 1.06) if job.full else None
    return job.counted(
        "its bits compressed (zlib)", sum(map(len, small.values())), "their entropy by layer", least,
        equality=same("bits", opened, "decompressed"), goal=goal,
    )  # fmt: skip


def _smallest(data: bytes) -> bytes:
    """Bits without a pattern are coded best by how often bytes occur; where filters died whole, strings help."""
    found = []
    for strategy in (zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY):
        coder = zlib.compressobj(_LEVEL, strategy=strategy)
        found.append(coder.compress(data) + coder.flush())
    return min(found, key=len)


def _entropy(alive: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
    """Bits for all weights of a layer of this density."""
    share = float(alive.mean())
    return 0.0 if share in (0, 1) else -alive.size * (share * math.log2(share) + (1 - share) * math.log2(1 - share))


def _write(path: Path, mask: Mask) -> None:
    write_mask(path, mask, {"round": 7})


def _save(path: Path, mask: Mask, kind: torch.dtype) -> None:
    torch.save({name: torch.from_numpy(array.copy()).to(kind) for name, array in mask.items()}, path)


def _load(path: Path) -> Mask:
    return Mask({name: alive.numpy() for name, alive in load_file(path).items()})


def _round_trip(path: Path, mask: Mask) -> Equality:
    _write(path, mask)
    return same("masks", read_mask(path)[0] == mask, f"{mask.kept:,} left")


def _same_read(ours: Path, theirs: Path) -> Equality:
    return same("masks", read_mask(ours)[0] == _load(theirs))
