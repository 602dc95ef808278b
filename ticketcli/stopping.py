"""When to stop: signals as a flag that is polled, and a limit of time that leaves enough of it to save."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ticketcli.errors import Stopped

_ECHO = 1.0  # seconds within which a signal that torchrun passes on is the one that came before
_LEAST = 2.0  # seconds before the limit, whatever the pace


class StopRequest:
    """SIGTERM, SIGINT and SIGUSR2 as a flag, polled between steps; a second SIGINT ends at once with 130.

    Under torchrun one Ctrl-C can arrive twice, from the terminal and from torchrun: within a second it is the same.

    With a limit of time it asks to stop by itself, early enough for one more step and for the state to be saved: twice
    the longest that either took so far.

    Args:
        minutes: how long the command may take, counted from `started`; None for no limit.
        started: when it began, on the monotonic clock; now, if not said.
    """

    def __init__(self, minutes: float | None = None, started: float | None = None) -> None:
        self.signal: signal.Signals | None = None
        self._came = 0.0
        self.minutes = minutes
        began = time.monotonic() if started is None else started
        self.until = None if minutes is None else began + 60 * minutes
        self.longest_step = self.longest_save = 0.0
        self._polled: float | None = None

    def _on(self, number: int, _frame: object) -> None:
        again = number == signal.SIGINT and self.signal == signal.SIGINT
        if again and "WORLD_SIZE" in os.environ and time.monotonic() < self._came + _ECHO:
            return
        if again:
            raise SystemExit(130)
        self.signal, self._came = signal.Signals(number), time.monotonic()

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handle the signals for the length of the block, then put back what was there."""
        before = {number: signal.signal(number, self._on) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stepped(self) -> None:
        """One more step is done: learn how long steps take."""
        now = time.monotonic()
        if self._polled is not None:
            self.longest_step = max(self.longest_step, now - self._polled)
        self._polled = now

    def saved(self, seconds: float) -> None:
        """The state was saved: learn how long that takes, and do not count it as a step."""
        self.longest_save = max(self.longest_save, seconds)
        self._polled = None

    @property
    def reason(self) -> str:
        """Why to stop now, for people; "" to go on."""
        if self.signal is not None:
            return self.signal.name
        margin = max(_LEAST, 2 * (self.longest_step + self.longest_save))
        if self.until is not None and time.monotonic() + margin >= self.until:
            return f"--max-minutes {self.minutes:g} are nearly over"
        return ""


def stopped(reason: str, what: str, *, where: str) -> Stopped:
    """The error with which a command ends that stops for a reason, `what` being done or saved."""
    return Stopped(f"{reason}: {what}", where=where, hint="the same command continues")
