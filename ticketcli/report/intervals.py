"""What a few replicates can say: mean, spread, Student's t interval, and the test of a paired difference."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_LEVEL = 0.95
_ROUNDING = 1e-12  # differences of equal values that differ by less than this share are rounding, not spread


@dataclass(frozen=True)
class Summary:
    """What `n` values have in common.

    Attributes:
        n: number of values.
        mean: None of no value.
        sd: the sample standard deviation (n - 1); None below two values.
        low, high: the interval of the mean. None where there is no spread to make one from: below two values, and
            where all are equal, which says that the measure is too coarse, not that the mean is certain.
        p: two-sided, of the hypothesis that the mean is 0; None where there is no interval.
    """

    n: int
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def summarize(values: Sequence[float], *, scale: float = 0.0) -> Summary:
    """The two-sided 95 % t interval of the mean of independent replicates.

    Of paired differences where those are given; `scale` is then the size of what was subtracted, which decides what
    is rounding.

    Source: Student, "The probable error of a mean", 1908; as scipy.stats.ttest_1samp.
    """
    n = len(values)
    if n == 0:
        return Summary(0)
    mean = statistics.fmean(values)
    if n == 1:
        return Summary(1, mean)
    sd = statistics.stdev(values)
    if sd <= _ROUNDING * max(scale, *map(abs, values)):
        return Summary(n, mean, 0.0)
    from scipy.special import stdtr, stdtrit

    error = sd / math.sqrt(n)
    half = float(stdtrit(n - 1, (1 + _LEVEL) / 2)) * error
    return Summary(n, mean, sd, mean - half, mean + half, 2 * float(stdtr(n - 1, -abs(mean) / error)))


def holm(probabilities: Sequence[float | None]) -> list[float | None]:
    """Each p adjusted for all that are tested together; None stays None, and is not counted.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979: the k-th smallest of m is multiplied
    by m - k + 1, and none may be smaller than one before it.
    """
    known = sorted((p, index) for index, p in enumerate(probabilities) if p is not None)
    adjusted: list[float | None] = [None] * len(probabilities)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[index] = largest
    return adjusted
