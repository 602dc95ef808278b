"""What a few replicates can say: mean, spread, and Student's t interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation, and the 95 % interval of the mean; of one value the interval is unbounded."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


def summarize(values: Sequence[float], *, level: float = 0.95) -> Summary:
    """The two-sided t interval of the mean of independent replicates; of paired differences where those are given."""
    n = len(values)
    if n == 0:
        return Summary(0, math.nan, math.nan, -math.inf, math.inf)
    mean = statistics.fmean(values)
    if n == 1:
        return Summary(1, mean, math.nan, -math.inf, math.inf)
    from scipy.special import stdtrit

    sd = statistics.stdev(values)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * sd / math.sqrt(n)
    return Summary(n, mean, sd, mean - half, mean + half)
