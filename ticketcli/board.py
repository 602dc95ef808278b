"""TensorBoard as a mirror of `metrics.jsonl`: an event file made of its lines, and of nothing else.

Whenever the truth is opened or cut back, the mirror is made anew from the lines that are left, so that a resumed run
shows what an uninterrupted one shows.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ticketcli.errors import UsageError
from ticketcli.log import read_log

FOLDER = "tensorboard"
_PREFIX = "events.out.tfevents."  # by which TensorBoard knows its files

Scalar = tuple[str, int, float]


class Curves:
    """Lines of `metrics.jsonl` as TensorBoard's scalars: (tag, step, value).

    Training goes to `train/NAME`, its steps counted through all trainings of the step, so that the rounds of a
    pruning follow each other. What is measured of a unit goes to `EVENT/NAME` at the unit's number, from 1.
    """

    def __init__(self) -> None:
        self.before = 0  # training steps of the trainings that are over
        self.what, self.done, self.total = "", 0, 0
        self.units: dict[str, int] = {}

    def scalars(self, line: Mapping[str, Any]) -> Iterator[Scalar]:
        """What one line shows; lines come in their order."""
        values = {key: value for key, value in line.items() if key not in ("schema", "event", "unit")}
        if line["event"] != "progress":
            number = self.units.setdefault(str(line.get("unit", "")), len(self.units) + 1)
            yield from _flat(line["event"], number, values)
            return
        what, done, total = values.pop("what"), int(values.pop("done")), int(values.pop("total"))
        if what != self.what or done <= self.done:
            self.before += self.total
        self.what, self.done, self.total = what, done, total
        yield from _flat("train", self.before + done, values)


def _flat(tag: str, step: int, value: object) -> Iterator[Scalar]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{tag}/{key}", step, inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield tag, step, float(value)


def require_tensorboard() -> None:
    """Refuse at once, not after the first training step.

    Raises:
        UsageError: the package is not installed.
    """
    if find_spec("tensorboard") is None:
        raise UsageError(
            "TensorBoard is not installed", where="--tensorboard", hint="pip install tensorboard, or leave the flag out"
        )


class Board:
    """The event file below a step's folder. A mirror never ends a run: what it cannot write, it says once."""

    def __init__(self, step_folder: Path) -> None:
        require_tensorboard()
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.folder = step_folder / FOLDER
        self._event, self._summary, self._record_writer = Event, Summary, RecordWriter
        self._writer: Any = None
        self._curves = Curves()

    def restart(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Begin anew with these lines. A TensorBoard that is watching forgets what it had seen.

        It forgets at a session's start; for that the file that it may be reading has to stay where it is.
        """
        self.close()
        self._curves = Curves()
        try:
            self.folder.mkdir(exist_ok=True)
            for outdated in sorted(self.folder.glob(f"{_PREFIX}*"))[:-1]:
                outdated.unlink()
            file = (self.folder / f"{_PREFIX}{time.time_ns():020d}.ticket").open("xb")
        except OSError as error:
            self._give_up(error)
            return
        self._writer = self._record_writer(file)
        self._write(file_version="brain.Event:2")
        self._write(session_log={"status": "START"}, step=0)
        for line in lines:
            self._mirror(line)
        self._flush()

    def add(self, line: Mapping[str, Any]) -> None:
        """Show one more line."""
        self._mirror(line)
        self._flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _mirror(self, line: Mapping[str, Any]) -> None:
        for tag, step, value in self._curves.scalars(line):
            self._write(step=step, summary=self._summary(value=[{"tag": tag, "simple_value": value}]))

    def _write(self, **fields: Any) -> None:
        if self._writer is None:
            return
        try:
            self._writer.write(self._event(wall_time=time.time(), **fields).SerializeToString())
        except OSError as error:
            self._give_up(error)

    def _flush(self) -> None:
        try:
            if self._writer is not None:
                self._writer.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._writer = None
        print(f"warning: no TensorBoard from here on: {error}; metrics.jsonl goes on", file=sys.stderr, flush=True)


def mirror_finished(step_folder: Path, metrics: Path) -> None:
    """Mirror a step that is done already, unless its mirror is as new as its metrics."""
    if not metrics.is_file():
        return
    made = [path.stat().st_mtime_ns for path in (step_folder / FOLDER).glob(f"{_PREFIX}*")]
    if made and max(made) >= metrics.stat().st_mtime_ns:
        return
    with closing(Board(step_folder)) as board:
        board.restart(read_log(metrics))
