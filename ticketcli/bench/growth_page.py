"""Growths as a table for people, and as a drawing."""

from __future__ import annotations

from collections.abc import Sequence

from ticketcli.bench.growth import Growth
from ticketcli.bench.row import Setting
from ticketcli.figures.chart import Chart, Curve, Point
from ticketcli.figures.figure import Figure
from ticketcli.figures.scales import Axis
from ticketcli.report.render import table
from ticketcli.units import human_bytes

_COLUMNS = ("n", "seconds", "times the first", "memory beside the data")


def as_text(found: Sequence[Growth], where: Setting) -> str:
    """A block for each work, and where it was measured."""
    threads = f"{where.threads} thread{'s' * (where.threads != 1)}"
    scale = "" if where.scale == 1 else f"; SIZES ARE {where.scale:g} OF THE REAL ONES"
    return "\n\n".join([*map(_block, found), f"{where.machine}; torch uses {threads}{scale}"])


def _block(growth: Growth) -> str:
    first = growth.points[0].seconds if growth.points else 1.0
    rows = [
        [
            f"{point.n:,}",
            f"{point.seconds:.3g}",
            f"{point.seconds / first:.3g}",
            "" if point.memory is None else f"{human_bytes(point.memory)} ({point.memory / (4 * point.n):.1%})",
        ]
        for point in growth.points
    ]
    lines = [f"{growth.work}, by {growth.unit}", table(_COLUMNS, rows, right=_COLUMNS), f"  {fit_in_words(growth)}"]
    return "\n".join([*lines, *([f"  left out: {growth.left_out}"] if growth.left_out else [])])


def fit_in_words(growth: Growth) -> str:
    """What was fitted, as a formula."""
    if growth.exponent is None or growth.fixed is None or growth.each is None:
        return "too few sizes to fit a growth"
    return f"fitted: {growth.fixed:.3g} s + {growth.each:.3g} s x n^{growth.exponent:.2f}"


def _short(growth: Growth) -> str:
    """For a legend: the first words of the work, what n counts, and the exponent."""
    power = "" if growth.exponent is None else f" (n^{growth.exponent:.2f})"
    return f"{growth.work.partition(',')[0]}: {growth.unit}{power}"


def figure_of(found: Sequence[Growth], where: Setting) -> Figure:
    """All works in one chart: how many times the cost of the first size, by how many times its work; both logarithmic.

    What grows as its work does runs along the dashed line.
    """
    curves = []
    for place, growth in enumerate(found):
        first = growth.points[0]
        points = tuple(Point(point.n / first.n, point.seconds / first.seconds) for point in growth.points)
        curves.append(Curve(_short(growth), points, place))
    most = max(point.x for curve in curves for point in curve.points)
    line = Curve("as the work", (Point(1, 1), Point(most, most)), len(curves), is_control=True, is_thin=True)
    times = "{:g}x".format
    across = Axis("work, times the first size", times, is_log=True)
    up = Axis("seconds, times the first size", times, is_log=True)
    chart = Chart(across, up, (*curves, line), sets_apart=False)
    return Figure(
        "growth", "Cost as the work grows", "Each point is a size; n counts weights, rounds, tickets or processes.",
        (("Command", "ticket bench --growth"), ("Machine", where.machine), ("Threads", str(where.threads))), chart,
    )  # fmt: skip
