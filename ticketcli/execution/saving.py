"""The saved states of a unit under way: written with what they belong to, and read back only where they belong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ticketcli.errors import CorruptError, DivergedError, UsageError
from ticketcli.log import check_log
from ticketcli.store.generations import Generations
from ticketcli.tensors import ranks
from ticketcli.tensors.beside import Moment, beside
from ticketcli.tensors.files import read_state, write_state
from ticketcli.training.divergence import diverged
from ticketcli.training.yields import State


@dataclass(frozen=True)
class Captured:
    """A state, the length and digest of `metrics.jsonl` at that moment, and the image sets opened by then."""

    state: State
    log_end: int
    log_sha256: str
    moment: Moment | None = None  # on a GPU, when its values are there
    opened: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Saved(Captured):
    """A state as it was saved, and the seconds that the unit had taken by then."""

    seconds: float = 0.0


class UnitStates:
    """The states of one unit.

    Args:
        folder: where they lie.
        metrics: the step's `metrics.jsonl`.
        unit: its name.
        key: what decides its result; states of another are left alone.
    """

    def __init__(self, folder: Path, metrics: Path, unit: str, key: str) -> None:
        self.metrics, self.unit, self.key = metrics, unit, key
        self.generations = Generations(folder, unit)

    def newest(self, say: Callable[[str], None]) -> Saved | None:
        """The newest good state; a damaged one is passed over, and said so.

        Raises:
            UsageError: it was made by another number of processes.
        """
        return self.generations.recall(self._read, say)

    def _read(self, path: Path) -> Saved | None:
        state, about = read_state(path)
        if about.get("key") != self.key:
            return None
        try:
            log = int(about["metrics_offset"]), str(about.get("metrics_sha256", ""))
            opened = dict(about.get("opened", {}))
            seconds = float(about["seconds"])
            found = Saved({**state, "iteration": int(state["iteration"])}, *log, opened=opened, seconds=seconds)
            n_processes = int(about.get("processes", 1))
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"it lacks what every state has: {error!r}", where=str(path)) from None
        _require_as_many(n_processes, self.unit, path)
        check_log(self.metrics, found.log_end, found.log_sha256)
        return found

    def save(self, captured: Captured, seconds: float) -> None:
        """Write the next generation. May be called in a thread, while the training that was captured goes on.

        Raises:
            DivergedError: there are values that are no finite numbers.
            NoSpaceError: the disk is full.
        """
        about = {
            "unit": self.unit,
            "key": self.key,
            "metrics_offset": captured.log_end,
            "metrics_sha256": captured.log_sha256,
            "seconds": seconds,
            "processes": ranks.world(),
            "opened": dict(captured.opened),
        }
        with beside(captured.moment), _said_of(self.unit, captured.state["iteration"]):
            self.generations.commit(
                lambda path: write_state(
                    path, captured.state, about=about, check=lambda temporary: read_state(temporary) and None
                )
            )

    def drop(self) -> None:
        """The unit is finished: delete its states."""
        self.generations.drop()


@contextmanager
def _said_of(unit: str, step: int) -> Iterator[None]:
    """Files number their tensors; people know units and steps."""
    try:
        yield
    except DivergedError:
        raise diverged(where=unit, step=step) from None


def _require_as_many(n_processes: int, unit: str, path: Path) -> None:
    """More or fewer processes would have other parts of each batch: that would go on as another training."""
    if n_processes != ranks.world():
        made, now = (f"{n} processes" if n > 1 else "one process" for n in (n_processes, ranks.world()))
        hint = f"go on with --nproc {n_processes}, or make the whole step anew with --resume never"
        raise UsageError(f"{unit} was begun by {made}, and {now} cannot go on with it", where=str(path), hint=hint)
