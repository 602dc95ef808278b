"""A sheet: a row for each image, a column for each network, so that a person sees what was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ticketcli.overlays.canvas import INK, PAPER, Colour, Style, extent, fill, shortened, trace, write

WIDTH = 1600
_MARGIN, _GAP = 20, 14
_HEADING, _TITLE, _TEXT = 24, 20, 17
_QUIET: Colour = (96, 96, 104)
_RULE: Colour = (216, 216, 222)


@dataclass(frozen=True)
class Cell:
    """One image of a row, and a line of words beneath it."""

    image: Image.Image
    caption: str = ""


@dataclass(frozen=True)
class Row:
    """What there is to see of one image: a cell for each column."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Entry:
    """A line of the legend; `filled` is a plain patch, else an outline as objects have it."""

    text: str
    style: Style
    filled: bool = False


def worst_first(dense: Mapping[int, float], ticket: Mapping[int, float]) -> list[int]:
    """Images by how much worse the ticket is than the dense network, the greatest loss first; ties by number.

    Args:
        dense: image's id -> score of the dense network on it; greater is better.
        ticket: the same images -> score of the ticket.
    """
    if dense.keys() != ticket.keys():
        raise ValueError("both networks must be judged on the same images")
    return sorted(dense, key=lambda image: (ticket[image] - dense[image], image))


def cell_side(n_columns: int) -> int:
    """Pixels that the longer side of an image may have, so that a sheet is no wider than `WIDTH`; at most 640."""
    return min(640, (WIDTH - 2 * _MARGIN - (n_columns - 1) * _GAP) // n_columns)


def sheet(
    rows: Sequence[Row], titles: Sequence[str], *, heading: str = "", legend: Sequence[Entry] = ()
) -> Image.Image:
    """Put rows under one another, with titles over the columns; whatever is in the cells, the text fits.

    Raises:
        ValueError: a row has not a cell for each title.
    """
    if any(len(row.cells) != len(titles) for row in rows):
        raise ValueError(f"a row must have {len(titles)} cells, one for each title")
    least = cell_side(len(titles)) * 3 // 5  # room for words under narrow images
    columns = [max([least, *(row.cells[k].image.width for row in rows)]) for k in range(len(titles))]
    width = sum(columns) + _GAP * (len(columns) - 1) + 2 * _MARGIN
    lines = _wrapped(legend, width - 2 * _MARGIN)
    top = _MARGIN + (round(_HEADING * 1.6) if heading else 0) + len(lines) * _line(_TEXT) + (_GAP if lines else 0)
    head = top + _line(_TITLE)
    heights = [_row_height(row) for row in rows]
    height = head + sum(heights) + (0 if rows else _line(_TEXT)) + _MARGIN
    page = Image.new("RGB", (width, height), PAPER)
    if heading:
        write(page, (_MARGIN, _MARGIN), shortened(heading, _HEADING, width - 2 * _MARGIN), _HEADING)
    _draw_legend(page, lines, top - len(lines) * _line(_TEXT) - (_GAP if lines else 0))
    lefts = [_MARGIN + sum(columns[:k]) + k * _GAP for k in range(len(columns))]
    for left, column, title in zip(lefts, columns, titles, strict=True):
        write(page, (left, top), shortened(title, _TITLE, column), _TITLE)
    if not rows:
        write(page, (_MARGIN, head), "no images", _TEXT, _QUIET)
    for row, y in zip(rows, head + np.cumsum([0, *heights[:-1]]) if rows else [], strict=True):
        _draw_row(page, row, int(y), lefts, columns)
    return page


def _line(size: int) -> int:
    return round(size * 1.7)


def _row_height(row: Row) -> int:
    return _GAP + _line(_TEXT) + max(cell.image.height for cell in row.cells) + _line(_TEXT) + _GAP


def _draw_row(page: Image.Image, row: Row, y: int, lefts: Sequence[int], columns: Sequence[int]) -> None:
    ImageDraw.Draw(page).line([(_MARGIN, y), (page.width - _MARGIN - 1, y)], fill=_RULE)
    y += _GAP
    write(page, (_MARGIN, y), shortened(row.name, _TEXT, page.width - 2 * _MARGIN), _TEXT, _QUIET)
    y += _line(_TEXT)
    for cell, left, column in zip(row.cells, lefts, columns, strict=True):
        page.paste(cell.image, (left, y))
        caption = shortened(cell.caption, _TEXT, column)
        write(page, (left, y + cell.image.height + 5), caption, _TEXT)


def _wrapped(legend: Sequence[Entry], width: int) -> list[list[tuple[int, Entry]]]:
    """Entries in lines, each with the place at which it begins."""
    lines: list[list[tuple[int, Entry]]] = []
    x = width + 1
    for entry in legend:
        needed = 38 + extent(shortened(entry.text, _TEXT, width // 2), _TEXT)[0]
        if x + needed > width:
            lines.append([])
            x = 0
        lines[-1].append((x, entry))
        x += needed + 26
    return lines


def _draw_legend(page: Image.Image, lines: Sequence[Sequence[tuple[int, Entry]]], y: int) -> None:
    for line in lines:
        for x, entry in line:
            page.paste(_patch(entry), (_MARGIN + x, y + 3))
            text = shortened(entry.text, _TEXT, (page.width - 2 * _MARGIN) // 2)
            write(page, (_MARGIN + x + 38, y), text, _TEXT)
        y += _line(_TEXT)


def _patch(entry: Entry) -> Image.Image:
    pixels = np.full((16, 30, 3), 255, dtype=np.uint8)
    whole = np.ones((16, 30), dtype=bool)
    fill(pixels, whole, entry.style.colour, 1.0 if entry.filled else 0.3)
    border = whole.copy()
    border[2:-2, 2:-2] = False
    if entry.filled:
        border[1:-1, 1:-1] = False
        pixels[border] = INK
    else:
        trace(pixels, border, entry.style)
    return Image.fromarray(pixels)
