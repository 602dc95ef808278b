"""A GUNN's training step: one memory for all states of a layer, against a copy of the state for every segment.

And against a residual network of as many parameters, which is no peer but says what the sequence of segments costs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.subjects import batch_of
from ticketcli.models.architectures import build_encoder
from ticketcli.models.cost import cost_of, parameters
from ticketcli.models.gunn_layer import GunnLayer
from ticketcli.models.resnet import ResNet
from ticketcli.models.resnet_shape import Shape
from ticketcli.tensors.seeds import generator

SIDE, CLASSES = 32, 10
AS_LARGE_AS = {
    "gunn15": Shape((3, 3, 3), (39, 78, 156), stem=3),
    "gunn_small": Shape((1, 1, 1, 1), (16, 32, 64, 128), stem=3),
}
_AS_LARGE = 0.05  # relative difference of the numbers of parameters
_AS_FAST, _LESS, _CONSTANT = Goal("cost", 1.05), Goal("cost", 0.75), Goal("cost", 1.1)
_FEW, _MANY = "gunn:cifar-16-240/10", "gunn:cifar-16-240/60"  # of one layer, few and many segments
_KINDS = _SHARED, _COPIES, _RESIDUAL = "one memory", "copies", "residual"


def run(job: BenchJob) -> Iterator[Row]:
    """Time and memory of a step."""
    arch = "gunn15" if job.full else "gunn_small"
    images, labels = batch_of(job, job.sized(16 if job.device.type == "cpu" else 128, at_least=2), SIDE, CLASSES)
    steps = {kind: partial(_step, _network(arch, kind).to(job.device), images, labels) for kind in _KINDS}
    residual, ours = _network(arch, _RESIDUAL), _network(arch, _SHARED)
    what = f"a step of {arch}, batch {len(images)}, {SIDE} px"
    alike, as_large = partial(_same_gradients, arch, images, labels), partial(_as_large, ours, residual)
    copies, peer = "a copy of the state a segment", f"a ResNet of {parameters(residual):,} parameters"
    note = f"{_macs(ours):.0f} M multiply-adds an image, the ResNet {_macs(residual):.0f} M"
    yield job.compare(what, steps[_SHARED], copies, steps[_COPIES], equality=alike, goal=_AS_FAST)
    yield job.compare(what, steps[_SHARED], peer, steps[_RESIDUAL], equality=as_large, note=note)
    cases = [*((arch, kind) for kind in _KINDS), *((one, kind) for kind in (_SHARED, _COPIES) for one in (_MANY, _FEW))]
    held = {case: _peak(job, *case, len(images)) for case in cases}
    goal = _LESS if job.full else None  # the layers of a small network have few segments, and so has a small batch
    memory, shared = f"memory of {what}", held[arch, _SHARED]
    yield job.counted(memory, shared, copies, held[arch, _COPIES], equality=alike(), goal=goal)
    yield job.counted(memory, shared, peer, held[arch, _RESIDUAL], equality=as_large())
    for kind in (_SHARED, _COPIES):  # six times as many segments of the same channels
        yield job.counted(
            f"memory of a layer of 240 channels in 60 segments, {kind}", held[_MANY, kind], "in 10 segments",
            held[_FEW, kind], equality=alike(), goal=_CONSTANT if job.full and kind == _SHARED else None,
        )  # fmt: skip


def _network(arch: str, kind: str) -> nn.Module:
    if kind == _RESIDUAL:
        return ResNet(AS_LARGE_AS[arch], CLASSES, generator(0, "bench/gunn"))
    model = build_encoder(arch, n_classes=CLASSES, seed=0)
    for part in model.modules():
        if isinstance(part, GunnLayer):
            part.keeps_copies = kind == _COPIES
    return model


def _step(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Forward and backward."""
    model.zero_grad(set_to_none=True)
    F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]


def _peak(job: BenchJob, arch: str, kind: str, n: int) -> int:
    """Bytes that a step holds at its peak, over those of the network: gradients of the weights, and all maps."""
    model = _network(arch, kind).to(job.device)
    work = partial(_step, model, *batch_of(job, n, SIDE, CLASSES))
    work()
    model.zero_grad(set_to_none=True)
    if job.device.type == "cpu":
        return _asked_for(work)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _asked_for(work: Callable[[], None]) -> int:
    """By torch's own account of what it asks for and gives back, tensor by tensor: the same each time."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it tells its own steps
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    assert seen.profiler is not None
    assert seen.profiler.kineto_results is not None
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return int(max(accumulate((event.nbytes() for event in events), initial=0)))


def _same_gradients(arch: str, images: Tensor, labels: Tensor) -> Equality:
    """Of all weights, and the statistics of all BatchNorms; bit by bit on a CPU."""
    found = []
    for kind in (_SHARED, _COPIES):
        model = _network(arch, kind).to(images.device)
        _step(model, images, labels)
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        found.append([*gradients, *(buffer for buffer in model.buffers() if buffer.is_floating_point())])
    if images.is_cuda:  # its sums come in another order each time
        gap = max(float((a - b).norm() / b.norm().clamp_min(1e-12)) for a, b in zip(*found, strict=True))
        return same("gradients and statistics", gap < 1e-4, f"largest difference {gap:.1g}")
    return same("gradients and statistics", all(map(torch.equal, *found)), "bit by bit")


def _as_large(one: nn.Module, other: nn.Module) -> Equality:
    """Networks of different kinds compute different things; they are to be of one size."""
    ratio = parameters(one) / parameters(other)
    return same("numbers of parameters", abs(ratio - 1) <= _AS_LARGE, f"{ratio:.3f} times as many")


def _macs(model: nn.Module) -> float:
    return cost_of(model, SIDE)["macs"] / 1e6  # type: ignore[arg-type]
