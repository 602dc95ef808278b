"""Rows as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ticketcli.bench.row import Row, Setting
from ticketcli.bench.table import SUITES
from ticketcli.report.render import table
from ticketcli.units import human_bytes

_COLUMNS = ("suite", "work", "peer", "ours", "peer's", "ratio", "interval", "A/A", "goal", "verdict", "checked")
_NUMBERS = ("ours", "peer's", "ratio", "interval", "A/A", "goal")
_LEGEND = (
    "ratio: how many times as fast, or as small, as the peer (goal >=); or our share of the peer's (goal <=).",
    "interval: of the median, 95 %, over turns A B B A. A/A: equal work, timed the same way; off 1 by 3 %: noisy.",
    "checked: what both sides computed, compared before anything was timed.",
)


def as_text(rows: Sequence[Row], where: Setting) -> str:
    """The table, what its columns mean, why suites did not run, and where it was measured."""
    measured = [row for row in rows if not row.why]
    parts = []
    if measured:
        parts += [table(_COLUMNS, _without_repeats([_cells(row) for row in measured]), right=_NUMBERS)]
        parts += ["\n".join(_LEGEND)]
    notes = [f"{row.suite}, {row.what} / {row.peer}: {row.note}" for row in measured if row.note]
    notes += [_why(row) for row in rows if row.why]
    if notes:
        parts.append("\n".join(notes))
    scale = "" if where.scale == 1 else f"; SIZES ARE {where.scale:g} OF THE REAL ONES"
    versions = ", ".join(f"{name} {version}" for name, version in where.versions.items())
    threads = f"{where.threads} thread{'s' * (where.threads != 1)}"
    return "\n\n".join([*parts, f"{where.machine}; torch uses {threads}{scale}\n{versions}"])


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
    checked = "" if row.equality is None else f"{row.equality.what}: {'equal' if row.equality.holds else 'NOT EQUAL'}"
    if row.equality is not None and row.equality.found:
        checked += f" ({row.equality.found})"
    goal = "" if row.goal is None else str(row.goal)
    sizes = [_amount(row.ours, row), _amount(row.theirs, row)]
    return [row.suite, row.what, row.peer, *sizes, ratio, spread, control, goal, row.verdict, checked]


def _without_repeats(rows: list[list[str]]) -> list[list[str]]:
    """The suite is named in its first row alone."""
    shown = []
    for suite, members in groupby(rows, key=lambda row: row[0]):
        shown += [[suite if place == 0 else "", *row[1:]] for place, row in enumerate(members)]
    return shown


def _amount(value: float | None, row: Row) -> str:
    if value is None:
        return ""
    if row.unit == "bytes":
        return human_bytes(round(value))
    if row.unit == "share":
        return f"{100 * value:.1f} %"
    return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.3g} s"


def _number(value: float) -> str:
    return f"{value:.3f}" if value < 2 else f"{value:.1f}"
