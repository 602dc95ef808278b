"""What a linear convolutional network that is infinitely wide loses when kernels are pruned: exact, in closed form.

Kernels hold n = 2s + 1 independent draws of N(0, Delta^2). Of a kernel that is pruned with probability p, a Fourier
mode k loses the share eta_k of its second moment; with L layers the mode's relative error is 1 - (1 - eta_k)^L,
because a masked kernel equals its own product with the mask. The pooled feature is the mode k = 0.

Source: the paper, theorem 3.1 and appendix A, which give orders of magnitude; the constants here are derived from the
same second moments, with p = P(|sum| < epsilon), where lemma A.2 (2) lacks a factor 2, and a density with
exp(-x^2 / (2 n Delta^2)), where equation 17 has another exponent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from scipy.special import erfinv
from scipy.stats import chi2

Rule = Literal["kernel-sum", "random", "l2", "1x1"]
RULES_IN_WORDS: dict[Rule, str] = {
    "kernel-sum": "smallest sums",
    "random": "any kernels",
    "l2": "smallest norms",
    "1x1": "smallest sums, 1x1 kernels",
}
RULES = tuple(RULES_IN_WORDS)
LARGEST_P = 0.11  # of the theorem
SLACK = 1.2  # a net of finite width, and one draw of it, lies around the limit; the theorem leaves its constants open


def threshold(p: float) -> float:
    """The e at which a standard normal number is below e in magnitude with probability p: epsilon / (Delta sqrt(n))."""
    return math.sqrt(2) * float(erfinv(p))


def lost_sum(p: float) -> float:
    """The share of the second moment of a normal number that lies in its p smallest magnitudes: about pi p^3 / 6."""
    e = threshold(p)
    return p - 2 * e * math.exp(-e * e / 2) / math.sqrt(2 * math.pi)


def lost_norm(p: float, n: int) -> float:
    """The share of the second moment of any direction of n normal numbers that lies in their p smallest norms."""
    return float(chi2.cdf(chi2.ppf(p, n), n + 2))


def alike(k: int, s: int, length: int) -> float:
    """How much mode k resembles the sum: ``|sum_t exp(2 pi i t k / length)|^2 / n^2``, 1 for k = 0."""
    n = 2 * s + 1
    total = sum(math.cos(2 * math.pi * t * k / length) for t in range(-s, s + 1))  # sines cancel
    return (total / n) ** 2


def lost(rule: Rule, p: float, s: int, length: int) -> Callable[[int], float]:
    """Mode -> eta, the share of its second moment that a layer loses."""
    if rule == "random":
        return lambda k: p
    if rule == "l2":
        of_norm = lost_norm(p, 2 * s + 1)
        return lambda k: of_norm
    of_sum = lost_sum(p)
    if rule == "1x1":
        return lambda k: of_sum
    return lambda k: p * (1 - alike(k, s, length)) + of_sum * alike(k, s, length)


def predicted(
    rule: Rule, p: float, *, layers: int, s: int, length: int, shares: Sequence[float]
) -> tuple[float, float]:
    """The relative errors r_pool and r_map in the limit.

    Args:
        rule: which kernels fall.
        p: the share of them.
        layers: convolutions.
        s: a kernel has 2 s + 1 taps.
        length: positions, circular.
        shares: of the input's energy, by mode, k = 0 first; they add up to 1.
    """
    eta = lost(rule, p, s, length)
    errors = [1 - (1 - eta(k)) ** layers for k in range(len(shares))]
    return math.sqrt(errors[0]), math.sqrt(sum(share * error for share, error in zip(shares, errors, strict=True)))


def pool_bound(p: float, layers: int) -> float:
    """C1 p^1.5, with C1 = sqrt(pi L / 6), the smallest that will do as p goes to 0; with `SLACK` above it."""
    return SLACK * math.sqrt(math.pi * layers / 6 * p**3)


def map_bound(p: float, s: int, length: int, shares: Sequence[float]) -> float:
    """C2 sqrt(p), with C2^2 = sum_k share_k (1 - alike_k); with `SLACK` below it.

    It holds for any number of layers; 2 s / (2 s + 1) for a white input, and 0 for one that is constant in space.
    """
    square = sum(share * (1 - alike(k, s, length)) for k, share in enumerate(shares))
    return math.sqrt(square * p) / SLACK


def slope(p: Sequence[float], values: Sequence[float]) -> float | None:
    """The slope of log(value) over log(p), by least squares; None where there are fewer than two points above 0."""
    points = [(math.log(x), math.log(y)) for x, y in zip(p, values, strict=True) if y > 0]
    if len({x for x, _ in points}) < 2:
        return None
    x_mean, y_mean = (sum(point[axis] for point in points) / len(points) for axis in (0, 1))
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / sum((x - x_mean) ** 2 for x, _ in points)
