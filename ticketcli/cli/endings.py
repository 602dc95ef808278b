"""How an error becomes what is read on the terminal, and an exit code."""

from __future__ import annotations

import sys

from ticketcli.errors import TicketError, UsageErrors


def describe(error: Exception) -> tuple[int, str]:
    """The exit code of an error, and its text: several where there are several."""
    if not isinstance(error, TicketError):
        hint = "the same command with -vv, and report what it prints"
        return 1, f"error: unexpected {type(error).__name__}: {error}\n  try: {hint}"
    word = "stopped" if error.code == 75 else "error"
    lines = error.lines() if isinstance(error, UsageErrors) else [str(error)]
    return error.code, "\n".join(f"{word}: {line}" for line in lines)


def is_traceback_wanted() -> bool:
    """Whether -vv is among the arguments."""
    return any(argument.startswith("-vv") for argument in sys.argv[1:])
