"""What several processes came to: the one that was the cause, what is to be said of it, and its exit code."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ticketcli.errors import Stopped, TicketError
from ticketcli.launch.member import Launched, Word

_LINES = 20  # of its output, for a process that died without a word


@dataclass(frozen=True)
class Verdict:
    """The exit code of the whole, and what nobody has said yet."""

    code: int
    text: str = ""


def verdict(
    ranks: Iterable[int],
    world: int,
    words: Mapping[int, Word],
    account: Launched,
    *,
    asked: signal.Signals | None = None,
    interrupted: bool = False,
    overdue: bool = False,
    gone: Sequence[int] = (),
    returned: int = 0,
    logs: Mapping[int, Path] | None = None,
) -> Verdict:
    """Find the cause.

    Args:
        ranks: the processes of this machine.
        world: how many there are on all.
        words: what they left, by rank.
        account: what torchrun left.
        asked: the signal that was passed on.
        interrupted: whether a second Ctrl-C ended them.
        overdue: whether some had to be killed because others had failed.
        gone: those that were seen to have ended without a word.
        returned: what torchrun returned.
        logs: the output of those that do not write to the terminal.
    """
    if interrupted:
        return Verdict(130)
    ended = {rank: words[rank] for rank in ranks if rank in words and words[rank].code is not None}
    causes = [word for word in ended.values() if word.code and not word.lost_peer]
    if causes:
        first = min(causes, key=lambda word: word.at)
        assert first.code is not None
        said = any(word.rank == 0 and word.text == first.text for word in causes)  # by itself, to the terminal
        return Verdict(first.code, "" if said else of_process(first.rank, world, first.text))
    if all(rank in ended and ended[rank].code == 0 for rank in ranks):
        return Verdict(0)
    if asked is not None and not overdue:
        return _told(Stopped(f"{asked.name}: ended before anything more was saved", hint="the same command continues"))
    return _told(_unspoken(world, ended, account, gone, returned, logs or {}))


def of_process(rank: int, world: int, text: str) -> str:
    """The text of an error, with whose it is."""
    word, _, rest = text.partition(": ")
    return f"{word}: process {rank} of {world}: {rest}"


def _told(error: TicketError) -> Verdict:
    return Verdict(error.code, f"{'stopped' if isinstance(error, Stopped) else 'error'}: {error}")


def _unspoken(
    world: int,
    ended: Mapping[int, Word],
    account: Launched,
    gone: Sequence[int],
    returned: int,
    logs: Mapping[int, Path],
) -> TicketError:
    """The error of whoever ended without a word of why."""
    silent: dict[int, int | None] = {rank: code for rank, code in account.codes.items() if rank not in ended}
    silent = silent or dict.fromkeys(rank for rank in gone if rank not in ended)  # torchrun was killed and cannot tell
    # those that torchrun ended itself, because of another, are not the cause
    causes = {rank: code for rank, code in silent.items() if code != -signal.SIGTERM} or silent
    if causes:
        rank, code = next(iter(causes.items()))
        hint = "that is often for want of memory; " if code in (None, -signal.SIGKILL) else ""
        last = _last_lines(logs.get(rank))
        return TicketError(
            f"process {rank} of {world} {_how(code)}" + (f"; the last that it wrote:\n{last}" if last else ""),
            hint=f"{hint}the same command continues",
        )
    if account.error:
        return TicketError(f"torchrun: {account.error}", hint="LOGLEVEL=INFO in the environment shows more")
    if ended and returned >= 0:
        return TicketError(
            f"a process of another machine ended, of {world} in all", hint="what was written there says why"
        )
    return TicketError(f"torchrun {_how(returned)}", hint="the same command continues")


def _how(code: int | None) -> str:
    if code is None:
        return "was ended"
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def _last_lines(path: Path | None) -> str:
    try:
        lines = path.read_text(errors="replace").splitlines() if path is not None else []
    except OSError:
        return ""
    return "\n".join(f"  | {line}" for line in lines[-_LINES:])
