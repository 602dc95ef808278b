"""Tables for a terminal, and the same tables as plain text in a log."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

_LOG_WIDTH = 140


def width() -> int:
    """Columns of the terminal; of a log, what most viewers show."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _LOG_WIDTH


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = (), title: str = "") -> str:
    """A table as text; columns named in `right` are aligned right. Styled only when stdout is a terminal."""
    terminal = sys.stdout.isatty()
    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    buffer = io.StringIO()
    console = Console(file=buffer, width=width(), force_terminal=terminal, no_color=not terminal, highlight=False)
    console.print(made)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())
