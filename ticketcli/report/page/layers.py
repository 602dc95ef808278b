"""How much of each layer lives, ticket by ticket; layers in which nothing lives are marked."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ticketcli.figures.figure import Figure
from ticketcli.figures.heatmap import Heatmap
from ticketcli.report.page.masks import Layers, Masks
from ticketcli.report.page.section import Block, Drawn, Names, Section, Words
from ticketcli.report.page.subject import Arm, Subject, counted
from ticketcli.report.page.swept import Sweep, in_sweeps, sweeps_of

_MOST = 8  # arms that have a figure of their own
_CROSS = (
    "A cross marks a layer in which no weight lives: nothing passes through it, and the network has collapsed there"
)


def layers(subject: Subject, masks: Masks, names: Names) -> Section | None:
    """A row a ticket at its last round, then for each arm a row a round; None of a run that prunes nothing."""
    along = sweeps_of(subject)
    elsewhere = in_sweeps(subject)
    arms = [arm for arm in subject.arms if masks.replicates(arm) and arm.number not in elsewhere]
    if not subject.arms:
        return None
    if not masks.paths:
        why = "No mask is there yet."
        return Section("layers", "Layer by layer", (Words(why, is_absence=True),))
    blocks: list[Block] = []
    last = [_last(masks, arm) for arm in arms]
    known = [(arm, found, number) for arm, (found, number) in zip(arms, last, strict=True) if found]
    if known:
        columns = list(known[0][1][0])
        same = [one for one in known if list(one[1][0]) == columns]
        rows = [f"{arm.name}, round {number}" for arm, _, number in same]
        blocks.append(_figure(subject, names, "every arm's last mask", rows, [found for _, found, _ in same], columns))
    for arm in arms[:_MOST]:
        replicate = masks.replicates(arm)[0]
        found = [(number, masks.matrices((arm.number, replicate, number))) for number in masks.rounds(arm, replicate)]
        there = [(number, one) for number, one in found if one]
        if len(there) > 1:
            columns = list(there[0][1])
            title = f"{arm.name}, round by round" + (f" (replicate {replicate})" if len(arm.steps) > 1 else "")
            rows = [f"round {number}" for number, _ in there]
            blocks.append(_figure(subject, names, title, rows, [[one] for _, one in there], columns, replicate))
    blocks += [drawn for sweep in along[:_MOST] for drawn in _along(subject, masks, sweep, names)]
    further = max(len(arms) - _MOST, 0) + max(len(along) - _MOST, 0)
    if further:
        blocks.append(Words(f"{further} further arms have no figure of their own; summary.json has them all."))
    blocks += [Words(f"Not shown: {problem}.", is_absence=True) for problem in masks.told()]
    return Section("layers", "Layer by layer", tuple(blocks))


def _along(subject: Subject, masks: Masks, sweep: Sweep, names: Names) -> list[Drawn]:
    """A row for each pruning along a setting, as means over the replicates."""
    arms = [arm for arm in sweep.arms if masks.replicates(arm)]
    if sweep.kind == "heal" or not arms:  # healing leaves masks as they are
        return []
    found = [_last(masks, arm)[0] for arm in arms]
    there = [(arm, group) for arm, group in zip(arms, found, strict=True) if group]
    rows = [arm.name for arm, _ in there]
    columns = list(there[0][1][0]) if there else []
    return [_figure(subject, names, sweep.name, rows, [group for _, group in there], columns)] if there else []


def _last(masks: Masks, arm: Arm) -> tuple[list[Layers], int]:
    """The masks of the last round that all replicates have."""
    replicates = masks.replicates(arm)
    number = min(max(masks.rounds(arm, replicate)) for replicate in replicates)
    found = [masks.matrices((arm.number, replicate, number)) for replicate in replicates]
    return [one for one in found if one], number


def _figure(
    subject: Subject, names: Names, title: str, rows: Sequence[str], found: Sequence[Sequence[Layers]],
    columns: Sequence[str], seeds: str = "",
) -> Drawn:  # fmt: skip
    values = [
        [statistics.fmean(_living(one[column]) for one in group) if all(column in one for one in group) else None
         for column in columns]
        for group in found
    ]  # fmt: skip
    crossed = frozenset(
        (row, column)
        for row, group in enumerate(found) for column, name in enumerate(columns)
        if any(one[name][0] == 0 < one[name][1] for one in group if name in one)
    )  # fmt: skip
    numbers = [len(group) for group in found]
    told = "The share of each layer's weights that live, from the first layer to the last."
    told += " Means over the replicates." if max(numbers) > 1 else ""
    collapsed = [f"{rows[row]}: {columns[column]}" for row, column in sorted(crossed)]
    told += f" {_CROSS}: {'; '.join(collapsed[:4])}." if crossed else " No layer has collapsed."
    drawing = Heatmap(
        tuple(rows), tuple(_short(column) for column in columns), tuple(tuple(row) for row in values),
        tuple(tuple(_percent(value) for value in row) for row in values), crossed=crossed, corner="layers",
    )  # fmt: skip
    return Drawn(Figure(
        names.take("layers", title), f"Living weights by layer: {title}", told,
        subject.facts(counted(numbers), "none: these are exact counts", seeds), drawing, told, ("", *columns),
        tuple((row, *(_percent(value) for value in line)) for row, line in zip(rows, values, strict=True)),
    ))  # fmt: skip


def _living(counts: tuple[int, int]) -> float:
    return counts[0] / counts[1] if counts[1] else 1.0


def _percent(value: float | None) -> str:
    """Whole per cents, and more digits where there are few."""
    if value is None:
        return ""
    return f"{value:.0%}" if value >= 0.0995 or value == 0 else f"{value:.1%}"


def _short(name: str) -> str:
    """What all names of parameters end with says nothing."""
    return name.removesuffix(".weight")
