"""What `ticket explain` has found, for people."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ticketcli.report.grid import Grid
from ticketcli.report.render import width

_COLUMNS = ("image", "target", "network", "taken for", "before", "after", "sweeps", "box", "IoU")
_LEGEND = (
    "before, after: the target, with all gates open and with those that were found, after so many sweeps.",
    "box: x0, y0, x1, y1 in pixels, of the largest part of the map from {threshold:g} of its maximum on.",
)
_MOST = 60  # rows that are shown


def explained_text(account: Mapping[str, Any], folder: str) -> str:
    """A row for each image, target and network; what they have in common; and where the pictures lie."""
    refs, rows = [one["ref"] for one in account["checkpoints"]], account["rows"]
    n = len(rows) // len(refs)
    in_order = [rows[number * n + place] for place in range(n) for number in range(len(refs))]
    grid = Grid(_COLUMNS, tuple(_cells(account, row) for row in in_order[:_MOST]), 4).without_empty()
    parts = [grid.as_text(width())]
    if len(in_order) > _MOST:
        parts.append(f"{len(in_order) - _MOST} further rows are in explained.json.")
    if n > 1:
        parts.append(_together(refs, rows, n).as_text(width()))
    legend = [_LEGEND[0], _LEGEND[1].format(threshold=account["settings"]["threshold"])]
    if any(not row["converged"] for row in rows):
        legend.append("*: the last sweep still moved gates; --sweeps allows more.")
    return "\n\n".join([*parts, "\n".join(legend), f"{folder}: {', '.join(account['files'])}"])


def _cells(account: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[str, ...]:
    box = ", ".join(f"{edge:g}" for edge in row["box"])
    iou = "" if row["iou"] is None else f"{row['iou']:.2f}"
    sweeps = f"{len(row['scores']) - 1}{'' if row['converged'] else '*'}"
    return (account["images"][row["image"]]["name"], row["target"], row["checkpoint"], row["taken"],
            f"{row['scores'][0]:.3f}", f"{row['scores'][-1]:.3f}", sweeps, box, iou)  # fmt: skip


def _together(refs: Sequence[str], rows: Sequence[Mapping[str, Any]], n: int) -> Grid:
    """Means over the rows of each network."""
    found = []
    for number, ref in enumerate(refs):
        own = rows[number * n : (number + 1) * n]
        opened = statistics.fmean(share for row in own for share in row["open"].values())
        ious = [row["iou"] for row in own if row["iou"] is not None]
        iou = f"{statistics.fmean(ious):.2f}" if ious else ""
        before, after = (statistics.fmean(row["scores"][place] for row in own) for place in (0, -1))
        found.append((ref, str(n), f"{before:.3f}", f"{after:.3f}", f"{opened:.1%}", iou))
    return Grid(("mean of", "rows", "before", "after", "gates open", "IoU"), tuple(found), 1).without_empty()
