"""Reconstruction steps, as the stages make them, against gradients everywhere.

Ours asks for gradients only where somebody learns, multiplies BatchNorms that stand still into the convolutions before
them, and keeps the memory that tensors free; the peer does nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.subjects import batch_of, network
from ticketcli.machine import keep_freed_memory
from ticketcli.models.decoder import build_decoder
from ticketcli.models.folding import folded
from ticketcli.recipe.configs import PruneConfig
from ticketcli.stages.objective import Objective

_BATCH, _T, _HINTS = 4, 0.1, ("layer3", "layer4")
_GOAL = Goal("cost", 0.70)
_CLOSE = 1e-4  # relative: convolutions may sum in another order when fewer gradients are asked for
Named = dict[str, Tensor]


def run(job: BenchJob) -> Iterator[Row]:
    """Stage ii, where the encoder learns and the decoder is frozen; stage i, where it is the other way round."""
    subject = network(job)
    encoder, side = subject.model.train(), subject.side
    decoder = build_decoder(encoder, image_size=side, hints=_HINTS, width=1.0, seed=0).eval()
    images, labels = batch_of(job.sized(_BATCH, at_least=2), side, 10)
    config = PruneConfig.parse({}, where="bench")
    frozen_decoder = folded(decoder)
    size = f"{subject.arch}, batch {len(images)}, {side} px"

    def second(frozen: bool) -> Named:
        keep_freed_memory(frozen)
        objective = Objective(config, encoder, frozen_decoder if frozen else decoder, _T, None)
        return _gradients((encoder, decoder), encoder, lambda: objective(images, labels)["loss"])

    yield job.compare(
        f"a step of stage ii, decoder frozen: {size}", partial(second, True), "all gradients", partial(second, False),
        equality=partial(_agree, second), goal=_GOAL,
    )  # fmt: skip
    encoder.eval()
    decoder.train()
    frozen_encoder = folded(encoder)

    def first(frozen: bool) -> Named:
        keep_freed_memory(frozen)
        taps_of = frozen_encoder if frozen else encoder
        return _gradients((encoder, decoder), decoder, lambda: _rebuilt(taps_of, decoder, images, frozen))

    yield job.compare(
        f"a step of stage i, encoder without grad: {size}", partial(first, True), "all gradients",
        partial(first, False), equality=partial(_agree, first), goal=_GOAL,
    )  # fmt: skip
    keep_freed_memory()


def _rebuilt(encoder: nn.Module, decoder: nn.Module, images: Tensor, frozen: bool) -> Tensor:
    with torch.set_grad_enabled(not frozen):
        taps = encoder.taps(images)  # type: ignore[operator]
    return F.mse_loss(decoder(taps, t=_T), images)


def _gradients(networks: tuple[nn.Module, ...], learner: nn.Module, loss: Callable[[], Tensor]) -> Named:
    """Forward and backward; the gradients of whom learns."""
    for one in networks:
        one.zero_grad(set_to_none=True)
    loss().backward()  # type: ignore[no-untyped-call]
    return {name: weight.grad for name, weight in learner.named_parameters() if weight.grad is not None}


def _agree(step: Callable[[bool], Named]) -> Equality:
    """The learner's gradients, to a relative difference that the order of sums explains."""
    found = [{name: value.clone() for name, value in step(frozen).items()} for frozen in (True, False)]
    alike = found[0].keys() == found[1].keys() and len(found[0]) > 0
    worst = max((_apart(found[0][name], found[1][name]) for name in found[0].keys() & found[1].keys()), default=0.0)
    return same("gradients", alike and worst < _CLOSE, f"largest difference {worst:.1g}")


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm().clamp_min(1e-12))
