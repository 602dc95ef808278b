"""Do neurons that are tied stay tied? A linear layer, updated a segment at a time or all at once, and trained.

``y_i = x_i + sum_j w_ij z_j``, where z_j is y_j for the segments before that of neuron i, and x_j for the others. Two
neurons are tied where they compute the same and are read with the same weights: an overlap singularity, out of which
gradient descent leads no network whose neurons are updated at once, for both get the same gradient. Where the second
reads the first, already updated, their gradients differ, and the tie breaks.

Source: Qiao et al., "Gradually Updated Neural Networks for Large-Scale Image Recognition", 2018, section 4.1 and its
supplement, whose equation 2 is written as ascent and whose equation 5 takes the slopes of neurons to be free of each
other; so the claim is measured here, and equation 3 is what is predicted. Not in it: the neurons of one segment, which
are tied for good.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ticketcli.errors import DivergedError, UsageError
from ticketcli.events import Progress
from ticketcli.tensors.seeds import generator
from ticketcli.theory.sizes import require_at_least, require_memory

Update = Literal["gradual", "same segment", "simultaneous"]
UPDATES: tuple[Update, ...] = ("gradual", "same segment", "simultaneous")
_WHERE = "theory.gunn"
_FRESH = 512  # inputs that gaps are measured on
_TIMED = 5  # steps


@dataclass(frozen=True)
class TiedNeurons:
    """The sizes of the experiment.

    Attributes:
        neurons: n of the layer; the tied ones are the two in the middle.
        outputs: that are read from them.
        samples: labelled inputs; all of them in each step.
        steps: of gradient descent on the layer's weights; the reading weights stand still.
        lr: its rate.
        seeds: layers, each with data of its own.
        first_seed: the others follow it.
    """

    neurons: int = 6
    outputs: int = 3
    samples: int = 32
    steps: int = 100
    lr: float = 0.02
    seeds: int = 6
    first_seed: int = 0

    def __post_init__(self) -> None:
        require_at_least(_WHERE, 1, outputs=self.outputs, samples=self.samples, steps=self.steps, seeds=self.seeds)
        require_at_least(_WHERE, 4, neurons=self.neurons)
        require_at_least(_WHERE, 0, first_seed=self.first_seed)
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise UsageError(f"lr is {self.lr:g}", where=f"{_WHERE}.lr", hint="a number above 0")
        require_memory(8 * (self.neurons + _FRESH + self.samples) * self.neurons * 4, _WHERE)

    @property
    def tied(self) -> tuple[int, int]:
        """The two neurons, p and q = p + 1."""
        p = self.neurons // 2 - 1
        return p, p + 1

    def segments(self, update: Update) -> tuple[int, ...]:
        """The sizes of the segments: of one neuron each, but for the tied ones in the second case, or one of all."""
        p, _ = self.tied
        if update == "simultaneous":
            return (self.neurons,)
        if update == "gradual":
            return (1,) * self.neurons
        return (*(1,) * p, 2, *(1,) * (self.neurons - p - 2))


@dataclass(frozen=True)
class Parting:
    """What came of the two neurons of one layer.

    Attributes:
        gaps: ``rms(y_q - y_p) / rms(y_p)`` on fresh inputs, before the first step and after each.
        predicted: the same after the first step by equation 3, which is of first order in the rate.
        losses: of the training, before each step and after the last.
    """

    gaps: tuple[float, ...]
    predicted: float
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Partings:
    """All layers of one kind of update, by seed."""

    update: Update
    found: tuple[Parting, ...]

    def gaps(self, step: int) -> list[float]:
        """After so many steps, by seed."""
        return [one.gaps[step] for one in self.found]


def measure(sizes: TiedNeurons) -> Generator[Progress, None, list[Partings]]:
    """Tie two neurons of a layer, train it, and see how far they part: one layer a seed and kind of update.

    All kinds of a seed see the same inputs and labels, and begin with the same weights but for those that tie.

    Yields:
        Progress, by layer.

    Returns:
        What came of each kind of update.

    Raises:
        DivergedError: a loss is not finite.
    """
    found: dict[Update, list[Parting]] = {update: [] for update in UPDATES}
    for number, seed in enumerate(range(sizes.first_seed, sizes.first_seed + sizes.seeds)):
        for place, update in enumerate(UPDATES):
            found[update].append(_parted(sizes, update, seed))
            yield Progress("layers", number * len(UPDATES) + place + 1, sizes.seeds * len(UPDATES))
    return [Partings(update, tuple(some)) for update, some in found.items()]


def _parted(sizes: TiedNeurons, update: Update, seed: int) -> Parting:
    segments, (p, q) = sizes.segments(update), sizes.tied
    weights, readers = tied(sizes, update, seed)
    inputs, labels, fresh = (
        torch.randn(shape, dtype=torch.float64, generator=generator(seed, "theory gunn", number))
        for number, shape in enumerate(
            [(sizes.samples, sizes.neurons), (sizes.samples, sizes.outputs), (_FRESH, sizes.neurons)], 3
        )
    )
    gaps, losses, predicted = [_gap(through(weights, fresh, segments), p, q)], list[float](), 0.0
    for step in range(sizes.steps + 1):
        weights.requires_grad_()
        loss = 0.5 * (through(weights, inputs, segments) @ readers.T - labels).square().sum(dim=1).mean()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise DivergedError("the loss is not finite", where=f"{_WHERE}, step {step}", hint="a smaller --lr")
        if step == sizes.steps:
            break
        (slope,) = torch.autograd.grad(loss, weights)
        weights = weights.detach()
        if step == 0:
            change = first_order(weights, -sizes.lr * slope, fresh, segments)
            predicted = _gap(through(weights, fresh, segments) + change, p, q)
        weights = weights - sizes.lr * slope
        gaps.append(_gap(through(weights, fresh, segments), p, q))
    return Parting(tuple(gaps), predicted, tuple(losses))


def tied(sizes: TiedNeurons, update: Update, seed: int) -> tuple[Tensor, Tensor]:
    """Weights [n, n] of the layer and [outputs, n] of those who read it, neurons p and q tied.

    Where q reads the updated p, it takes that and gives up its own input; where both read the same state, its row is
    that of p but for the two inputs that they add to.
    """
    (p, q), n = sizes.tied, sizes.neurons
    weights, readers = (
        torch.randn((rows, n), dtype=torch.float64, generator=generator(seed, "theory gunn", number)) / math.sqrt(n)
        for number, rows in ((1, n), (2, sizes.outputs))
    )
    weights[:, q] = weights[:, p]  # those behind read both alike, and so do the outputs
    readers[:, q] = readers[:, p]
    weights[q] = 0.0 if update == "gradual" else weights[p]
    weights[q, p] += 1.0
    weights[q, q] -= 1.0
    return weights, readers


def through(weights: Tensor, inputs: Tensor, segments: Sequence[int]) -> Tensor:
    """What the layer makes of inputs [N, n], a segment at a time: y, [N, n]."""
    state, start = list(torch.split(inputs, list(segments), dim=1)), 0
    for place, size in enumerate(segments):
        state[place] = state[place] + torch.cat(state, dim=1) @ weights[start : start + size].T
        start += size
    return torch.cat(state, dim=1)


def first_order(weights: Tensor, change: Tensor, inputs: Tensor, segments: Sequence[int]) -> Tensor:
    """How far y moves, to first order, where the weights move by `change` [n, n]: [N, n].

    Source: equation 3 of the supplement, for any change of the weights: ``dy_i = sum_j dw_ij z_j + sum_(j < i) w_ij
    dy_j``; with ``dw_ij = -rate g_i z_j`` the first sum is the paper's, but for the sign.
    """
    state, start = list(torch.split(inputs, list(segments), dim=1)), 0
    moved = [torch.zeros_like(part) for part in state]
    for place, size in enumerate(segments):
        rows = slice(start, start + size)
        read, read_moved = torch.cat(state, dim=1), torch.cat(moved, dim=1)
        moved[place] = read @ change[rows].T + read_moved @ weights[rows].T
        state[place] = state[place] + read @ weights[rows].T
        start += size
    return torch.cat(moved, dim=1)


def _gap(y: Tensor, p: int, q: int) -> float:
    """``rms(y_q - y_p) / rms(y_p)``."""
    y = y.detach()
    return float((y[:, q] - y[:, p]).norm() / y[:, p].norm())


def seconds_of(sizes: TiedNeurons) -> float:
    """About how long it will take here: a few steps are timed."""
    few = TiedNeurons(sizes.neurons, sizes.outputs, sizes.samples, _TIMED, sizes.lr, 1, sizes.first_seed)
    for _ in range(2):  # the first wakes the libraries up
        began = time.perf_counter()
        _parted(few, "gradual", sizes.first_seed)
    return (time.perf_counter() - began) / _TIMED * sizes.steps * sizes.seeds * len(UPDATES)
