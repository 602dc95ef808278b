"""`BenchJob`: what a suite is given, and how it makes its rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from ticketcli.bench.row import Equality, Goal, Row, Setting, Unit
from ticketcli.pairing import LEAST, Clock, Contender, Interval, pair

FULL = 1.0


def _nobody(text: str) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class BenchJob:
    """A suite's order.

    Attributes:
        suite: its name.
        setting: machine, threads, versions; and the scale, the share of real sizes that is worked on (1: real ones).
        folder: an empty folder for files.
        seconds: for each comparison.
        data_dir: where real images are looked for; None makes them.
        tell: hears what is being measured.
        clock: of seconds.
        least: turns of a comparison, at least.
        device: that is computed on; every call ends when a GPU has finished.
    """

    suite: str
    setting: Setting
    folder: Path
    seconds: float
    data_dir: Path | None = None
    tell: Callable[[str], None] = _nobody
    clock: Clock = time.perf_counter
    least: int = LEAST
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def full(self) -> bool:
        """Whether the sizes are the real ones."""
        return self.setting.scale >= FULL

    def sized(self, n: int, *, at_least: int = 1) -> int:
        """A number of things, of which the real size is `n`."""
        return max(at_least, round(n * min(FULL, self.setting.scale)))

    def compare(
        self,
        what: str,
        ours: Contender,
        peer: str,
        theirs: Contender,
        *,
        equality: Callable[[], Equality],
        goal: Goal | None = None,
        note: str = "",
    ) -> Row:
        """Time two contenders in turn; that they do the same is looked at first, and where not, nothing is timed."""
        self.tell(f"{self.suite}: {what} / {peer}")
        found = equality()
        if not found.holds:
            return Row(self.suite, what, peer, goal=goal, equality=found, note=note, setting=self.setting)
        if self.device.type == "cuda":
            ours, theirs = partial(_finished, ours), partial(_finished, theirs)
        timed = pair(ours, theirs, seconds=self.seconds, clock=self.clock, least=self.least)
        ratio = timed.ratio if goal is not None and goal.kind == "cost" else timed.ratio.inverse
        return Row(
            self.suite,
            what,
            peer,
            "s",
            timed.ours,
            timed.peer,
            ratio,
            timed.control,
            goal,
            found,
            note=note,
            setting=self.setting,
        )

    def counted(
        self,
        what: str,
        ours: float,
        peer: str,
        theirs: float,
        *,
        equality: Equality,
        unit: Unit = "bytes",
        goal: Goal | None = None,
        note: str = "",
    ) -> Row:
        """A row of what is counted and not timed: bytes, shares."""
        ratio = ours / theirs if goal is not None and goal.kind == "cost" else theirs / ours
        found = Interval(ratio, ratio, ratio, 1)
        return Row(
            self.suite, what, peer, unit, ours, theirs, found, None, goal, equality, note=note, setting=self.setting
        )

    def absent(self, what: str, peer: str, why: str, goal: Goal | None = None) -> Row:
        """A row that says why nothing was measured."""
        return Row(self.suite, what, peer, goal=goal, why=why, setting=self.setting)


def _finished(work: Contender) -> None:
    work()
    torch.cuda.synchronize()


def same(what: str, equal: bool, found: str = "") -> Equality:
    """An equality that was looked at."""
    return Equality(what, bool(equal), found)
