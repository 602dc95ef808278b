"""What leaves a run: packed tickets beside plain safetensors, and ONNX Runtime's forward pass beside torch's.

The packed side does more: it gathers the living weights, checks, seals, and waits for the disk; the plain side writes
and reads every weight, and does none of it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.subjects import Subject, batch_of, network, sparse
from ticketcli.bench.table import HOW
from ticketcli.runtimes.onnx_graph import NEEDS, to_onnx
from ticketcli.runtimes.outputs import Work, logits_of
from ticketcli.runtimes.session import Session, compared
from ticketcli.store.mask import Mask
from ticketcli.store.packed import Values
from ticketcli.tensors.files import copy_of
from ticketcli.tensors.packed import read_packed, write_packed

_SIZES: tuple[tuple[float, Values, float | None], ...] = (
    (0.7903, "fp32", 0.32), (0.9141, "fp32", 0.20), (0.7903, "bf16", None), (0.9141, "bf16", None),
)  # fmt: skip
_BATCHES = (1, 16)
Named = dict[str, Tensor]


def run(job: BenchJob) -> Iterator[Row]:
    """Bytes; then writing and reading; then forward passes."""
    subject = network(job)
    tensors, weights = copy_of(subject.model), subject.values()
    plain, packed = job.folder / "plain.safetensors", job.folder / "ours.ticket.safetensors"
    save_file(tensors, plain)
    for sparsity, values, bound in _SIZES:
        mask = sparse(weights, sparsity)
        found = _round_trip(packed, tensors, mask, values)
        goal = Goal("cost", bound) if job.full and bound is not None else None
        yield job.counted(
            f"a packed ticket of {subject.arch}, {sparsity:.2%} sparse, {values}", packed.stat().st_size,
            "its dense file, fp32", plain.stat().st_size, equality=found, goal=goal,
        )  # fmt: skip
    mask = sparse(weights, _SIZES[0][0])
    note = "ours reaches the disk (fsync), reads back and compares, and is sealed; the plain file is only written"
    yield job.compare(
        f"pack and write it ({subject.arch}, {mask.sparsity:.0%} sparse)",
        partial(_write, packed, tensors, mask, "fp32"), "safetensors, dense", partial(save_file, tensors, plain),
        equality=partial(_round_trip, packed, tensors, mask, "fp32"), note=note,
    )  # fmt: skip
    _write(packed, tensors, mask, "fp32")
    yield job.compare(
        f"read and unpack it ({subject.arch})", partial(read_packed, packed), "safetensors, dense, into memory",
        partial(_read, plain), equality=partial(_comes_back, packed, tensors, mask, "fp32"),
        note="ours checks seal, names, counts and bits; the plain file is copied, for it is only mapped until then",
    )  # fmt: skip
    yield from _forward(job, subject, mask)


def _forward(job: BenchJob, subject: Subject, mask: Mask) -> Iterator[Row]:
    """ONNX Runtime beside torch, with as many threads, on the sparse network."""
    lacking = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    peer = "torch eager"
    if lacking:
        yield job.absent("a forward pass in ONNX Runtime", peer, f"not installed: {HOW['onnxruntime']}")
        return
    with torch.no_grad():
        for name, weight in subject.weights.items():
            weight.mul_(torch.from_numpy(mask[name].copy()))
    work = logits_of(subject.model, subject.side)
    session = Session(to_onnx(work, mask, where="bench").SerializeToString(), torch.get_num_threads())
    for n in _BATCHES if job.full else (2, 4):
        images, _ = batch_of(job, n, subject.side, 10)
        yield job.compare(
            f"a forward pass in ONNX Runtime ({subject.arch}, batch {n}, {subject.side} px)",
            partial(session, images.numpy()), peer, partial(work, images), equality=partial(_agree, work, session),
            note="BatchNorm is folded in ONNX; masked weights cost both as much as others",
        )  # fmt: skip


def _agree(work: Work, session: Session) -> Equality:
    found = compared(work, session)
    return same("logits", found.holds, f"largest difference {found.difference:.1g}")


def _read(path: Path) -> Named:
    return {name: value.clone() for name, value in load_file(path).items()}


def _write(path: Path, tensors: Named, mask: Mask, values: Values) -> None:
    write_packed(path, tensors, mask, values=values, about={"of": "ticket"})


def _round_trip(path: Path, tensors: Named, mask: Mask, values: Values) -> Equality:
    _write(path, tensors, mask, values)
    return _comes_back(path, tensors, mask, values)


def _comes_back(path: Path, tensors: Named, mask: Mask, values: Values) -> Equality:
    """Every tensor, bit by bit: what lives, rounded if so stored, +0.0 elsewhere, and all others as they were."""
    found, wanted = read_packed(path), dict(tensors)
    for name, alive in mask.items():
        exact = tensors[name] if values == "fp32" else tensors[name].bfloat16().float()
        wanted[name] = torch.where(torch.from_numpy(alive.copy()), exact, 0.0)
    good = found.mask == mask and found.tensors.keys() == wanted.keys()
    good = good and all(torch.equal(value, wanted[name]) for name, value in found.tensors.items())
    return same("tensors", good, f"{mask.kept:,} living weights and all others")
