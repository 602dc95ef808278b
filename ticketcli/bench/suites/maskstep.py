"""Keeping masked weights at zero: what it adds to a training step, beside the ways of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.subjects import Subject, batch_of, network, sparse
from ticketcli.store.mask import Mask
from ticketcli.tensors.masking import MaskedWeights

_BATCH = 32  # what a process has of the paper's 256, on eight GPUs
_SHARE = 0.005  # of a dense step


def run(job: BenchJob) -> Iterator[Row]:
    """Masking alone against a dense step, torch's hooks, and loops over tensors."""
    subject = network(job)
    mask = sparse(subject.values())
    masked = MaskedWeights(subject.weights, mask)
    images, labels = batch_of(job, job.sized(_BATCH, at_least=2), subject.side, 10)
    optimizer = torch.optim.SGD(subject.model.parameters(), lr=1e-9, momentum=0.9)

    def dense_step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(subject.model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    dense_step()
    what = f"mask the gradients of {subject.arch}, {mask.sparsity:.0%} sparse"
    peer = f"a dense step, batch {len(images)}, {subject.side} px"
    check = partial(_masks_alone, subject, mask, masked.mask_gradients)
    note = "the share of a dense step that masking adds: 0.005 is a step of 1.005 times the dense one"
    yield job.compare(
        what, masked.mask_gradients, peer, dense_step, equality=check, goal=Goal("cost", _SHARE), note=note
    )
    copies = [weight.detach().clone() for weight in subject.weights.values()]
    copy = partial(torch._foreach_copy_, copies, [weight.detach() for weight in subject.weights.values()])
    note = "no peer, but what memory allows: a copy reads and writes as much"
    yield job.compare(what, masked.mask_gradients, "a copy of the weights", copy, equality=check, note=note)
    ways: dict[str, tuple[Callable[[], None], Goal | None]] = {
        "torch.nn.utils.prune (hooks)": (_hooks(job, subject, mask), Goal("cost", 0.15)),
        "a loop over tensors": (partial(_loop, subject, _floats(subject, mask)), None),
        "a loop with bool masks": (partial(_loop, subject, _bools(subject, mask)), None),
    }
    for name, (theirs, goal) in ways.items():
        check = partial(_same_gradients, subject, masked.mask_gradients, theirs)
        yield job.compare(what, masked.mask_gradients, name, theirs, equality=check, goal=goal)


def _draw(subject: Subject) -> dict[str, Tensor]:
    """Fresh gradients, the same each time."""
    torch_draw = torch.Generator().manual_seed(1)
    drawn = {
        name: torch.randn(weight.shape, generator=torch_draw).to(weight.device)
        for name, weight in subject.weights.items()
    }
    for name, weight in subject.weights.items():
        weight.grad = drawn[name].clone()
    return drawn


def _masks_alone(subject: Subject, mask: Mask, ours: Callable[[], None]) -> Equality:
    """What lives has the dense gradient, what is dead has none."""
    drawn = _draw(subject)
    ours()
    alive = {name: torch.from_numpy(mask[name].copy()).to(subject.weights[name].device) for name in mask}
    good = all(
        torch.equal(weight.grad if weight.grad is not None else drawn[name], torch.where(alive[name], drawn[name], 0.0))
        for name, weight in subject.weights.items()
    )
    return same("living gradients", good, f"{mask.kept:,} of {mask.total:,}")


def _same_gradients(subject: Subject, ours: Callable[[], None], theirs: Callable[[], None]) -> Equality:
    found = []
    for way in (ours, theirs):
        _draw(subject)
        way()
        found.append([weight.grad.clone() for weight in subject.weights.values() if weight.grad is not None])
    return same("gradients", all(torch.equal(a, b) for a, b in zip(*found, strict=True)))


def _floats(subject: Subject, mask: Mask) -> list[Tensor]:
    return [torch.from_numpy(mask[name].copy()).to(weight) for name, weight in subject.weights.items()]


def _bools(subject: Subject, mask: Mask) -> list[Tensor]:
    return [torch.from_numpy(mask[name].copy()).to(weight.device) for name, weight in subject.weights.items()]


def _loop(subject: Subject, factors: list[Tensor]) -> None:
    for weight, factor in zip(subject.weights.values(), factors, strict=True):
        assert weight.grad is not None
        weight.grad.mul_(factor)


def _hooks(job: BenchJob, subject: Subject, mask: Mask) -> Callable[[], None]:
    """All that torch's pruning adds to a step: a product before each layer's forward pass, and one going back."""
    other = network(job, subject.arch).model
    layers: list[nn.Module] = []
    for name in subject.weights:
        layer = other.get_submodule(name.removesuffix(".weight"))
        prune.custom_from_mask(layer, "weight", torch.from_numpy(mask[name].copy()).to(job.device))  # type: ignore[no-untyped-call]
        layers.append(layer)
    own = list(subject.weights.values())

    def step() -> None:
        for layer in layers:
            for hook in layer._forward_pre_hooks.values():
                hook(layer, ())
        masked = [layer.weight for layer in layers]
        torch.autograd.backward(masked, [weight.grad for weight in own])  # type: ignore[arg-type]
        for layer, weight in zip(layers, own, strict=True):
            weight.grad, layer.weight_orig.grad = layer.weight_orig.grad, None  # type: ignore[assignment]

    return step
