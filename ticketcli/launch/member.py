"""One process among several that a launcher started for the same command: who it is, and the word it leaves behind.

torchrun says 1 whatever its processes say, so each of them leaves a file with its code in a folder that the parent
made; `launch/torchrun.py` reads them.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

FOLDER = "TICKET_PROCESSES"  # where the processes leave their words
STARTED_BY = "TICKET_STARTED_BY"  # the id of the process that must not be outlived
BEGAN = "TICKET_BEGAN"  # when the command was given, on the machine's monotonic clock
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)  # those that ask for a stop
_ACCOUNT = "torchrun.json"
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, prctl(2)


@dataclass(frozen=True)
class Member:
    """Number `rank` of `world` processes; `local_world` of them are on this machine."""

    rank: int
    world: int
    local_world: int
    folder: Path | None  # for its word; None where another than ticket started torchrun

    @property
    def follows(self) -> bool:
        """Whether another one gives the orders."""
        return self.rank > 0


def began() -> float:
    """When the command was given, on the monotonic clock: by the user, to the process that started this one, or now."""
    return float(os.environ.get(BEGAN, time.monotonic()))


def this_member(environment: Mapping[str, str] = os.environ) -> Member | None:
    """What the launcher told this process, or None where it was started alone."""
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return None
    world, folder = int(environment["WORLD_SIZE"]), environment.get(FOLDER)
    local_world = int(environment.get("LOCAL_WORLD_SIZE", world))
    return Member(int(environment["RANK"]), world, local_world, Path(folder) if folder else None)


@dataclass(frozen=True)
class Launched:
    """What torchrun knows of its end: exit codes by rank in the order in which it saw them, -9 for SIGKILL; or why it
    could not start anything.
    """

    codes: Mapping[int, int] = field(default_factory=dict)
    error: str = ""


def leave_account(folder: Path, account: Launched) -> None:
    """Write what torchrun knows; see `leave_word`."""
    import json

    with suppress(OSError):
        (folder / _ACCOUNT).write_text(json.dumps({"codes": [*account.codes.items()], "error": account.error}))


def read_account(folder: Path) -> Launched:
    """What torchrun knew; nothing where it was killed."""
    import json

    try:
        read = json.loads((folder / _ACCOUNT).read_text())
    except (OSError, ValueError):
        return Launched()
    return Launched({int(rank): int(code) for rank, code in read["codes"]}, str(read["error"]))


@dataclass(frozen=True)
class Word:
    """What a process leaves behind.

    Attributes:
        rank: its number.
        pid: its process id.
        code: its exit code; None while it works, and for good where it was killed.
        text: its error as a user is to read it.
        at: when it ended, in seconds since 1970.
        lost_peer: whether it ended only because another had.
    """

    rank: int
    pid: int
    code: int | None = None
    text: str = ""
    at: float = 0.0
    lost_peer: bool = False


def leave_word(folder: Path, word: Word) -> None:
    """Write it whole or not at all; a folder that is gone or full is no reason to fail."""
    import json

    path = folder / f"{word.rank}.json"
    with suppress(OSError):
        path.with_suffix(".new").write_text(json.dumps(asdict(word)))
        path.with_suffix(".new").replace(path)


def read_words(folder: Path) -> dict[int, Word]:
    """The words of all processes that have begun, by rank."""
    import json

    found = [Word(**json.loads(path.read_text())) for path in folder.glob("[0-9]*.json")]
    return {word.rank: word for word in sorted(found, key=lambda word: word.rank)}


def begin(member: Member) -> None:
    """Say that this process is there, see to its end with its launcher, and keep the output of followers apart.

    Until a step listens to them signals end the process at once, without KeyboardInterrupt: nothing has begun.

    A torchrun that ticket did not start may be ended by a signal that was meant for all, as by SIGUSR2, which it does
    not handle unasked: then there is a state to save.
    """
    end_with_launcher(signal.SIGKILL if member.folder is not None else signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if member.folder is None:
        return
    if member.follows:
        with suppress(OSError):
            descriptor = os.open(log_path(member.folder, member.rank), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            os.close(descriptor)
    leave_word(member.folder, Word(member.rank, os.getpid()))


def log_path(folder: Path, rank: int) -> Path:
    """Where a follower's output goes."""
    return folder / f"{rank}.log"


def end(member: Member, code: int, text: str = "", *, lost_peer: bool = False) -> None:
    """Leave the last word, if there is somebody to read it."""
    if member.folder is not None:
        leave_word(member.folder, Word(member.rank, os.getpid(), code, text, time.time(), lost_peer))


def end_with_launcher(by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when the one that started it is gone, however that ended (Linux only).

    A pipe that is watched would do the same anywhere, but not for a process that hangs in a computation.
    """
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_SET_DEATH_SIGNAL, by)
    if os.getppid() != int(os.environ.get(STARTED_BY, os.getppid())):  # it went before this was asked
        os._exit(1)
