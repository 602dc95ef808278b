"""SCOP's selections, arm by arm: how good the controls were, and what the channels made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ticketcli.figures.figure import Figure
from ticketcli.figures.heatmap import Heatmap
from ticketcli.report.grid import Grid
from ticketcli.report.page.section import Block, Drawn, Names, Section, Shown, Words
from ticketcli.report.page.subject import Arm, Subject, counted

_MOST = 8  # arms whose gates are drawn
_MEASURED = {
    "mean_gap": "mean", "covariance_gap": "covariance", "off_diagonal_gap": "between",
    "diagonal_correlation": "correlation", "mmd_full": "MMD, full", "mmd_partial": "MMD, partial",
}  # fmt: skip
_LEGEND = (
    "0 is perfect, but for the correlation. mean: the distance of the means over the root of the total variance. "
    "covariance: |of controls - of values| over the latter. between: the same of the covariance between values and "
    "controls, where theory fixes it.",
    "correlation: of a value with its own control; 1 would be a copy, which selects nothing. MMD: squared discrepancy "
    "when values and controls change places, all, or a random part; a good one scatters about 0.",
    "at 1, at 0: channels whose gate ended there. loss: of the first and of the last 20 steps.",
)
_QUARTILES = ("lowest", "25 %", "median", "75 %", "highest")


def controls(subject: Subject, names: Names) -> Section | None:
    """The last selection of each arm's first replicate; None of a run that has none."""
    found = [(arm, *last) for arm in subject.arms if (last := _last(subject, arm)) is not None]
    if not found:
        return None
    rows = tuple(_row(arm.name, selection) for arm, _, _, selection in found)
    columns = ("arm", "controls", *_MEASURED.values(), "steps", "at 1", "at 0", "loss")
    blocks: list[Block] = [
        Shown("How good the controls were", Grid(columns, rows, 2), _LEGEND),
        _gaps(subject, names, {arm.name: selection for arm, _, _, selection in found}),
    ]
    for arm, replicate, unit, selection in found[:_MOST]:
        seed = f", replicate {replicate}" if len(arm.steps) > 1 else ""
        blocks.append(_gates(subject, names, f"{arm.name}, {unit}{seed}", selection, replicate))
    if len(found) > _MOST:
        blocks.append(Words(f"The gates of {len(found) - _MOST} further arms are in the manifests."))
    return Section("controls", "Knockoff controls", tuple(blocks))


def _last(subject: Subject, arm: Arm) -> tuple[str, str, Mapping[str, Any]] | None:
    """Replicate, unit and account of the last round that selected by controls."""
    for replicate, step in arm.steps.items():
        units = subject.found.units.get(step.name, {})
        told = sorted(name for name, unit in units.items() if unit.metrics.get("selection"))
        if told:
            return replicate, told[-1], units[told[-1]].metrics["selection"]
    return None


def _row(name: str, selection: Mapping[str, Any]) -> tuple[str, ...]:
    knockoff = selection["knockoff"]
    first, last = selection["loss_first"], selection["loss_last"]
    loss = "" if first is None else f"{first:.2f} to {last:.2f}"
    return (
        name, str(knockoff["kind"]), *(f"{knockoff[key]:.3g}" for key in _MEASURED), f"{selection['steps']:,}",
        f"{selection['at_one']:.1%}", f"{selection['at_zero']:.1%}", loss,
    )  # fmt: skip


def _gaps(subject: Subject, names: Names, found: Mapping[str, Mapping[str, Any]]) -> Drawn:
    measured = [[float(one["knockoff"][key]) for key in _MEASURED] for one in found.values()]
    texts = tuple(tuple(f"{value:.2f}" for value in row) for row in measured)
    shades = tuple(tuple(min(abs(value), 1.0) for value in row) for row in measured)
    heads = tuple(_MEASURED.values())
    told = "How far controls are from what they stand in for; the darkest shade is 1 and more."
    return Drawn(Figure(
        names.take("controls", "gaps"), "What controls lack", told,
        subject.facts(counted([1]), "none: one replicate"), Heatmap(tuple(found), heads, shades, texts), told,
        ("arm", *heads), tuple((name, *row) for name, row in zip(found, texts, strict=True)),
    ))  # fmt: skip


def _gates(subject: Subject, names: Names, title: str, selection: Mapping[str, Any], replicate: str) -> Drawn:
    betas: Mapping[str, list[float]] = selection["betas"]
    texts = tuple(tuple(f"{value:.2f}" for value in quartiles) for quartiles in betas.values())
    told = (
        "How much of the real features the channels of each convolution asked for: all began at 0.5, and below it the "
        "control was as good."
    )
    drawing = Heatmap(tuple(betas), _QUARTILES, tuple(map(tuple, betas.values())), texts)
    return Drawn(Figure(
        names.take("gates", title), f"Where the gates ended: {title}", told,
        subject.facts(counted([1]), "none: these are quartiles", replicate), drawing, told, ("layer", *_QUARTILES),
        tuple((name, *row) for name, row in zip(betas, texts, strict=True)),
    ))  # fmt: skip
