"""A training step on a GPU: bf16, channels last, compiled, fused SGD; against TF32 as loops are usually written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.subjects import batch_of, network
from ticketcli.bench.suites.train_cpu import step_of

_BATCH = 256
_CLOSE = 0.03  # relative difference of the loss


def run(job: BenchJob) -> Iterator[Row]:
    """Each call ends when the GPU has finished."""
    device = torch.device("cuda")
    subject = network(job)
    images, labels = (one.to(device) for one in batch_of(job.sized(_BATCH, at_least=8), subject.side, 10))
    what = f"a step of {subject.arch}, batch {len(images)}, {subject.side} px"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    plain = subject.model.to(device)
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    flat = images.to(memory_format=torch.channels_last)
    ours = _finished(step_of(_compiled(copy.deepcopy(last)), flat, labels, bf16=True, fused=True))
    peers: dict[str, tuple[Callable[[], Tensor], Goal]] = {
        "TF32, NCHW": (step_of(plain, images, labels, bf16=False), Goal("faster", 2.5)),
        "bf16, channels last, not compiled": (step_of(last, flat, labels, bf16=True, fused=True), Goal("faster", 0.95)),
    }
    for peer, (step, goal) in peers.items():
        theirs = _finished(step)
        yield job.compare(what, ours, peer, theirs, equality=partial(_agree, ours, theirs), goal=goal)


def _compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model)  # type: ignore[return-value]


def _finished(step: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def wait() -> Tensor:
        loss = step()
        torch.cuda.synchronize()
        return loss

    return wait


def _agree(ours: Callable[[], Tensor], theirs: Callable[[], Tensor]) -> Equality:
    mine, other = float(ours()), float(theirs())
    return same("the loss", abs(mine - other) / abs(other) < _CLOSE, f"{mine:.4f} and {other:.4f}")
