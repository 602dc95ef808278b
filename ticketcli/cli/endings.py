"""How an error becomes what is read on the terminal, and an exit code."""

from __future__ import annotations

import re
import sys
import traceback

from ticketcli.errors import TicketError, UsageErrors


def describe(error: Exception) -> tuple[int, str]:
    """The exit code of an error, and its text: several where there are several; with -v where it comes from, first."""
    told = as_told(error)
    word = "stopped" if told.code == 75 else "error"
    lines = told.lines() if isinstance(told, UsageErrors) else [str(told)]
    text = "\n".join(f"{word}: {line}" for line in lines)
    return told.code, "".join(traceback.format_exception(error)) + text if is_traceback_wanted() else text


def as_told(error: Exception) -> TicketError:
    """The error itself where it is one that was foreseen; else one that says what came, and what to do about it."""
    if isinstance(error, TicketError):
        return error
    hint = "the same command with -v, and report what it prints"
    return TicketError(f"unexpected {type(error).__name__}: {error}", hint=hint)


def is_traceback_wanted() -> bool:
    """Whether -v, which every command has, is among the arguments."""
    return any(re.fullmatch(r"--verbose|-q*v[qv]*", argument) for argument in sys.argv[1:])
