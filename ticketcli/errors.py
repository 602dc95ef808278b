"""The error tree. Every error a user can meet says what, where, and the way out, and carries its exit code.

TicketError            1   unexpected
  PeerLost             1   another process of the run ended; its own error says why
  UsageError           2   flags, recipe or config
  StaleError           3   outputs no longer match what was asked
  NothingToResume      4   `--resume must` without saved state
  InputMissing         5   an input, a file or a data set is not there
  CorruptError         6   a file is damaged, truncated or not to be trusted
    MismatchError      6   names, shapes or architecture do not fit
  LockedError          7   another process works on this step
  NoSpaceError         8   the disk is full
    OutOfMemory        8   the memory is
  DivergedError        9   a loss or a weight is not finite
  Stopped             75   stopped early with its state saved: run the same command again
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

_MOST = 50  # errors shown at once
_LONGEST = 2000  # characters of a part of a message


def _printable(text: str) -> str:
    """Names and values come from files that anybody may have written: none moves the cursor or fills the screen."""
    shown = text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 4 :]}"
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in shown)


class TicketError(Exception):
    """What went wrong, where, and what to do about it."""

    code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        lines = [_printable(self.what)]
        if self.where:
            lines.append(f"   at: {_printable(self.where)}")
        if self.hint:
            lines.append(f"  try: {_printable(self.hint)}")
        return "\n".join(lines)


class PeerLost(TicketError):
    """Another process of the same run has ended: never the cause, which is that one's own error."""


class UsageError(TicketError):
    """The flags, the recipe or the config cannot be used as they stand."""

    code = 2


class UsageErrors(UsageError):
    """Several errors of what was typed, all shown at once; the exit code is that of the first."""

    def __init__(self, errors: Iterable[TicketError]) -> None:
        self.errors = tuple(errors)
        self.code = self.errors[0].code
        super().__init__("; ".join(error.what for error in self.errors))

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Each error as text; where there are very many, the first of them and how many more."""
        more = len(self.errors) - _MOST
        return [str(error) for error in self.errors[:_MOST]] + ([f"{more:,} more of the kind"] if more > 0 else [])


class StaleError(TicketError):
    """Outputs exist, but were made from something other than what is asked for now."""

    code = 3


class NothingToResume(TicketError):
    """`--resume must` was given and no saved state fits."""

    code = 4


class InputMissing(TicketError):
    """An input artifact, a file or a data set is not there."""

    code = 5


class CorruptError(TicketError):
    """A file is damaged, truncated, or is not what it says it is."""

    code = 6


class MismatchError(CorruptError):
    """Names, shapes or architectures of two things do not fit together."""


class LockedError(TicketError):
    """Another process holds the lock of this step."""

    code = 7


class NoSpaceError(TicketError):
    """The file system has no room left."""

    code = 8


class OutOfMemory(NoSpaceError):
    """What is computed does not fit into the memory, of the machine or of its GPU."""


class DivergedError(TicketError):
    """A loss, a gradient or a weight stopped being finite."""

    code = 9


class Stopped(TicketError):
    """Stopped early on request; the state is saved and the same command continues."""

    code = 75


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint naming the closest known word, or the known words when none is close."""
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return "known: " + ", ".join(choices) if choices else ""


@contextmanager
def collected(errors: list[TicketError]) -> Iterator[None]:
    """Take what is wrong with the input in this block to the other errors, so that all of them can be told."""
    try:
        yield
    except UsageErrors as several:
        errors.extend(several.errors)
    except (UsageError, InputMissing) as one:
        errors.append(one)


def raise_all(errors: Sequence[TicketError]) -> None:
    """Raise these errors, if there are any: one as it is, several as `UsageErrors`, what is told twice once."""
    found = list({str(error): error for error in reversed(errors)}.values())[::-1]
    if len(found) > 1:
        raise UsageErrors(found)
    if found:
        raise found[0]
