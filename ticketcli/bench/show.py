"""Rows as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ticketcli.bench.row import Row, Setting
from ticketcli.bench.table import SUITES
from ticketcli.report.render import table
from ticketcli.units import human_bytes

_COLUMNS = ("against", "ours", "theirs", "ratio", "interval", "A/A", "goal", "verdict")
_NUMBERS = _COLUMNS[1:-1]
_LEGEND = (
    "ratio: how many times as fast, or as small, as theirs (goal >=); or our share of theirs (goal <=).",
    "interval: of the median ratio, 95 %. A/A: the quicker one against itself; off 1 by more than 3 %, it is noisy.",
    "Before anything was timed, both sides were made to compute the same; the line below a block says what.",
)


def as_text(rows: Sequence[Row], where: Setting) -> str:
    """A block for each piece of work, what its columns mean, why suites did not run, and where it was measured."""
    measured = [row for row in rows if not row.why]
    parts = [*_blocks(measured), "\n".join(_LEGEND)] if measured else []
    absent = [_why(row) for row in rows if row.why]
    if absent:
        parts.append("\n".join(absent))
    scale = "" if where.scale == 1 else f"; SIZES ARE {where.scale:g} OF THE REAL ONES"
    versions = ", ".join(f"{name} {version}" for name, version in where.versions.items())
    threads = f"{where.threads} thread{'s' * (where.threads != 1)}"
    return "\n\n".join([*parts, f"{where.machine}; torch uses {threads}{scale}\n{versions}"])


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        text.rjust(width) if column in _NUMBERS else text.ljust(width)
        for column, text, width in zip(_COLUMNS, line, widths, strict=True)
    ]


def _blocks(rows: Sequence[Row]) -> list[str]:
    """Rows of the same work beside each other, all blocks with columns of the same width; the first names them."""
    cells = [_cells(row) for row in rows]
    widths = [max(len(line[index]) for line in (_COLUMNS, *cells)) for index in range(len(_COLUMNS))]
    padded = iter([_padded(line, widths) for line in cells])
    blocks: list[str] = []
    for (suite, what), members in groupby(rows, key=lambda row: (row.suite, row.what)):
        group = list(members)
        lines = table(_COLUMNS, [next(padded) for _ in group], right=_NUMBERS).splitlines()
        notes = dict.fromkeys([*(_checked(row) for row in group), *(row.note for row in group if row.note)])
        below = [f"  {note}" for note in notes]
        blocks.append("\n".join([f"{suite}: {what}", *(lines if not blocks else lines[1:]), *below]))
    return blocks


def listing() -> str:
    """The suites and what each needs."""
    rows = [[name, suite.summary, ", ".join(suite.needs)] for name, suite in SUITES.items()]
    return table(("suite", "compares", "needs"), rows)


def _why(row: Row) -> str:
    return f"{row.suite}{', ' + row.what + ' / ' + row.peer if row.peer else ''}: not run: {row.why}"


def _cells(row: Row) -> list[str]:
    ratio = control = spread = ""
    if row.ratio is not None:
        ratio = _number(row.ratio.median)
        spread = f"{_number(row.ratio.low)}-{_number(row.ratio.high)}" if row.ratio.n > 1 else ""
    if row.control is not None:
        control = f"{row.control.low:.2f}-{row.control.high:.2f}"
    goal = "" if row.goal is None else str(row.goal)
    return [row.peer, _amount(row.ours, row), _amount(row.theirs, row), ratio, spread, control, goal, row.verdict]


def _checked(row: Row) -> str:
    if row.equality is None:
        return ""
    found = f" ({row.equality.found})" if row.equality.found else ""
    return f"{'equal' if row.equality.holds else 'NOT EQUAL'}: {row.equality.what}{found}"


def _amount(value: float | None, row: Row) -> str:
    if value is None:
        return ""
    if row.unit == "bytes":
        return human_bytes(round(value))
    if row.unit == "share":
        return f"{100 * value:.1f} %"
    return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.3g} s"


def _number(value: float) -> str:
    if value < 0.02:
        return f"{value:.2g}"
    return f"{value:.3f}" if value < 2 else f"{value:.1f}"
