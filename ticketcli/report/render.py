"""Tables for a terminal, and the same tables as plain text in a log."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_LOG_WIDTH = 140
_WHOLE = 20  # characters of text that are never folded
_UNBOUNDED = 10_000


def width() -> int:
    """Columns of the terminal; of a log, what most viewers show."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _LOG_WIDTH


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """A table as text; columns named in `right` are aligned right. Styled only when stdout is a terminal.

    In a narrow terminal the gaps between columns shrink first, then text folds; numbers and short names stay whole,
    and where even that is too wide the lines run over.
    """
    terminal = sys.stdout.isatty()
    console = Console(
        file=io.StringIO(), width=width(), force_terminal=terminal, no_color=not terminal, highlight=False
    )
    for gap in (2, 1):
        made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, gap, 0, 0))
        for index, column in enumerate(columns):
            number, longest = column in right, max((len(row[index]) for row in rows), default=0)
            made.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=number,
                            min_width=max(longest, len(column)) if number else min(longest, _WHOLE))  # fmt: skip
        for row in rows:
            made.add_row(*row)
        least = Measurement.get(console, console.options.update_width(_UNBOUNDED), made).minimum
        if least <= console.width:
            break
    console.width = max(console.width, least)
    with console.capture() as captured:
        console.print(made)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
