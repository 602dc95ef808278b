"""Intervals over images: a share or a mean of values of which several may be of one image, by resampling images.

The values of an image stay together, for they are not independent: a picture of two cars is one draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ticketcli.tensors.seeds import derive, integers

DRAWS = 2000
LEVEL = 0.95
_AT_ONCE = 2**20  # numbers drawn together
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean, and from where to where it may lie; None and None of no values."""

    mean: float | None
    low: float | None = None
    high: float | None = None


def estimate(values: Values, images: NDArray[np.int64], *, least: float, greatest: float, seed: int = 0) -> Estimate:
    """The mean of `values`, with a 95 % interval over images.

    Images are drawn with replacement, `DRAWS` times, and the interval holds the middle of the means: the percentile
    bootstrap. Where all values are equal, drawing shows nothing; then the chance that another image has another value
    is at most p = 1 - 0.025^(1/n) of n images, and the mean lies that share of the way to either end at most. Of shares
    that are 0 or 1 on every image this is Clopper's and Pearson's interval.

    Args:
        values: float64 [R].
        images: int64 [R], which image each is of.
        least: what no value is below.
        greatest: what none is above.
        seed: fixes the draws.

    Source: B. Efron, "Bootstrap methods: another look at the jackknife", 1979; C. Clopper and E. Pearson, "The use of
    confidence or fiducial limits", 1934.
    """
    if not len(values):
        return Estimate(None)
    _, place = np.unique(images, return_inverse=True)
    sums = np.bincount(place, weights=values).astype(np.float64)
    counts = np.bincount(place).astype(np.float64)
    mean = float(sums.sum() / counts.sum())
    if np.ptp(values) == 0:
        away = 1 - ((1 - LEVEL) / 2) ** (1 / len(counts))
        return Estimate(mean, mean - away * (mean - least), mean + away * (greatest - mean))
    means = _resampled(sums, counts, seed)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(mean, float(low), float(high))


def _resampled(sums: Values, counts: Values, seed: int) -> Values:
    """The means of `DRAWS` draws of as many images as there are."""
    n, key = len(counts), derive(seed, "bootstrap")
    found = []
    at_once = max(1, _AT_ONCE // n)
    for start in range(0, DRAWS, at_once):
        stop = min(start + at_once, DRAWS)
        drawn = integers(key, np.arange(start * n, stop * n, dtype=np.uint64), n).reshape(stop - start, n)
        found.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(found)
