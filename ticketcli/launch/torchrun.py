"""`--nproc N`: the same command in N processes under torchrun, by a parent that never loads torch.

The parent plans, finds that there is work, and starts torchrun (`execution/agent.py`) in a session of its own, so that
Ctrl-C reaches the parent alone. What torchrun makes of signals (read in torch 2.15): the first is sent on to the
processes, and it waits `--shutdown-timeout` before SIGKILL; a second breaks off the waiting, sends SIGTERM and waits
again; a third makes it leave its processes behind. So it is sent the first alone, all three asking for the same, and
the parent sees to a second Ctrl-C itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ticketcli.errors import UsageError
from ticketcli.launch.member import BEGAN, FOLDER, SIGNALS, STARTED_BY, log_path, read_account, read_words
from ticketcli.launch.verdict import Verdict, verdict

_AGENT = "ticketcli.execution.agent"

# How long torchrun leaves processes alone that were told to stop. They end a step, or a piece of a measurement, and
# save what may be gigabytes to a slow shared disk. To kill them in that helps nobody: who is in a hurry presses Ctrl-C
# again, and a cluster kills at the end of its own patience.
_PATIENCE = 3600  # s
_LEFT_BEHIND = 12.0  # s that the others have when one has failed or is gone; torchrun would give them 30
_UNWINDING = 3.0  # s to give locks back in after the second Ctrl-C
_APART = 1.2  # s; within one second two SIGINTs are taken for one, which terminal and torchrun both sent


@dataclass(frozen=True)
class Several:
    """How many processes, and where they meet.

    Attributes:
        nproc: processes on this machine.
        nodes: machines, each of which is given the same command.
        node: which of them this is, from 0.
        rendezvous: HOST:PORT of node 0 where there are several.
    """

    nproc: int = 1
    nodes: int = 1
    node: int | None = None
    rendezvous: str = ""

    def check(self) -> None:
        """Refuse what cannot work, before anything is started.

        Raises:
            UsageError: several nodes without a place to meet or a number; or a place for one.
        """
        if self.nodes == 1:
            if self.rendezvous:
                raise UsageError(
                    "one machine needs no rendezvous", where="--rendezvous", hint="leave it away, or say --nodes"
                )
            return
        host, _, port = self.rendezvous.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UsageError(
                f"{self.nodes} nodes have to know where they meet",
                where="--rendezvous",
                hint="HOST:PORT, a free port of the first node, the same on all",
            )
        if self.node is None or not 0 <= self.node < self.nodes:
            raise UsageError(
                f"which of the {self.nodes} nodes is this?",
                where="--node",
                hint=f"0 to {self.nodes - 1}; SLURM says it",
            )

    @property
    def is_lone(self) -> bool:
        """Whether one process does it all."""
        return self.nproc == self.nodes == 1

    @property
    def tells(self) -> bool:
        """Whether this machine's parent tells the user how it goes: one does."""
        return self.nodes == 1 or not self.node

    @property
    def ranks(self) -> range:
        """The numbers of the processes on this machine."""
        first = (self.node or 0) * self.nproc if self.nodes > 1 else 0
        return range(first, first + self.nproc)


def run_in_several(several: Several, arguments: Sequence[str], *, module: str = "ticketcli") -> Verdict:
    """Run `python -m MODULE ARGUMENTS` in several processes, and wait for them; all have ended when this returns."""
    with tempfile.TemporaryDirectory(prefix="ticket-") as name:
        folder = Path(name)
        with _held():
            agent = subprocess.Popen(
                [sys.executable, "-m", _AGENT, *_options(several, folder), *_work(module, arguments)],
                env=_environment(several, folder),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            group = _Group(agent, folder, several)
            with group.listening():
                group.wait()
        return verdict(
            several.ranks, several.nproc * several.nodes, read_words(folder), read_account(folder),
            asked=group.asked[0] if group.asked else None, interrupted=group.interrupted, overdue=group.overdue,
            gone=group.gone, returned=agent.returncode, logs={rank: log_path(folder, rank) for rank in several.ranks},
        )  # fmt: skip


def _work(module: str, arguments: Sequence[str]) -> list[str]:
    """What each process is to run. Without `--` torchrun takes some flags for shortened ones of its own, such as
    --run; and it fills in ${local_rank}, with dollars doubled where they are meant.
    """
    return ["-m", "--", module, *(argument.replace("$", "$$") for argument in arguments)]


def _options(several: Several, folder: Path) -> list[str]:
    """What torchrun is told."""
    options = {
        "nproc-per-node": several.nproc,
        "signals-to-handle": ",".join(number.name for number in SIGNALS),
        "shutdown-timeout": _PATIENCE,
        "log-dir": folder / "torchrun",  # it makes one anyway, and leaves it in /tmp
    }
    if several.nodes > 1:
        host, _, port = several.rendezvous.rpartition(":")
        options |= {"nnodes": several.nodes, "node-rank": several.node, "master-addr": host, "master-port": port}
        return [f"--{name}={value}" for name, value in options.items()]
    options["local-addr"] = "127.0.0.1"  # the machine's own name need not lead to it, in a container
    return ["--standalone", *(f"--{name}={value}" for name, value in options.items())]


def _environment(several: Several, folder: Path) -> dict[str, str]:
    usual = {"OMP_NUM_THREADS": threads_each(several.nproc), "TORCH_CPP_LOG_LEVEL": "ERROR"}
    own = {FOLDER: str(folder), STARTED_BY: str(os.getpid()), BEGAN: str(time.monotonic())}
    return usual | os.environ | own


def threads_each(nproc: int) -> str:
    """What OMP_NUM_THREADS says, or the cores that this process may use, shared out: each would take all of them."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return os.environ.get("OMP_NUM_THREADS", str(max(1, cores // nproc)))


@contextmanager
def _held() -> Iterator[None]:
    """Signals wait, here and in what is started meanwhile, until it is known what to do with them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Group:
    """torchrun and the processes below it, as the parent sees them.

    Attributes:
        asked: the signals that came, in order.
        gone: those of the processes that ended without a word.
        interrupted: a second Ctrl-C ended them.
        overdue: one of them failed, and the others did not end by themselves.
    """

    def __init__(self, agent: subprocess.Popen[bytes], folder: Path, several: Several) -> None:
        self.agent, self.folder, self.ranks = agent, folder, several.ranks
        self.asked: list[signal.Signals] = []
        self.gone: list[int] = []
        self.asked_at = self.ending_since = 0.0
        self.interrupted = self.overdue = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals for the length of the block."""
        before = {number: signal.signal(number, self._on) for number in SIGNALS}
        mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on(self, number: int, _frame: object) -> None:
        self.asked.append(signal.Signals(number))
        if len(self.asked) > 1:
            return
        self.asked_at = time.monotonic()
        if read_words(self.folder).keys() >= {*self.ranks}:
            self.agent.send_signal(number)
        else:  # they have done nothing yet, and would not know what to do with a signal
            self.agent.kill()

    def wait(self) -> None:
        """Until torchrun has ended, and all below it."""
        while not self._ended(0.2):
            words = read_words(self.folder)
            if self.asked.count(signal.SIGINT) > 1:
                self._interrupt()
            elif self.ending_since:
                self.overdue = time.monotonic() > self.ending_since + _LEFT_BEHIND
                if self.overdue:
                    self.agent.kill()
            else:
                self.gone = [rank for rank, word in words.items() if word.code is None and not _lives(word.pid)]
                done = words.keys() >= {*self.ranks} and not any(_lives(word.pid) for word in words.values())
                if done or self.gone or any(word.code for word in words.values()):
                    self.ending_since = time.monotonic()  # or all have ended, and torchrun waits for other machines
        deadline = time.monotonic() + _UNWINDING
        while any(_lives(word.pid) for word in read_words(self.folder).values()) and time.monotonic() < deadline:
            time.sleep(0.02)  # the kernel ends them with torchrun; nobody should start the next before that

    def _ended(self, seconds: float) -> bool:
        try:
            self.agent.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _interrupt(self) -> None:
        """As in a lone process: unwound, so that locks are given back, and killed where that takes long."""
        if self._ended(max(0.0, self.asked_at + _APART - time.monotonic())):
            return
        words = read_words(self.folder)
        self.interrupted = all(word.code is None for word in words.values())  # else they are leaving anyway
        for word in words.values() if self.interrupted else ():
            with suppress(ProcessLookupError):
                os.kill(word.pid, signal.SIGINT)
        if not self._ended(_UNWINDING):
            self.agent.kill()
            self.agent.wait()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the number is another's by now
        return False
    return True
