"""Theorem 3.1 as an experiment: kernels with small sums are pruned from a linear convolutional network.

The network is a chain of circular convolutions without anything between them, so that each Fourier mode of the input
passes through alone: ``y(k) = W(k) x(k)`` with ``W(k) = sum_t W_t exp(2 pi i t k / D)``. Average pooling reads mode 0.

Source: the paper, section 3.2 and appendix A. Not in it: the predictions, and the controls.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ticketcli.events import Progress
from ticketcli.tensors.seeds import generator
from ticketcli.theory import limits
from ticketcli.theory.limits import RULES, Rule
from ticketcli.theory.sizes import require_at_least, require_kernel, require_memory, require_shares

_WHERE = "theory.lcnn"
_COPIES = 3  # of a layer at once: whole, masked, and its magnitudes


@dataclass(frozen=True)
class Lcnn:
    """The sizes of the experiment; input and output have `width` channels too.

    Attributes:
        width: channels of every layer.
        layers: convolutions.
        s: a kernel has 2 s + 1 taps; 0 is a control, for then a kernel is its own sum.
        length: positions, on a circle.
        p: shares of kernels to prune.
        seeds: networks, each with an input of its own.
        first_seed: the others follow it.
        rules: which kernels fall.
    """

    width: int = 256
    layers: int = 3
    s: int = 1
    length: int = 32
    p: tuple[float, ...] = (0.01, 0.02, 0.05, 0.08, 0.11)
    seeds: int = 6
    first_seed: int = 0
    rules: tuple[Rule, ...] = RULES

    def __post_init__(self) -> None:
        require_shares(self.p, _WHERE)
        require_at_least(_WHERE, 1, width=self.width, layers=self.layers, seeds=self.seeds)
        require_at_least(_WHERE, 0, first_seed=self.first_seed)
        require_kernel(self.s, self.length, _WHERE)
        require_memory(8 * (self.layers + _COPIES) * self.width**2 * (2 * self.s + 1), _WHERE)


@dataclass(frozen=True)
class Loss:
    """What a rule did to one network.

    Attributes:
        pruned: the share of kernels that fell.
        r_pool: relative error of the pooled feature, ``|P C - P C'| / |P C|``.
        r_map: relative error of the whole map.
        predicted_pool, predicted_map: both, in the limit of infinite width, for this input.
        most_pool, least_map: the theorem's bounds.
    """

    pruned: float
    r_pool: float
    r_map: float
    predicted_pool: float
    predicted_map: float
    most_pool: float
    least_map: float

    @property
    def ratio(self) -> float:
        """1 where pooled feature and map suffer alike; 0 where nothing fell."""
        return self.r_pool / self.r_map if self.r_map else 0.0

    @property
    def holds(self) -> bool:
        """Whether both bounds do."""
        return self.r_pool <= self.most_pool and self.r_map >= self.least_map


@dataclass(frozen=True)
class Damage:
    """What a rule did at one p, by seed."""

    rule: Rule
    p: float
    losses: tuple[Loss, ...]

    def values(self, name: str) -> list[float]:
        """One of a loss's numbers, by seed."""
        return [float(getattr(loss, name)) for loss in self.losses]

    def mean(self, name: str) -> float:
        """Over the seeds."""
        return sum(self.values(name)) / len(self.losses)

    @property
    def holds(self) -> bool:
        """Whether the theorem's bounds do: of the pooled feature in the mean, of the map on every seed.

        The pooled feature is one vector of the spectrum, and varies much more from seed to seed than the map.
        """
        return self.mean("r_pool") <= self.mean("most_pool") and all(
            loss.r_map >= loss.least_map for loss in self.losses
        )


@dataclass(frozen=True)
class _Network:
    """Layers [width, width, taps], and the spectrum of the input: complex [width, modes], and each mode's share."""

    layers: list[Tensor]
    spectrum: Tensor
    shares: list[float]


def measure(sizes: Lcnn) -> Generator[Progress, None, list[Damage]]:
    """Prune one network a seed by each rule at each p.

    The controls see the same networks and inputs, and drop as many kernels of each layer as the rule of the theorem
    does; but `1x1` has networks of its own, whose kernels have one tap.

    Yields:
        Progress, by seed.

    Returns:
        A damage for each rule and each p, in that order.
    """
    found: dict[tuple[Rule, float], list[Loss]] = {(rule, p): [] for rule in sizes.rules for p in sizes.p}
    for done in range(sizes.seeds):
        for key, loss in _on_seed(sizes, sizes.first_seed + done):
            found[key].append(loss)
        yield Progress("networks", done + 1, sizes.seeds)
    return [Damage(rule, p, tuple(losses)) for (rule, p), losses in found.items()]


def _on_seed(sizes: Lcnn, seed: int) -> Iterator[tuple[tuple[Rule, float], Loss]]:
    reaches: dict[int, list[Rule]] = {}  # s of the network -> the rules that are tried on it
    for rule in sizes.rules:
        reaches.setdefault(0 if rule == "1x1" else sizes.s, []).append(rule)
    for s, rules in reaches.items():
        network = _drawn(sizes, s, seed)
        whole = _through(network.layers, network.spectrum, sizes.length)
        for rule in rules:
            for p in sizes.p:
                yield (rule, p), _loss(sizes, seed, network, whole, rule, p)


def _drawn(sizes: Lcnn, s: int, seed: int) -> _Network:
    """Weights of variance 1 / (width taps), so that a layer leaves sizes as they are; an input of white noise."""
    taps = 2 * s + 1
    layers = [
        torch.randn((sizes.width, sizes.width, taps), dtype=torch.float64,
                    generator=generator(seed, "theory lcnn layer", taps, number))
        / math.sqrt(sizes.width * taps)
        for number in range(sizes.layers)
    ]  # fmt: skip
    draw = generator(seed, "theory lcnn input")
    spectrum = torch.fft.rfft(torch.randn((sizes.width, sizes.length), dtype=torch.float64, generator=draw))
    energy = _energies(spectrum, sizes.length)
    return _Network(layers, spectrum, (energy / energy.sum()).tolist())


def _energies(spectrum: Tensor, length: int) -> Tensor:
    """What each mode has of the squared norm, up to a factor: a mode that stands for its conjugate too counts twice."""
    twice = torch.full((spectrum.shape[1],), 2.0, dtype=torch.float64)
    twice[0] = 1
    if length % 2 == 0:
        twice[-1] = 1
    return spectrum.abs().square().sum(dim=0) * twice


def _through(layers: list[Tensor], spectrum: Tensor, length: int) -> Tensor:
    """The chain of circular convolutions ``y_ij = sum_kt w_ikt x_k,j+t``, mode by mode: complex [width, modes]."""
    modes = torch.arange(spectrum.shape[1], dtype=torch.float64)
    for layer in layers:
        s = layer.shape[2] // 2
        total = torch.zeros_like(spectrum)
        for tap in range(-s, s + 1):
            turn = torch.polar(torch.ones_like(modes), 2 * math.pi * tap * modes / length)
            parts = torch.view_as_real(spectrum * turn).flatten(1)  # [width, 2 modes]: the weights are real
            total += torch.view_as_complex((layer[:, :, tap + s] @ parts).view(*spectrum.shape, 2))
        spectrum = total
    return spectrum


def _loss(sizes: Lcnn, seed: int, network: _Network, whole: Tensor, rule: Rule, p: float) -> Loss:
    falls = [_falling(layer, rule, p, seed, number) for number, layer in enumerate(network.layers)]
    masked = [layer * ~fall[:, :, None] for layer, fall in zip(network.layers, falls, strict=True)]
    off = _energies(_through(masked, network.spectrum, sizes.length) - whole, sizes.length)
    there = _energies(whole, sizes.length)
    s, shares = network.layers[0].shape[2] // 2, network.shares
    pruned = sum(float(fall.double().mean()) for fall in falls) / len(falls)
    return Loss(
        pruned,
        math.sqrt(float(off[0] / there[0])),
        math.sqrt(float(off.sum() / there.sum())),
        *limits.predicted(rule, p, layers=sizes.layers, s=s, length=sizes.length, shares=shares),
        limits.pool_bound(p, sizes.layers),
        limits.map_bound(p, s, sizes.length, shares),
    )


def _falling(layer: Tensor, rule: Rule, p: float, seed: int, number: int) -> Tensor:
    """Which kernels of a layer fall: bool [width, width]."""
    taps = layer.shape[2]
    sums = layer.sum(dim=2).abs()
    small = sums < limits.threshold(p) * math.sqrt(taps) / math.sqrt(layer.shape[1] * taps)
    if rule in ("kernel-sum", "1x1"):
        return small
    n = int(small.sum())
    if rule == "l2":
        scores = layer.square().sum(dim=2)
    else:
        draw = generator(seed, "theory lcnn random", number)
        scores = torch.rand(sums.shape, dtype=torch.float64, generator=draw)
    falls = torch.zeros(scores.numel(), dtype=torch.bool)
    falls[scores.flatten().argsort(stable=True)[:n]] = True
    return falls.view(scores.shape)


def seconds_of(sizes: Lcnn) -> float:
    """About how long it will take here: one layer is drawn, pruned and passed, and that multiplied out."""
    small = replace(sizes, layers=1, p=sizes.p[:1], seeds=1, rules=sizes.rules[:1])
    for _ in range(2):  # the first wakes the libraries up
        began = time.perf_counter()
        list(_on_seed(small, 0))
    return (time.perf_counter() - began) * sizes.layers * sizes.seeds * len(sizes.p) * len(sizes.rules)
