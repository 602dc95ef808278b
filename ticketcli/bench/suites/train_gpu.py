"""Training steps on a GPU: bf16, channels last, compiled, fused SGD, masked; against dense loops as usually written.

The ceilings come first: what the GPU multiplies and moves at most, so that a step can be held against it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.subjects import batch_of, network, sparse
from ticketcli.bench.suites.train_cpu import step_of
from ticketcli.models.architectures import prunable
from ticketcli.tensors.masking import MaskedWeights

_BATCH = 256
_SIDE = 8192  # of the matrices
_MOVED = 1 << 30  # bytes
_CLOSE = 0.03  # relative difference of the loss
_SPARSITY = 0.8


def run(job: BenchJob) -> Iterator[Row]:
    """The ceilings, then ResNet-50 in four forms."""
    yield from _ceilings(job)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    subject = network(job)
    images, labels = batch_of(job, job.sized(_BATCH, at_least=8), subject.side, 10)
    what = f"a masked step of {subject.arch}, batch {len(images)}, {subject.side} px"
    plain = subject.model
    mask = sparse({name: value.cpu() for name, value in subject.values().items()}, _SPARSITY)
    MaskedWeights(subject.weights, mask).apply()  # all start from the ticket's values
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    flat = images.to(memory_format=torch.channels_last)
    masked = copy.deepcopy(last)
    keep = MaskedWeights(prunable(masked), mask).mask_gradients
    ours = step_of(_compiled(masked), flat, labels, bf16=True, fused=True, before=keep)
    peers: dict[str, tuple[Callable[[], Tensor], Goal]] = {
        "dense: TF32, NCHW": (step_of(plain, images, labels, bf16=False), Goal("faster", 2.5)),
        "dense: bf16, NCHW": (step_of(copy.deepcopy(plain), images, labels, bf16=True), Goal("faster", 0.95)),
        "dense: bf16, channels last": (step_of(last, flat, labels, bf16=True, fused=True), Goal("faster", 0.95)),
        "dense: the same, compiled": (
            step_of(_compiled(copy.deepcopy(last)), flat, labels, bf16=True, fused=True),
            Goal("faster", 0.95),
        ),
    }
    for peer, (theirs, goal) in peers.items():
        yield job.compare(what, ours, peer, theirs, equality=partial(_agree, ours, theirs), goal=goal)


def _ceilings(job: BenchJob) -> Iterator[Row]:
    """A product of matrices in bf16 beside TF32, and a copy on the device beside one from the host."""
    side = job.sized(_SIDE, at_least=64)
    one = torch.ones(side, side, device=job.device)
    half = one.bfloat16()
    job_ = f"multiply matrices of {side} x {side} in bf16 ({2 * side**3 / 1e12:.3g} TFLOP)"
    yield job.compare(
        job_, lambda: half @ half, "in TF32", lambda: one @ one,
        equality=lambda: same("products", bool((half @ half == side).all() and (one @ one == side).all())),
    )  # fmt: skip
    n = job.sized(_MOVED, at_least=1 << 16)
    source, target = (torch.ones(n, dtype=torch.uint8, device=job.device) for _ in range(2))
    host = torch.ones(n, dtype=torch.uint8, pin_memory=job.device.type == "cuda")
    yield job.compare(
        f"copy {n / 1e9:.3g} GB on the device (read and written)", lambda: target.copy_(source), "from pinned memory",
        lambda: target.copy_(host), equality=lambda: same("bytes", torch.equal(target.copy_(host), source)),
    )  # fmt: skip


def _compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model)  # type: ignore[return-value]


def _agree(ours: Callable[[], Tensor], theirs: Callable[[], Tensor]) -> Equality:
    mine, other = float(ours()), float(theirs())
    return same("the loss", abs(mine - other) / abs(other) < _CLOSE, f"{mine:.4f} and {other:.4f}")
