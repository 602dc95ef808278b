"""A training step on the CPU: bf16 autocast with channels last, against fp32 in the usual layout."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.subjects import batch_of, network
from ticketcli.checks.software import cpu_flags

_BATCH = 8
_GOAL = Goal("faster", 2)
_CLOSE = 0.02  # relative difference of the loss: bf16 has 8 bits
_HELPS = ("avx512_bf16", "amx_bf16")


def run(job: BenchJob) -> Iterator[Row]:
    """ResNet-50 at 224 pixels; where the CPU cannot multiply bf16, nobody should train in it."""
    subject = network(job)
    images, labels = batch_of(job.sized(_BATCH, at_least=2), subject.side, 10)
    what, peer = f"a step of {subject.arch} in bf16, batch {len(images)}, {subject.side} px", "fp32, NCHW"
    if not set(_HELPS) & cpu_flags():
        yield job.absent(what, peer, "this CPU has neither AVX512-BF16 nor AMX: bf16 gains nothing here", _GOAL)
        return
    last = copy.deepcopy(subject.model).to(memory_format=torch.channels_last)
    ours = step_of(last, images.to(memory_format=torch.channels_last), labels, bf16=True)
    theirs = step_of(subject.model, images, labels, bf16=False)
    yield job.compare(what, ours, peer, theirs, equality=partial(_agree, ours, theirs), goal=_GOAL)


def step_of(
    model: nn.Module, images: Tensor, labels: Tensor, *, bf16: bool, fused: bool = False
) -> Callable[[], Tensor]:
    """A step of SGD at a rate that changes nothing; gives the loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9, fused=fused)
    model.train()

    def step() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(model(images).float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    return step


def _agree(ours: Callable[[], Tensor], theirs: Callable[[], Tensor]) -> Equality:
    mine, other = float(ours()), float(theirs())
    apart = abs(mine - other) / abs(other)
    return same("the loss", apart < _CLOSE, f"{mine:.4f} and {other:.4f}")
