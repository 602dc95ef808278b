"""What a benchmark says: one comparison a row, its goal, and whether both sides computed the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ticketcli.pairing import TOLERANCE, Interval

Unit = Literal["s", "bytes", "share"]


@dataclass(frozen=True)
class Goal:
    """What a ratio should be: `faster` by at least `bound` (the peer's over ours), or `cost` of at most that share."""

    kind: Literal["faster", "cost"]
    bound: float

    def __str__(self) -> str:
        return f"{'>=' if self.kind == 'faster' else '<='} {self.bound:g}x"

    def shortfall(self, ratio: float) -> float:
        """By what share a ratio, in the goal's own direction, misses it; 0 where it is met."""
        return max(0.0, self.bound / ratio - 1 if self.kind == "faster" else ratio / self.bound - 1)


@dataclass(frozen=True)
class Equality:
    """Whether both sides found the same, how that was looked at, and what was seen."""

    what: str
    holds: bool
    found: str = ""


@dataclass(frozen=True)
class Setting:
    """Where it was measured."""

    machine: str
    threads: int
    versions: dict[str, str]
    scale: float = 1.0


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        suite: its suite.
        what: the work that is compared.
        peer: whom it is compared with.
        ours, theirs: medians, in `unit`; None where nothing was measured.
        ratio: in the direction of the goal: the peer's over ours for `faster` (and without a goal), else ours over it.
        control: the quicker one against itself; None for what is counted and not timed.
        goal: what the ratio should be, if anything was promised.
        equality: whether both sides computed the same; None where nothing was measured.
        why: why nothing was measured.
        note: what a reader should know.
        setting: machine, threads, versions.
    """

    suite: str
    what: str
    peer: str = ""
    unit: Unit = "s"
    ours: float | None = None
    theirs: float | None = None
    ratio: Interval | None = None
    control: Interval | None = None
    goal: Goal | None = None
    equality: Equality | None = None
    why: str = ""
    note: str = ""
    setting: Setting | None = None

    @property
    def noisy(self) -> bool:
        """Whether equal work was not timed as equal."""
        return self.control is not None and (
            self.control.low < 1 - TOLERANCE or self.control.high > 1 + TOLERANCE
        )  # fmt: skip

    @property
    def failed(self) -> bool:
        """Whether both sides did not compute the same, so that no time means anything."""
        return self.equality is not None and not self.equality.holds

    @property
    def shortfall(self) -> float | None:
        """By what share the goal is missed; None without goal or ratio, and where the sizes are not the goal's."""
        reduced = self.setting is not None and self.setting.scale < 1
        return None if self.goal is None or self.ratio is None or reduced else self.goal.shortfall(self.ratio.median)

    @property
    def verdict(self) -> str:
        """In words: met, missed by how much, noisy, unequal, or nothing."""
        if self.why:
            return "not run"
        if self.failed:
            return "UNEQUAL"
        words = []
        if self.shortfall is not None:
            percent = 100 * self.shortfall
            words.append("met" if percent == 0 else f"missed by {percent:.{0 if percent >= 10 else 1}f} %")
        return ", ".join(words + ["noisy"] * self.noisy)

    def as_json(self) -> dict[str, Any]:
        """All of it, and the verdict."""
        return {**asdict(self), "noisy": self.noisy, "shortfall": self.shortfall, "verdict": self.verdict}
