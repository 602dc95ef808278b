"""Sheets of where networks look for objects: a row for each image and class, a column for each method and network."""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from torch import Tensor

from ticketcli.data.images import Normalization
from ticketcli.explain.boxes import box_of
from ticketcli.metrics.localization import MIN_IOU, overlap
from ticketcli.models.encoder import Encoder
from ticketcli.overlays.canvas import Style
from ticketcli.overlays.detection import RIGHT, TRUTH, WRONG
from ticketcli.overlays.localized import Marked, heated, legend, plain, short_names
from ticketcli.overlays.sheet import Cell, cell_side, sheet
from ticketcli.overlays.sheet import Row as SheetRow
from ticketcli.recipe.evaluate_config import Localize
from ticketcli.stages.evaluate_localization import Found, judged_by, lookers_of
from ticketcli.stages.sought import Row, Sought
from ticketcli.tensors.modes import evaluating

_ROWS = 6  # of a sheet
_COLUMNS = 6  # beside the image
_FIRST = (
    "fr",
    "fsp-fr",
    "gradcam",
    "guided",
    "gradient",
    "fsp",
    "fsp-unguarded",
    "fsp-fr-unguarded",
)  # where not all have room


def localized_sheets(
    networks: Sequence[tuple[str, Encoder]],
    rows: Sequence[Found],
    config: Localize,
    wanted: Sought,
    n: int,
    device: torch.device,
) -> dict[str, bytes]:
    """File name -> PNG: `n` rows at equal distances among all, so that nobody has chosen them.

    Args:
        networks: reference and network, in the order of the columns.
        rows: all that were looked at, as the same networks in this order saw them.
        config: the settings.
        wanted: what was looked for.
        n: how many; all, where there are fewer.
        device: where the networks are.
    """
    shown = [method for method in _FIRST if method in config.methods][: max(1, _COLUMNS // len(networks))]
    if not shown or not rows:
        return {}
    n = min(n, len(rows))
    chosen = [k * len(rows) // n for k in range(n)]
    some = config.model_copy(update={"methods": tuple(shown)})
    judged = [[judged_by(rows, number, method, config) for number in range(len(networks))] for method in shown]
    side = cell_side(1 + len(shown) * len(networks))
    names, heading = short_names([ref for ref, _ in networks])
    drawn = []
    with evaluating(*(network for _, network in networks)):
        lookers = lookers_of([network for _, network in networks], some)
        for place in chosen:
            image, row = wanted.row(rows[place].image, rows[place].label, device)
            looked = [looker.look(image, torch.tensor([row.label], device=device)) for looker in lookers]
            pixels = _pixels(image, wanted.normalization)
            truth = [_marked(box, TRUTH) for box in row.boxes]
            cells = [Cell(plain(pixels, truth, side), wanted.class_names[row.label])]
            for method, each in zip(shown, judged, strict=True):
                for seen, one in zip(looked, each, strict=True):
                    cells.append(_cell(pixels, seen.maps[method][0], row, float(one.at["box"][place]), side))
            drawn.append(SheetRow(_name(wanted, rows[place], names), tuple(cells)))
    titles = ["image", *(f"{method}, {name}" if len(names) > 1 else method for method in shown for name in names)]
    heading = heading or ", ".join(names)
    files = {}
    for number, start in enumerate(range(0, len(drawn), _ROWS), 1):
        png = io.BytesIO()
        page = sheet(drawn[start : start + _ROWS], titles, heading=heading, legend=legend(judged=True))
        page.save(png, "PNG", optimize=True)
        files[f"localized-{number}.png"] = png.getvalue()
    return files


def _cell(pixels: Tensor, map_: Tensor, row: Row, threshold: float, side: int) -> Cell:
    """A map with the box that it gives at its threshold."""
    box = box_of(map_, threshold)
    iou = float(overlap(box[None], row.boxes)[0])
    marks = [*(_marked(one, TRUTH) for one in row.boxes), _marked(box, RIGHT if iou >= MIN_IOU else WRONG)]
    return Cell(heated(pixels, map_, marks, side), f"IoU {iou:.2f}")


def _marked(box: Tensor, style: Style) -> Marked:
    x0, y0, x1, y1 = box.tolist()
    return Marked((x0, y0, x1, y1), style)


def _pixels(image: Tensor, normalization: Normalization) -> Tensor:
    """The bytes that an image [1, 3, h, w] was made of, [h, w, 3]."""
    white = normalization.denormalize(image)[0].clamp(0, 1).mul(255).round()
    return white.to(torch.uint8).permute(1, 2, 0).cpu()


def _name(wanted: Sought, found: Found, networks: Sequence[str]) -> str:
    """The image, the class, and which of the networks take the image for one of it."""
    picture = wanted.picture(found.image)
    by = [name for name, taken in zip(networks, found.taken, strict=True) if taken]
    taken = f"taken for it by {' and '.join(by)}" if by else "taken for another class"
    name = f"image {picture.id}" + (f" ({picture.file_name})" if picture.file_name else "")
    return f"{name}: {wanted.class_names[found.label]}, {taken}"
