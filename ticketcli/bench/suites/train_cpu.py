"""A training step on the CPU, in the ways that settings offer, against fp32 in the usual layout."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.subjects import batch_of, network
from ticketcli.checks.software import cpu_flags, fast_bf16
from ticketcli.recipe.configs import PretrainConfig
from ticketcli.training.loop import build_optimizer
from ticketcli.training.replicas import Replica

_BATCH = 8
_GOAL = Goal("faster", 2)
_CLOSE = 0.02  # relative difference of the loss: bf16 has 8 bits
_HELPS = ("avx512_bf16", "amx_bf16")
_FASTEST = {"precision": "bf16", "layout": "channels_last"}
_ALONE: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (  # settings, and those that they are compared with
    ({"layout": "channels_last"}, {}),
    ({"precision": "bf16"}, {}),
    ({"fused": True}, {}),
    ({"micro_batch": 4}, {}),
    ({"layout": "channels_last", "compile": True}, {"layout": "channels_last"}),
)


def run(job: BenchJob) -> Iterator[Row]:
    """ResNet-50 at 224 pixels; where the CPU cannot multiply bf16, nobody should train in it."""
    subject = network(job)
    images, labels = batch_of(job, job.sized(_BATCH, at_least=2), subject.side, 10)
    on = f"batch {len(images)}, {subject.side} px"
    usual = learning(subject.model, images, labels)

    def compare(settings: dict[str, Any], peer: dict[str, Any], goal: Goal | None = None) -> Row:
        ours, theirs = learner(settings), learner(peer) if peer else usual
        what = f"a step of {subject.arch}, {_words(settings)}, {on}"
        note = _compiling(ours) if settings.get("compile") else ""
        return job.compare(
            what, ours, _words(peer), theirs, equality=partial(_agree, ours, theirs), goal=goal, note=note
        )

    def learner(settings: dict[str, Any]) -> Callable[[], Tensor]:
        return learning(copy.deepcopy(subject.model), images, labels, **settings)

    if not set(_HELPS) & cpu_flags():
        what = f"a step of {subject.arch}, {_words(_FASTEST)}, {on}"
        why = "this CPU has neither AVX512-BF16 nor AMX: bf16 gains nothing here"
        yield job.absent(what, _words({}), why, _GOAL)
    else:
        yield compare(_FASTEST, {}, _GOAL if fast_bf16() else None)  # promised only where it is faster
    if job.full:
        for settings, peer in _ALONE:
            if settings.get("precision") != "bf16" or set(_HELPS) & cpu_flags():
                yield compare(settings, peer)


def _words(settings: dict[str, Any]) -> str:
    said = {
        "precision": "bf16", "layout": "channels last", "compile": "compiled", "fused": "fused SGD",
        "micro_batch": f"parts of {settings.get('micro_batch')}",
    }  # fmt: skip
    return ", ".join(said[name] for name in settings) or "fp32, NCHW"


def _compiling(step: Callable[[], Tensor]) -> str:
    """What the first step took, in which everything is compiled."""
    began = time.perf_counter()
    step()
    return f"the first step, with compiling: {time.perf_counter() - began:.0f} s"


def learning(model: nn.Module, images: Tensor, labels: Tensor, **settings: Any) -> Callable[[], Tensor]:
    """A step of the training loop under these settings, at a rate that changes nothing; gives the loss."""
    config = PretrainConfig.parse({"data": "digits", "lr": 1e-9, "milestones": [], **settings}, where="bench")
    if config.layout == "channels_last":
        model.to(memory_format=torch.channels_last)
    model.train()
    optimizer = build_optimizer(config, list(model.parameters()))
    replica = Replica(model, lambda x, y: {"loss": F.cross_entropy(model(x), y)}, 1.0, config)

    def step() -> Tensor:
        optimizer.zero_grad()
        found = replica.learn((images, labels))
        optimizer.step()
        return found["loss"]

    return step


def step_of(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    bf16: bool,
    fused: bool = False,
    before: Callable[[], None] | None = None,
) -> Callable[[], Tensor]:
    """A step of SGD at a rate that changes nothing, with `before` called ahead of the optimiser; gives the loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9, fused=fused)
    model.train()

    def step() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(model(images).float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        if before is not None:
            before()
        optimizer.step()
        return loss.detach()

    return step


def _agree(ours: Callable[[], Tensor], theirs: Callable[[], Tensor]) -> Equality:
    mine, other = float(ours()), float(theirs())
    apart = abs(mine - other) / abs(other)
    return same("the loss", apart < _CLOSE, f"{mine:.4f} and {other:.4f}")
