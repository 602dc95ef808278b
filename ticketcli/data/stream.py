"""Worker processes: tasks go in, bytes come out in the order of the tasks, whatever the number of workers."""

from __future__ import annotations

import gc
import importlib
import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from itertools import count
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from ticketcli.errors import TicketError

_AHEAD = 2  # tasks that each worker is given in advance


class _Guarded(Dataset[Any]):
    """An error with a name goes home as a value: raised in a worker it would arrive wrapped in tracebacks."""

    def __init__(self, work: Any) -> None:
        self.work = work

    def __getitem__(self, task: Any) -> Any:
        try:
            return self.work[task]
        except TicketError as error:
            return error


def _settle(_worker: int) -> None:
    """Signals are for the main process, which saves and then ends its workers; a cluster sends them to all.

    What a fork inherits is never collected there: an inherited stream would end its workers by that.
    """
    gc.freeze()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def _begin(loader: DataLoader[Any]) -> Iterator[Any]:
    """Start the workers, without torch's handler for dead children: that raises in whatever the main thread is doing,
    be it writing a file. A worker's death is noticed when its next result is waited for, within five seconds.
    """
    importlib.import_module("torchvision.transforms.v2.functional")  # a second, else paid by each worker
    before = signal.getsignal(signal.SIGCHLD)
    made = iter(loader)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, before)
    return made


def stream(work: Any, tasks: Iterable[Any], n_workers: int, *, pinned: bool = False) -> Generator[Any, None, None]:
    """What `work[task]` is for each of the tasks, in their order. Closing the iterator ends the workers.

    Args:
        work: picklable; indexed by tasks.
        tasks: may be endless.
        n_workers: processes; 0 works in this one.
        pinned: whether tensors come in page-locked memory, for faster copies to a GPU.

    Raises:
        TicketError: what the work raised; or a worker was killed.
    """
    loader = DataLoader(
        _Guarded(work),
        batch_size=None,
        sampler=tasks,
        num_workers=n_workers,
        prefetch_factor=_AHEAD if n_workers else None,
        pin_memory=pinned,
        worker_init_fn=_settle,
        generator=torch.Generator(),  # so that the global one is left alone
    )
    made = _begin(loader)
    try:
        while True:
            try:
                found = next(made)
            except StopIteration:
                return
            except (RuntimeError, OSError, EOFError) as error:
                if not n_workers or str(error).startswith("Caught"):  # the work's own, which was not expected
                    raise
                raise TicketError(
                    f"a process that decodes images ended: {str(error).partition(chr(10))[0]}",
                    where="--workers",
                    hint="--workers 0, or fewer; in a container also more shared memory (--shm-size)",
                ) from None
            if isinstance(found, TicketError):
                raise found
            yield found
    finally:
        del made  # its workers end with it


class Stream:
    """Work by (epoch, step), a few steps ahead; asked for another step than the next, the stream starts there."""

    def __init__(self, work: Any, per_epoch: int, n_workers: int, *, pinned: bool) -> None:
        self.work, self.per_epoch, self.n_workers, self.pinned = work, per_epoch, n_workers, pinned
        self.next = -1
        self.made: Iterator[Any] = iter(())

    def at(self, epoch: int, step: int) -> Any:
        """What `work[epoch, step]` is."""
        iteration = epoch * self.per_epoch + step
        if iteration != self.next:
            self.close()
            per_epoch = self.per_epoch  # not self: in a cycle with the stream, nobody would close it in time
            tasks = (divmod(number, per_epoch) for number in count(iteration))
            self.made = stream(self.work, tasks, self.n_workers, pinned=self.pinned)
        self.next = -1  # until it is there
        found = next(self.made)
        self.next = iteration + 1
        return found

    def close(self) -> None:
        """End the workers."""
        self.made, self.next = iter(()), -1
