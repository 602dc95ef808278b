"""What paired differences allow to be said beside the t test: exact sign flips, equivalence, and what could be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ticketcli.report.intervals import summarize

MOST_FLIPPED = 20  # differences whose signs are flipped in all ways, about a million
POWER = 0.8
_TIE = 1e-9  # flips whose mean is this close, relatively, to the one seen count as as extreme: rounding must not decide
_HALVINGS, _POINTS = 60, 4096


def sign_flip(differences: Sequence[float]) -> float | None:
    """The exact two-sided p of the hypothesis that each difference is as likely to have the other sign.

    The share of all 2^n choices of signs whose mean is at least as far from 0 as the one seen; the smallest possible
    one is 2 / 2^n. It asks for no normal distribution. None of no differences, and of more than `MOST_FLIPPED`.

    Source: Fisher, "The Design of Experiments", 1935, section 21.
    """
    n = len(differences)
    if not 0 < n <= MOST_FLIPPED:
        return None
    import numpy as np

    sums = np.zeros(1)
    for one in differences:  # all sums of signed differences, doubled with each
        sums = np.concatenate([sums + one, sums - one])
    seen = abs(math.fsum(differences))
    slack = _TIE * math.fsum(map(abs, differences))
    return float(np.count_nonzero(np.abs(sums) >= seen - slack) / sums.size)


def equivalence(differences: Sequence[float], margins: Sequence[float]) -> float | None:
    """The p of the hypothesis that the mean lies outside of -margin to +margin: the larger of two one-sided t tests.

    A margin that was itself measured is given for each replicate, and tested with it, so that its spread counts. None
    where there is no spread to test with.

    Source: Schuirmann, "A comparison of the two one-sided tests procedure and the power approach", 1987; for ratios
    Fieller, "Some problems in interval estimation", 1954.
    """
    below = [margin - one for one, margin in zip(differences, margins, strict=True)]
    above = [margin + one for one, margin in zip(differences, margins, strict=True)]
    found = [_above_zero(below), _above_zero(above)]
    return None if None in found else max(p for p in found if p is not None)


def _above_zero(values: Sequence[float]) -> float | None:
    """The one-sided p of the hypothesis that the mean is 0 or less."""
    found = summarize(values)
    if found.mean is None or not found.sd:
        return None
    from scipy.special import stdtr

    return float(stdtr(found.n - 1, -found.mean * math.sqrt(found.n) / found.sd))


def detectable(n: int, *, power: float = POWER, level: float = 0.95) -> float | None:
    """The smallest mean of n paired differences, in their standard deviations, that the two-sided t test shows with
    this power: 1.16 of 8 pairs, 3.26 of 3.

    From the noncentral t distribution with n - 1 degrees of freedom and noncentrality effect x sqrt(n), as the mean
    over the quantiles of the sample's standard deviation: scipy's own gives no number for few pairs. None below two.

    Source: Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, chapter 2.
    """
    if n < 2:
        return None
    import numpy as np
    from scipy.special import gammaincinv, ndtr, stdtrit

    critical = float(stdtrit(n - 1, (1 + level) / 2))
    shares = (np.arange(_POINTS) + 0.5) / _POINTS
    spreads = np.sqrt(gammaincinv((n - 1) / 2, shares) * 2 / (n - 1))  # quantiles of the sample's over the true one

    def shown(effect: float) -> float:
        away = effect * math.sqrt(n)
        return float(np.mean(ndtr(away - critical * spreads) + ndtr(-away - critical * spreads)))

    low, high = 0.0, 1.0
    while shown(high) < power:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if shown(middle) < power else (low, middle)
    return high
