"""What `ticket explain` writes: a folder that appears whole, with sheets of pictures, maps, gates and an account."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ticketcli.disk import space_errors
from ticketcli.errors import InputMissing, UsageError
from ticketcli.explain.gate_file import write_gates
from ticketcli.exports.explained import Row, Search
from ticketcli.exports.explained_images import Item
from ticketcli.metrics.localization import MIN_IOU
from ticketcli.naming import GATES
from ticketcli.overlays.canvas import Style
from ticketcli.overlays.detection import RIGHT, TRUTH, WRONG
from ticketcli.overlays.localized import FOUND, Marked, heated, legend, plain, region_on, short_names
from ticketcli.overlays.sheet import Cell, cell_side, sheet
from ticketcli.overlays.sheet import Row as SheetRow
from ticketcli.store.atomic import sync_folder, write_bytes, write_json
from ticketcli.store.host import temporary_name
from ticketcli.tensors.files import write_checkpoint

ACCOUNT = "explained.json"
_MAPS = "maps.safetensors"
_ROWS = 6  # of a sheet


def require_new(folder: Path) -> None:
    """Refuse to replace anything, before anything is computed.

    Raises:
        UsageError: the folder is there.
        InputMissing: what it is to lie in is not.
    """
    if folder.exists() or folder.is_symlink():
        raise UsageError("refusing to replace what is there", where=str(folder), hint="name another with --to")
    if not folder.absolute().parent.is_dir():
        raise InputMissing("no such folder", where=str(folder.parent), hint="make it, or name another with --to")


def write_folder(
    folder: Path, account: Mapping[str, Any], items: Sequence[Item], rows: Mapping[str, Sequence[Row]], search: Search
) -> dict[str, Any]:
    """Write everything into a folder of another name, and give it its own at the end.

    Args:
        folder: must not be there.
        account: what `explained.json` says; the names of the files are added.
        items: the images.
        rows: reference of a network -> what it sees, in one order for all.
        search: how it was searched.

    Returns:
        The account, with the files.
    """
    hidden = folder.with_name(temporary_name(folder.name))
    try:
        with space_errors(folder):
            hidden.mkdir()
            drawn = sheets(items, rows, search)
            for name, png in drawn.items():
                write_bytes(hidden / name, png)
            write_checkpoint(hidden / _MAPS, _tensors(rows), kind="maps", about={"networks": list(rows)})
            whole = {**account, "files": [*drawn, _MAPS, *_gates(hidden, items, rows, search), ACCOUNT]}
            write_json(hidden / ACCOUNT, whole)
            require_new(folder)
            hidden.rename(folder)
            sync_folder(folder.absolute().parent)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return whole


def _gates(folder: Path, items: Sequence[Item], rows: Mapping[str, Sequence[Row]], search: Search) -> list[str]:
    """A file for each network and size of images, its rows in their order; none where gates were not kept."""
    files = []
    for number, (ref, own) in enumerate(rows.items(), 1):
        kept: dict[tuple[int, int], list[Row]] = {}
        for row in own:
            if row.gates:
                kept.setdefault((row.map_.shape[0], row.map_.shape[1]), []).append(row)
        for (height, width), some in kept.items():
            name = f"{number}-{width}x{height}{GATES}"
            gates = {gate: torch.stack([row.gates[gate] for row in some]) for gate in some[0].gates}
            images, targets = [items[row.image].name for row in some], [row.target for row in some]
            about = {"network": ref, "mode": search.mode, "guard": search.guard}
            write_gates(folder / name, gates, images=images, targets=targets, about=about)
            files.append(name)
    return files


def _tensors(rows: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """``NETWORK/ROW/energy`` and ``NETWORK/ROW/region``, both counted from 0."""
    found = {}
    for number, own in enumerate(rows.values()):
        for place, row in enumerate(own):
            found[f"{number}/{place}/energy"] = row.map_.contiguous()
            found[f"{number}/{place}/region"] = row.region.contiguous()
    return found


def sheets(items: Sequence[Item], rows: Mapping[str, Sequence[Row]], search: Search) -> dict[str, bytes]:
    """File name -> PNG: a row for each image and target; of each network its map with the box, and its region."""
    side = cell_side(1 + 2 * len(rows))
    drawn = []
    for each in zip(*rows.values(), strict=True):
        item = items[each[0].image]
        first = [_marked(box, TRUTH) for name in {row.target for row in each} for box in item.boxes.get(name, ())]
        cells = [Cell(plain(item.pixels, first, side), ", ".join(item.truth))]
        for row in each:
            cells += _cells(item, row, side)
        targets = list(dict.fromkeys(row.target for row in each))
        drawn.append(SheetRow(f"{item.name}; target: {' / '.join(targets)}", tuple(cells)))
    names, told = short_names(list(rows))
    titles = ["image", *(title for name in names for title in (name, "region"))]
    ious = [row.iou for own in rows.values() for row in own]
    marks = legend(judged=any(iou is not None for iou in ious), unjudged=None in ious)
    heading = f"{search.mode}, boxes and regions from {search.threshold:g} on"
    heading = "; ".join(filter(None, (heading, told)))
    found = {}
    for number, start in enumerate(range(0, len(drawn), _ROWS), 1):
        png = io.BytesIO()
        page = sheet(drawn[start : start + _ROWS], titles, heading=heading, legend=marks)
        page.save(png, "PNG", optimize=True)
        found[f"sheet-{number}.png"] = png.getvalue()
    return found


def _cells(item: Item, row: Row, side: int) -> list[Cell]:
    truth = [_marked(box, TRUTH) for box in item.boxes.get(row.target, ())]
    style = FOUND if row.iou is None else RIGHT if row.iou >= MIN_IOU else WRONG
    image = heated(item.pixels, row.map_, [*truth, _marked(row.box, style)], side)
    words = f"{row.scores[0]:.2f} to {row.scores[-1]:.2f}"
    where = f"taken for {row.taken}" if row.iou is None else f"IoU {row.iou:.2f}, taken for {row.taken}"
    return [Cell(image, words), Cell(region_on(item.pixels, row.region, side), where)]


def _marked(box: Any, style: Style) -> Marked:
    x0, y0, x1, y1 = box.tolist()
    return Marked((x0, y0, x1, y1), style)
