"""The training loop against a plain loop of a few lines, on the same batches from the same start."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.bench.apart import Apart
from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.data.batches import Batches
from ticketcli.data.sets import load_splits
from ticketcli.models.architectures import build_encoder
from ticketcli.recipe.configs import PretrainConfig
from ticketcli.training.loop import Run, build_optimizer, train
from ticketcli.units import Duration

_STEPS_APART = """
import hashlib, sys, torch
from torch.nn import functional as F
from ticketcli.execution.machine import keep_freed_memory
from ticketcli.models.architectures import build_encoder
arch, side, batch, steps, memory = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
if memory == "keep":
    keep_freed_memory()
model = build_encoder(arch, n_classes=10, seed=0)
draw = torch.Generator().manual_seed(0)
images, labels = torch.randn(batch, 3, side, side, generator=draw), torch.randint(10, (batch,), generator=draw)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9)
for _ in sys.stdin:
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    print(hashlib.sha256(model.fc.weight.detach().numpy().tobytes()).hexdigest(), flush=True)
"""
_STEPS = 12
_CHECKED = 3
_CLOSE = 1e-3
_NEVER_SLOWER = Goal("cost", 1.01)
_NETS = (("resnet_small", 32, 64), ("resnet18", 64, 16))  # name, side in pixels, batch


def run(job: BenchJob) -> Iterator[Row]:
    """A step of a small net, where the loop's own cost would show, and of ResNet-18."""
    for arch, side, batch in _NETS if job.full else _NETS[:1]:
        config = PretrainConfig.parse({"data": "digits", "arch": arch, "batch": batch, "milestones": []}, where="bench")
        images = load_splits("digits", image_size=side)
        feed = Batches(
            images.train, normalization=images.normalization, batch=batch, seed=0, augment="shift",
            device=job.device,
        )  # fmt: skip
        model = build_encoder(arch, n_classes=10, seed=0).to(job.device)
        slow = config.model_copy(update={"lr": 1e-9})  # both stay in the state they start from
        steps = job.sized(_STEPS, at_least=3)
        yield job.compare(
            f"{steps} steps of {arch}, batch {batch}, {side} px",
            partial(_ours, model, feed, slow, steps),
            "a plain loop",
            partial(_plain, copy.deepcopy(model), feed, slow, steps),
            equality=partial(_end_alike, model, feed, config),
            goal=_NEVER_SLOWER,
        )
    if job.device.type == "cpu":
        yield from _memory(job)


def _memory(job: BenchJob) -> Iterator[Row]:
    """The same plain loop in two processes, of which one keeps the memory that its tensors free."""
    arch, side, batch = _NETS[0]
    steps = job.sized(_STEPS, at_least=3)
    words = arch, side, job.sized(2 * batch, at_least=4), steps
    with Apart(_STEPS_APART, *words, "keep") as ours, Apart(_STEPS_APART, *words, "plain") as theirs:
        yield job.compare(
            f"{steps} plain steps of {arch}, batch {words[2]}, freed memory kept", ours.go, "memory as glibc has it",
            theirs.go, equality=lambda: same("weights", ours.go() == theirs.go(), "by their digest"),
        )  # fmt: skip


def _ours(model: nn.Module, feed: Batches, config: PretrainConfig, steps: int) -> None:
    def loss(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(model(images), labels)}

    for _ in train(Run("bench", model, loss, feed, config, Duration(steps, "it"), {})):
        pass


def _plain(model: nn.Module, feed: Batches, config: PretrainConfig, steps: int) -> None:
    optimizer = build_optimizer(config, list(model.parameters()))
    model.train()
    for step in range(steps):
        epoch, place = divmod(step, feed.per_epoch)
        images, labels = feed.at(epoch, place)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _end_alike(model: nn.Module, feed: Batches, config: PretrainConfig) -> Equality:
    """A few steps at the real learning rate end in the same bits."""
    mine, other = copy.deepcopy(model), copy.deepcopy(model)
    _ours(mine, feed, config, _CHECKED)
    _plain(other, feed, config, _CHECKED)
    states = mine.state_dict(), other.state_dict()
    if next(model.parameters()).is_cuda:  # its sums come in another order each time
        close = all(torch.allclose(states[0][name], states[1][name], rtol=_CLOSE, atol=_CLOSE) for name in states[0])
        return same("weights", close, f"to {_CLOSE:g}")
    return same("weights", all(torch.equal(states[0][name], states[1][name]) for name in states[0]), "bit by bit")
