"""What a run says while it works, and who listens: a bar on a terminal, plain lines in a log, JSON lines in a file."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from ticketcli.disk import opened_to_append, space_errors
from ticketcli.log import check_log, read_log
from ticketcli.units import human_seconds

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
Clock = Callable[[], float]


@dataclass(frozen=True)
class Progress:
    """How far a piece of work has come: `done` of `total` units; `values` are shown beside it.

    `batch` is how many images each unit of a training takes; 0 where it is none.
    """

    what: str
    done: int
    total: int
    values: Mapping[str, float] = field(default_factory=dict)
    batch: int = 0


@dataclass(frozen=True)
class Measured:
    """A measurement, to be kept: `what` names it, `values` are JSON values."""

    what: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Note:
    """One line for people."""

    text: str


@dataclass(frozen=True)
class Pause:
    """Between two batches of a measurement, `done` of `total`: the command may stop here, and measure anew later."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Opened:
    """A set of image files was opened; `files` is the digest of the list of its files, names and sizes."""

    name: str
    files: str


Event = Progress | Measured | Note | Pause | Opened


class Listener(Protocol):
    """Whoever wants to know. `close` comes once, at the end of a step."""

    def on(self, event: Event) -> None:
        """Take note of an event."""

    def close(self) -> None:
        """Finish."""


def format_values(values: Mapping[str, Any]) -> str:
    """`loss 0.123, top1 0.98` for people."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )


class PlainLines:
    """A line every 30 seconds, however often the work changes, for logs and for people without a terminal."""

    def __init__(
        self, prefix: str, *, stream: IO[str] | None = None, every: float = 30.0, clock: Clock = time.monotonic
    ) -> None:
        self.prefix, self.stream, self.every, self.clock = prefix, stream or sys.stderr, every, clock
        self.what, self.started, self.begun_at, self.last = "", 0.0, 0, clock()

    def on(self, event: Event) -> None:
        """Print notes at once, progress now and then."""
        if isinstance(event, Note):
            self._print(event.text)
        elif isinstance(event, Progress | Pause):
            now = self.clock()
            if event.what != self.what:
                self.what, self.started, self.begun_at = event.what, now, event.done
            if now - self.last >= self.every:
                self.last = now
                rate = (event.done - self.begun_at) / max(now - self.started, 1e-9)
                left = f"{human_seconds((event.total - event.done) / rate)} left" if rate > 0 else ""
                values = format_values(event.values) if isinstance(event, Progress) else ""
                parts = [f"{event.what} {event.done}/{event.total}", left and f"{rate:.1f}/s", left, values]
                self._print(", ".join(filter(None, parts)))

    def _print(self, text: str) -> None:
        print(f"{self.prefix}: {text}", file=self.stream, flush=True)

    def close(self) -> None:
        """Nothing to finish."""


class Bar:
    """A rich progress bar with rate and time left, on a terminal."""

    def __init__(self, prefix: str, *, console: Console | None = None, clock: Clock = time.monotonic) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.prefix, self.clock = prefix, clock
        self.console = console or Console(stderr=True)
        self.bar = RichProgress(
            TextColumn("[bold]{task.fields[prefix]}[/]"), TextColumn("{task.description}"), BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"), TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[values]}"), console=self.console, transient=True,
            get_time=clock,
        )  # fmt: skip
        self.task: Any = None
        self.what, self.started, self.begun_at, self.shown = "", 0.0, 0, 0.0
        self.bar.start()

    def on(self, event: Event) -> None:
        """Print notes above the bar, move the bar on progress (at most ten times a second)."""
        if isinstance(event, Note):
            self.bar.console.print(f"{self.prefix}: {event.text}", highlight=False, markup=False)
        elif isinstance(event, Progress | Pause):
            now = self.clock()
            if event.what != self.what:
                if self.task is not None:
                    self.bar.remove_task(self.task)
                self.what, self.started, self.begun_at = event.what, now, event.done
                self.task = self.bar.add_task(
                    event.what,
                    total=event.total,
                    completed=event.done,
                    prefix=self.prefix,
                    rate="",
                    values="",
                )
            elif now - self.shown < 0.1 and event.done < event.total:
                return
            self.shown = now
            rate = (event.done - self.begun_at) / max(now - self.started, 1e-9)
            values = format_values(event.values) if isinstance(event, Progress) else ""
            self.bar.update(self.task, completed=event.done, rate=f"{rate:.1f}/s", values=values)

    def close(self) -> None:
        """Take the bar off the screen."""
        self.bar.stop()


class Mirror(Protocol):
    """Whoever shows the lines of `metrics.jsonl` in another form."""

    def restart(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Forget everything, and begin with these lines."""

    def add(self, line: Mapping[str, Any]) -> None:
        """Take one more line."""

    def close(self) -> None:
        """Finish."""


class JsonLines:
    """`metrics.jsonl`: one line an event, the truth that everything else mirrors.

    `offset` is where the file ends and `sha256` the digest of all that it holds; a resumed run cuts it back to the
    offset in its saved state, so that the file is that of an uninterrupted run.
    """

    def __init__(self, path: Path, *, every: int = 50, mirror: Mirror | None = None) -> None:
        self.path, self.every, self.mirror = path, every, mirror
        self.file = opened_to_append(path)
        self.offset = self.file.seek(0, os.SEEK_END)
        self._sha = check_log(path, self.offset)

    def on(self, event: Event) -> None:
        """Write measurements, and of progress every fiftieth step and the last."""
        if isinstance(event, Measured):
            self._write({"event": event.what, **event.values})
        elif (
            isinstance(event, Progress) and event.values and (event.done % self.every == 0 or event.done == event.total)
        ):
            self._write(
                {
                    "event": "progress",
                    "what": event.what,
                    "done": event.done,
                    "total": event.total,
                    **event.values,
                }
            )

    def _write(self, line: dict[str, Any]) -> None:
        data = json.dumps({"schema": SCHEMA, **line}, sort_keys=True).encode() + b"\n"
        with space_errors(self.path):
            rest = memoryview(data)
            while rest:
                rest = rest[self.file.write(rest) :]
        self.offset += len(data)
        self._sha.update(data)
        if self.mirror is not None:
            self.mirror.add(line)

    @property
    def sha256(self) -> str:
        """Of all that the file holds."""
        return str(self._sha.hexdigest())

    def sync(self) -> None:
        """Make what was written durable."""
        with space_errors(self.path):
            os.fsync(self.file.fileno())

    def cut(self, offset: int, sha256: str = "") -> None:
        """Forget everything after `offset` bytes.

        Raises:
            CorruptError: there are fewer, or they are not those that `sha256` is of.
        """
        self._sha = check_log(self.path, offset, sha256)
        self.file.truncate(offset)
        self.offset = self.file.seek(0, os.SEEK_END)
        if self.mirror is not None:
            self.mirror.restart(read_log(self.path))

    def close(self) -> None:
        """Close the file."""
        self.file.close()
        if self.mirror is not None:
            self.mirror.close()


def listeners(prefix: str, *, quiet: bool, extra: Sequence[Listener] = ()) -> list[Listener]:
    """A bar on a terminal, plain lines elsewhere, nothing with -q; and `extra`."""
    if quiet:
        return list(extra)
    return [Bar(prefix) if sys.stderr.isatty() else PlainLines(prefix), *extra]
