"""Theorem 3.2 as an experiment: a ReLU network whose filters are pruned, reset, and trained again on the same labels.

``f(x) = (1 / sqrt(m)) (1 / D) sum_r a_r sum_k relu(<W_r, phi_k(x)>)``, of which only W is trained, by gradient descent
on half the squared error over all n samples. The dense network is trained from W_0 to W_pre; the share p of its filters
is dropped, the others are set back to W_0, get new signs a, and are trained to W_fin. How far W_fin, with zeros for the
dropped filters, is from W_pre is compared with the theorem's p / 2.

Source: the paper, section 3.3 and appendix B. Equation 50 writes the pruned network's prefactor as sqrt(q) / sqrt(M D),
which is read as sqrt(q) / (sqrt(M) D) = 1 / (sqrt(m) D), without which nothing that follows there fits together.
Not in it: which filters are dropped, here any; the controls; and the other distances.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from ticketcli.errors import DivergedError, UsageError
from ticketcli.events import Progress
from ticketcli.tensors.seeds import derive, generator, permutation
from ticketcli.theory.distances import Distances, distances
from ticketcli.theory.gram import Sample, drawn, limit_gram, signs
from ticketcli.theory.sizes import require_at_least, require_kernel, require_memory, require_shares

_WHERE = "theory.orcnn"
_ENOUGH = 1e-6  # of the first squared residual
_MOST_STEPS = 20_000
_RATE = 0.5  # over the largest eigenvalue of the limit's Gram matrix; gradient descent is stable below 2
_TIMED = 10  # steps
_COPIES = 6  # of the activations at once


@dataclass(frozen=True)
class Orcnn:
    """The sizes of the experiment.

    Attributes:
        width: filters of the dense network; the theorem is about very many.
        channels: of the input.
        s: a filter has 2 s + 1 taps.
        length: positions, on a circle.
        samples: labelled inputs.
        p: shares of the filters to prune.
        seeds: networks, each with data of its own.
        first_seed: the others follow it.
    """

    width: int = 4000
    channels: int = 3
    s: int = 1
    length: int = 8
    samples: int = 5
    p: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    seeds: int = 6
    first_seed: int = 0

    def __post_init__(self) -> None:
        require_shares(self.p, _WHERE)
        require_at_least(_WHERE, 1, channels=self.channels, samples=self.samples, seeds=self.seeds)
        require_at_least(_WHERE, 2, width=self.width)
        require_at_least(_WHERE, 0, first_seed=self.first_seed)
        require_kernel(self.s, self.length, _WHERE)
        if self.kept(self.p[-1]) < 1:
            hint = "a greater --width, or leave that p out"
            raise UsageError(f"no filter is left at p {self.p[-1]:g}", where=f"{_WHERE}.p", hint=hint)
        activations = self.samples * self.length * self.width
        require_memory(8 * _COPIES * (activations + self.width * self.channels * (2 * self.s + 1)), _WHERE)

    def kept(self, p: float) -> int:
        """How many filters are left."""
        return round((1 - p) * self.width)


@dataclass(frozen=True)
class Descent:
    """How a training went.

    Attributes:
        steps: of gradient descent.
        converged: the squared residual fell to 1e-6 of the first.
        drift: ``|W - W_0| / |W_0|`` at its end.
        residuals: the squared residual over the first, before each step and after the last.
        allowed: what lemma B.5 lets each be: ``(1 - rate lambda_0 / 2)^step``.
    """

    steps: int
    converged: bool
    drift: float
    residuals: tuple[float, ...]
    allowed: tuple[float, ...]

    @property
    def slack(self) -> float:
        """The largest residual over what is allowed, of all after the first step: at most 1 if the lemma holds."""
        pairs = zip(self.residuals[1:], self.allowed[1:], strict=True)
        return max((found / most for found, most in pairs), default=1.0)


@dataclass(frozen=True)
class Finetuned:
    """What was pruned at one p, reset and trained.

    Attributes:
        trained: how far W_fin is from W_pre.
        untrained: the control: the same of the filters as they were drawn, neither network trained.
        descent: of the finetuning.
    """

    trained: Distances
    untrained: Distances
    descent: Descent


@dataclass(frozen=True)
class Pretrained:
    """A dense network of one seed, and what was made of it.

    Attributes:
        smallest, largest: eigenvalues of the Gram matrix in the limit of infinite width.
        rate: of gradient descent.
        descent: of the dense network's training.
        finetuned: by p.
    """

    smallest: float
    largest: float
    rate: float
    descent: Descent
    finetuned: dict[float, Finetuned]


def predicted(p: float) -> float:
    """The distance in the limit of infinite width, where training moves no filter: at least p / 2.

    Source: the paper, proof of theorem 3.2; 2 sinh(u) >= 2 u with u = -log(1 - p) / 4.
    """
    return float((1 - p) ** -0.25 - (1 - p) ** 0.25)


def measure(sizes: Orcnn) -> Generator[Progress, None, list[Pretrained]]:
    """Train one dense network a seed, and prune, reset and train it at each p.

    Yields:
        Progress, by training.

    Returns:
        What came of each seed.

    Raises:
        DivergedError: a residual is not finite.
    """
    found: list[Pretrained] = []
    done, total = 0, sizes.seeds * (1 + len(sizes.p))
    for seed in range(sizes.first_seed, sizes.first_seed + sizes.seeds):
        found.append((yield from _on_seed(sizes, seed, done, total)))
        done += 1 + len(sizes.p)
    return found


def _on_seed(sizes: Orcnn, seed: int, done: int, total: int) -> Generator[Progress, None, Pretrained]:
    sample = drawn(sizes.samples, sizes.channels, sizes.s, sizes.length, seed)
    eigenvalues = torch.linalg.eigvalsh(limit_gram(sample))
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    first = torch.randn((sizes.width, sample.patches.shape[2]), dtype=torch.float64,
                        generator=generator(seed, "theory orcnn filters"))  # fmt: skip
    rate = _RATE / largest
    head = signs(sizes.width, seed, "theory orcnn head")
    dense, descent = train(first, head, sample, sizes.width, rate, smallest)
    made = Pretrained(smallest, largest, rate, descent, {})
    yield Progress("trainings", done + 1, total)
    order = torch.from_numpy(permutation(derive(seed, "theory orcnn pruned"), sizes.width))
    for number, p in enumerate(sizes.p):
        left = order[: sizes.kept(p)]
        q = len(left) / sizes.width
        head = signs(len(left), seed, "theory orcnn new head", number)
        tuned, descent = train(first[left], head, sample, sizes.width, rate / q, q * smallest)
        made.finetuned[p] = Finetuned(
            distances(_padded(tuned, left, sizes.width), dense),
            distances(_padded(first[left], left, sizes.width), first),
            descent,
        )
        yield Progress("trainings", done + 2 + number, total)
    return made


def _padded(filters: Tensor, places: Tensor, width: int) -> Tensor:
    """Filters [M, d] at their places among [width, d], zeros elsewhere."""
    return torch.zeros((width, filters.shape[1]), dtype=filters.dtype).index_copy_(0, places, filters)


def train(
    first: Tensor, head: Tensor, sample: Sample, width: int, rate: float, smallest: float, most: int = _MOST_STEPS
) -> tuple[Tensor, Descent]:
    """Gradient descent on the filters, all samples in each step, until the squared residual is 1e-6 of the first.

    Args:
        first: the filters at the start, W_0, [M, d].
        head: the signs a, [M].
        sample: what is learnt.
        width: m of the prefactor 1 / (sqrt(m) D), of the dense network also where filters are gone.
        rate: the step's length.
        smallest: eigenvalue of this network's Gram matrix in the limit, lambda_0 of lemma B.5.
        most: steps.

    Returns:
        The filters, and how it went.

    Raises:
        DivergedError: a residual is not finite.
    """
    filters = first.clone()
    n, positions, _ = sample.patches.shape
    patches, scale = sample.flat, head / (math.sqrt(width) * positions)  # [n positions, d], [M]
    squares: list[float] = []
    for step in range(most + 1):
        before = patches @ filters.T  # [n positions, M]
        residual = before.clamp_min(0).view(n, positions, -1).sum(dim=1) @ scale - sample.labels  # [n]
        squares.append(float(residual @ residual))
        if not math.isfinite(squares[-1]):
            raise DivergedError("the residual is not finite", where=f"{_WHERE}, step {step}", hint="a greater --width")
        if squares[-1] <= _ENOUGH * squares[0] or step == most:
            break
        active = (before > 0) * residual.repeat_interleave(positions)[:, None]
        filters -= rate * (active.T @ patches) * scale[:, None]
    drift = float((filters - first).norm() / first.norm())
    residuals = tuple(square / squares[0] for square in squares)
    allowed = tuple((1 - rate * smallest / 2) ** step for step in range(len(squares)))
    return filters, Descent(len(squares) - 1, residuals[-1] <= _ENOUGH, drift, residuals, allowed)


def seconds_of(sizes: Orcnn) -> float:
    """About how long it will take here: a few steps are timed, and multiplied by those that the limit predicts."""
    sample = drawn(sizes.samples, sizes.channels, sizes.s, sizes.length, sizes.first_seed)
    eigenvalues = torch.linalg.eigvalsh(limit_gram(sample))
    filters = torch.ones((sizes.width, sample.patches.shape[2]), dtype=torch.float64)
    head = torch.zeros(sizes.width, dtype=torch.float64)  # nothing is learnt, so that no step is the last
    for _ in range(2):  # the first wakes the libraries up
        began = time.perf_counter()
        train(filters, head, sample, sizes.width, 0.0, 0.0, most=_TIMED)
    steps = math.log(_ENOUGH) / (2 * math.log1p(-_RATE * float(eigenvalues[0] / eigenvalues[-1])))
    trainings = sizes.seeds * (1 + sum(1 - p for p in sizes.p))
    return (time.perf_counter() - began) / _TIMED * min(steps, _MOST_STEPS) * trainings
