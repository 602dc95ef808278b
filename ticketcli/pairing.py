"""Two contenders in one process, in turn A B B A: the ratio of their times, and how far it can be trusted.

Timing one after the other on a shared machine was wrong by a third on equal code; what slows the machine for a while
slows both halves of a turn. Each turn also times the quicker contender against itself: if that is not 1, nothing is.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

Contender = Callable[[], object]
Clock = Callable[[], float]
LEAST, MOST = 3, 50  # turns, of two pairs each
TOLERANCE = 0.03  # of the control
_SHORTEST = 0.02  # seconds; what takes less is called several times in a row
_MOST_CALLS = 1000
_COVERED = 0.95


@dataclass(frozen=True)
class Interval:
    """The median of `n` values, and an interval of the median."""

    median: float
    low: float
    high: float
    n: int

    @property
    def inverse(self) -> Interval:
        """The same of one over each value."""
        return Interval(1 / self.median, 1 / self.high, 1 / self.low, self.n)


@dataclass(frozen=True)
class Paired:
    """What a comparison found.

    Attributes:
        ours, peer: seconds of a call, medians.
        ratio: ours over the peer's, by pair.
        control: the quicker one over itself, by pair.
    """

    ours: float
    peer: float
    ratio: Interval
    control: Interval

    @property
    def noisy(self) -> bool:
        """Whether equal work came out as unequal, by more than the tolerance."""
        return self.control.low < 1 - TOLERANCE or self.control.high > 1 + TOLERANCE


def interval(values: Sequence[float]) -> Interval:
    """The median, and the narrowest pair of order statistics that holds it with 95 %; with fewer than 6, all values.

    Source: the binomial distribution of how many values lie below the median; nothing is assumed of their spread.
    """
    ordered, n = sorted(values), len(values)
    below, outside = 0.0, 0
    for k in range(n // 2):
        below += math.comb(n, k) / 2**n
        if 2 * below > 1 - _COVERED:
            break
        outside = k
    return Interval(statistics.median(ordered), ordered[outside], ordered[n - 1 - outside], n)


def pair(
    ours: Contender, peer: Contender, *, seconds: float, clock: Clock = time.perf_counter, least: int = LEAST
) -> Paired:
    """Time both, turn by turn: A B B A, and the quicker one four times more, for as long as `seconds` allow.

    Args:
        ours: does the work; called once beforehand, untimed.
        peer: does the same; so is it.
        seconds: for all turns; at least `least` are made, which is six pairs, and at most 50.
        clock: seconds of a monotonic clock.
        least: turns that are made whatever the time.
    """
    contenders = (ours, peer)
    calls = [_calls(contender, clock) for contender in contenders]
    times: tuple[list[float], list[float]] = ([], [])
    ratios, controls = [], []
    with _undisturbed():
        quicker = min((0, 1), key=lambda which: _time(contenders[which], calls[which], clock))
        started, turns = clock(), 0
        while turns < least or (turns < MOST and (clock() - started) * (turns + 1) / turns <= seconds):
            spent = [_time(contenders[which], calls[which], clock) for which in (0, 1, 1, 0)]
            same = [_time(contenders[quicker], calls[quicker], clock) for _ in range(4)]
            times[0].extend((spent[0], spent[3]))
            times[1].extend((spent[1], spent[2]))
            ratios += [spent[0] / spent[1], spent[3] / spent[2]]  # who comes second is once the one, once the other
            controls += [same[0] / same[1], same[3] / same[2]]
            turns += 1
    ours_seconds, peer_seconds = (statistics.median(found) for found in times)
    return Paired(ours_seconds, peer_seconds, interval(ratios), interval(controls))


def _calls(work: Contender, clock: Clock) -> int:
    """How often it is called for one measurement; the first call, which warms caches, does not count if it is short."""
    spent = _time(work, 1, clock)
    if spent < _SHORTEST:
        spent = _time(work, 1, clock)
    return min(_MOST_CALLS, max(1, math.ceil(_SHORTEST / max(spent, _SHORTEST / _MOST_CALLS))))


def _time(work: Contender, calls: int, clock: Clock) -> float:
    """Seconds of a call."""
    started = clock()
    for _ in range(calls):
        work()
    return (clock() - started) / calls


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No collection of garbage falls into anybody's time."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
