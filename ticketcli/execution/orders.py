"""What process 0 has the others do: it alone plans, locks, prints and writes; they follow until they are dismissed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ticketcli.data.sources import Sources
from ticketcli.events import Event, Pause
from ticketcli.execution.exchange import job_of
from ticketcli.execution.machine import pick_device, settled
from ticketcli.plan import Step
from ticketcli.stages.job import runner_of
from ticketcli.stopping import StopRequest, stopped
from ticketcli.store.manifest import Artifact
from ticketcli.tensors import ranks
from ticketcli.training.yields import Produced, Snapshot, State


@dataclass(frozen=True)
class Options:
    """What a process is told that changes no result.

    Attributes:
        device: cpu, cuda, cuda:1 ...; auto takes the GPU where there is one.
        resume: auto goes on and reruns what is stale, must refuses to begin anew, never begins anew.
        save_every: seconds between saved states; 0 saves after every step.
        quiet: no progress.
        sources: where image sets lie, and how they are read.
        tensorboard: whether the metrics are mirrored for TensorBoard.
        break_lock: whether the lock of another machine's process is broken unasked.
    """

    device: str = "auto"
    resume: str = "auto"
    save_every: float = 60.0
    quiet: bool = False
    sources: Sources = field(default_factory=Sources)
    tensorboard: bool = False
    break_lock: bool = False


@dataclass(frozen=True)
class Order:
    """A step for all processes to work on together.

    Attributes:
        step: as process 0 has planned it.
        folder: the step's, in which what it made before lies.
        before: the outputs of the unit before the first that is to do.
        resume: the saved state of that unit, or None.
        options: of the command.
        precision: that the step has settled on; "" for none yet.
    """

    step: Step
    folder: Path
    before: tuple[Artifact, ...]
    resume: State | None
    options: Options
    precision: str = ""

    def begin(self, stop: StopRequest, hears: Callable[[Event], None]) -> Generator[Any, None, None]:
        """Load the inputs and call the stage, which works as it is asked for its events."""

        def hear(event: Event) -> None:
            if reason := stop.reason:
                raise stopped(reason, "while the images were read", where=self.step.name)
            hears(event)

        sources = replace(self.options.sources, tell=hear)
        device = pick_device(self.options.device)
        job = job_of(self.step, self.folder, self.before, self.resume, device, sources)
        return runner_of(self.step.spec)(replace(job, config=settled(job.config, device, before=self.precision)))


class _Followers:
    """Whether the others wait for an order, and would hear one."""

    waiting = True


def agreed(reason: str) -> str:
    """Why all processes stop now, "" to go on. Each asks at every moment at which its own reason may stop it.

    Followers that are to stop wait for the next order.
    """
    found = ranks.agreed(reason)
    _Followers.waiting = _Followers.waiting or bool(found)
    return found


@contextmanager
def given(order: Order) -> Iterator[None]:
    """The others work on a step inside the `with`, as this process does; for process 0."""
    ranks.told(order)
    _Followers.waiting = ranks.world() == 1
    yield
    _Followers.waiting = True


def follow() -> None:
    """Do what process 0 orders, until it says that that was all; for every process but the first.

    Raises:
        PeerLost: another process has ended.
        Stopped: a signal came to this process while it was reading images, where it cannot ask the others.
        TicketError: what went wrong in this one.
    """
    ranks.join()  # before signals are listened to: nothing has begun that could be saved
    with StopRequest().listening() as stop:
        while (order := ranks.told(_NONE)) is not None:
            _work(order, stop)
    ranks.leave()


_NONE: Order | None = None


def _work(order: Order, stop: StopRequest) -> None:
    """Drive the stage as process 0 does, as far as it does; what is said and made is thrown away."""
    n_left = len(order.step.todo)
    with closing(order.begin(stop, lambda event: None)) as events:
        for event in events:
            n_left -= isinstance(event, Produced)
            if not isinstance(event, Snapshot | Pause | Produced) or not n_left:
                continue
            stop.stepped()
            if agreed(stop.reason):
                return


def dismiss() -> None:
    """Send the others home; for process 0 before it leaves, whatever happened. Never raises.

    They end without an error, unless process 0 failed while they were at work with it: then its connections are closed,
    and they notice.
    """
    if ranks.started() == 1:
        return
    try:
        ranks.join()
        if _Followers.waiting:
            ranks.told(_NONE)
    except Exception:  # nobody is left to be told, and what has gone wrong before is what matters
        pass
    ranks.leave()
