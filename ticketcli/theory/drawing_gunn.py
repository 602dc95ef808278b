"""The figure of tied neurons as SVG: how far they part, step by step, and how the trainings went."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

from ticketcli.figures.chart import Chart, Curve, Point
from ticketcli.figures.panels import Panels
from ticketcli.figures.scales import Axis
from ticketcli.theory.drawing import BARS, power, written
from ticketcli.theory.gunn import Parting, Partings, TiedNeurons
from ticketcli.theory.show_gunn import UPDATES_IN_WORDS

_LEAST = 1e-17  # a gap of nothing, on a logarithmic axis
_MOST_POINTS = 15


def draw_gunn(path: Path, sizes: TiedNeurons, found: Sequence[Partings]) -> None:
    """Gaps over steps, on a logarithmic axis, and the losses."""
    steps = sorted({round(k * sizes.steps / _MOST_POINTS) for k in range(_MOST_POINTS + 1)} | {1})

    def gap(one: Parting, step: int) -> float:
        return max(_LEAST, one.gaps[step])

    def loss(one: Parting, step: int) -> float:
        return one.losses[step]

    across = Axis("step")
    panels = (
        ("How far the two neurons are apart", Chart(
            across, Axis(f"relative gap (logarithmic, {power(_LEAST)} is none)", power, is_log=True),
            _curves(found, steps, gap), sets_apart=False)),
        ("Training", Chart(across, Axis("loss"), _curves(found, steps, loss), heights=(0.0,), sets_apart=False)),
    )  # fmt: skip
    title = f"Tied neurons: {sizes.neurons} linear neurons, {sizes.samples} samples, seeds: {sizes.seeds}"
    told = (
        "How far two neurons part that compute the same and are read alike, over steps of gradient descent, where they "
        f"are updated one after the other and where at once; and the losses. Marks are means, bars reach {BARS}."
    )
    seeds = range(sizes.first_seed, sizes.first_seed + sizes.seeds)
    written(path, "tied-neurons", Panels(title, panels), told, command=_command(sizes), seeds=seeds)


def _curves(
    found: Sequence[Partings], steps: Sequence[int], value: Callable[[Parting, int], float]
) -> tuple[Curve, ...]:
    curves = []
    for look, kind in enumerate(found):
        points = [_point(step, [value(one, step) for one in kind.found]) for step in steps]
        curves.append(Curve(UPDATES_IN_WORDS[kind.update], tuple(points), look, is_control=look > 0))
    return tuple(curves)


def _point(step: int, values: Sequence[float]) -> Point:
    mean = math.fsum(values) / len(values)
    text = f"step {step}: {mean:.3g}"
    if len(values) == 1:
        return Point(step, mean, words=text)
    return Point(step, mean, min(values), max(values), (), text)


def _command(sizes: TiedNeurons) -> str:
    """What to type for the same numbers."""
    flags = {"first_seed": "seed"}
    words = [f"--{flags.get(one.name, one.name)} {getattr(sizes, one.name)}" for one in fields(sizes)]
    return " ".join(["ticket theory gunn", *words])
