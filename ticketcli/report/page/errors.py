"""What criteria by layer have cost, arm by arm: a table of the layers, and how sensitive their weights were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ticketcli.figures.figure import Figure
from ticketcli.figures.heatmap import Heatmap
from ticketcli.report.layer_errors import LEGEND, layers_grid, layers_of, output_words, powers, share_below
from ticketcli.report.page.section import Block, Drawn, Names, Section, Shown, Words
from ticketcli.report.page.subject import Arm, Subject, counted

_MOST = 8  # arms that are shown
_MOST_POWERS = 14


def errors(subject: Subject, names: Names) -> Section | None:
    """The last round of each arm's first replicate; None of a run without such a criterion."""
    found = [(arm, *last) for arm in subject.arms if (last := _last(subject, arm)) is not None]
    if not found:
        return None
    blocks: list[Block] = []
    for arm, replicate, unit, metrics in found[:_MOST]:
        seed = f", replicate {replicate}" if len(arm.steps) > 1 else ""
        title = f"{arm.name}, {unit}{seed}"
        notes = tuple(filter(None, (output_words(metrics), *LEGEND)))
        blocks.append(Shown(f"Layer by layer: {title}", layers_grid(metrics).without_empty(), notes))
        drawn = _sensitivities(subject, names, title, metrics, replicate)
        blocks += [drawn] if drawn is not None else []
    if len(found) > _MOST:
        blocks.append(Words(f"{len(found) - _MOST} further arms are not shown; the manifests have them all."))
    return Section("errors", "What each layer lost", tuple(blocks))


def _last(subject: Subject, arm: Arm) -> tuple[str, str, Mapping[str, Any]] | None:
    """Replicate, unit and metrics of the last round that has an account of its layers."""
    for replicate, step in arm.steps.items():
        units = subject.found.units.get(step.name, {})
        told = sorted(name for name, unit in units.items() if layers_of(unit.metrics))
        if told:
            return replicate, told[-1], units[told[-1]].metrics
    return None


def _sensitivities(
    subject: Subject, names: Names, title: str, metrics: Mapping[str, Any], replicate: str
) -> Drawn | None:
    layers = layers_of(metrics)
    columns = list(powers(layers))[-_MOST_POWERS:]
    if not columns:
        return None
    values = [[share_below(one, power) for power in columns] for one in layers.values()]
    texts = [[_percent(value) for value in row] for row in values]
    heads = [_decade(power) for power in columns]
    drawing = Heatmap(tuple(layers), tuple(heads), tuple(map(tuple, values)), tuple(map(tuple, texts)), corner="below")
    told = (
        "The share of each layer's weights that could fall, each alone, at a cost below this: the mean squared change "
        "of what the layer gives. Of the weights that lived before the round; within a bin by proportion."
    )
    return Drawn(Figure(
        names.take("sensitivities", title), f"How sensitive weights are: {title}", told,
        subject.facts(counted([1]), "none: these are counts", replicate), drawing, told, ("", *heads),
        tuple((name, *row) for name, row in zip(layers, texts, strict=True)),
    ))  # fmt: skip


def _decade(power: int) -> str:
    return f"1e{power}"


def _percent(value: float) -> str:
    return f"{value:.0%}" if value >= 0.0995 or value == 0 else f"{value:.1%}"
