"""Objects drawn on their image: what is there, and what a network made of it (right, wrong, missed).

Blue, red and yellow stay apart for every kind of colour vision, and the line is solid, dashed or dotted besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ticketcli.annotations.pictures import Picture
from ticketcli.data.outlines import bitmap
from ticketcli.overlays.canvas import (
    PAPER,
    Pixels,
    Region,
    Style,
    drawn,
    drawn_mask,
    edge,
    fill,
    fitted,
    frame,
    trace,
    window,
)
from ticketcli.overlays.matching import MIN_SCORE, Match, match
from ticketcli.overlays.sheet import Cell, Entry, Row
from ticketcli.overlays.words import Words, write_at_boxes
from ticketcli.tensors.shown import Found

RIGHT = Style((40, 150, 255), "solid")
WRONG = Style((230, 50, 20), "dashed")
MISSED = Style((255, 230, 60), "dotted")
IGNORED = Style((150, 150, 150), "solid")
TRUTH = Style(PAPER, "solid")
_OPACITY = 0.25
_MANY, _HOSTS = 30, 100  # marks on one image: words at each, or at any, would hide what they name
_LINE = 2


@dataclass(frozen=True)
class _Mark:
    """One object to draw: the box in pixels of the original image, its mask there, and its words."""

    style: Style
    box: tuple[float, float, float, float]
    mask: Any | None
    name: str
    score: str = ""


def legend(*, min_score: float = MIN_SCORE, crowds: bool = False) -> tuple[Entry, ...]:
    """What the lines mean, for the head of a sheet."""
    entries = (
        Entry(f"right (score {min_score:g} or more, IoU 0.5 or more)", RIGHT),
        Entry("wrong (no such object, or found twice)", WRONG),
        Entry("missed", MISSED),
    )
    return (*entries, Entry("in a crowd: not judged", IGNORED)) if crowds else entries


def detection_row(
    image: Any,
    picture: Picture,
    found: Sequence[Found],
    class_names: Sequence[str],
    side: int,
    *,
    min_score: float = MIN_SCORE,
) -> Row:
    """The truth, and what each network found, of one image.

    Args:
        image: uint8 [H, W, 3], [H, W, 1] or [H, W], at the picture's size.
        picture: what is there.
        found: for each network, in pixels of the image.
        class_names: by label; a single one is not written at every object.
        side: pixels that the longer side of a cell may have; small images grow by a whole factor.
        min_score: what is less sure is not drawn.
    """
    masks = any(one.masks is not None for one in found) or not found
    judged = [match(picture, one, min_score=min_score) for one in found]
    n = sum(not one.crowd for one in picture.instances)
    cells = [Cell(draw_truth(image, picture, class_names, side, masks=masks), _counted(n))]
    for one, verdict in zip(found, judged, strict=True):
        drawing = draw_found(image, picture, one, verdict, class_names, side)
        cells.append(Cell(drawing, f"{verdict}; F1 {verdict.f1:.2f}"))
    name = f"image {picture.id}" + (f" ({picture.file_name})" if picture.file_name else "")
    return Row(name, tuple(cells))


def _counted(n: int) -> str:
    return "no objects" if n == 0 else f"{n} object{'s' if n > 1 else ''}"


def draw_truth(
    image: Any, picture: Picture, class_names: Sequence[str], side: int, *, masks: bool = True
) -> Image.Image:
    """The objects of a picture, white; crowd regions grey; without `masks` their boxes alone."""
    several = len(class_names) > 1
    marks = []
    for place, one in enumerate(picture.instances):
        name = class_names[one.label] if several else ""
        style = IGNORED if one.crowd else TRUTH
        marks.append(_truth_mark(picture, place, style, f"{name} (crowd)".strip() if one.crowd else name, masks))
    return _draw(image, picture, marks, side)


def draw_found(
    image: Any, picture: Picture, found: Found, verdict: Match, class_names: Sequence[str], side: int
) -> Image.Image:
    """What was found, wrong over right over missed; words at the wrong ones have the first choice of a place."""
    several, masks = len(class_names) > 1, found.masks is not None
    marks = [
        _truth_mark(picture, place, MISSED, class_names[picture.instances[place].label] if several else "", masks)
        for place in verdict.missed
    ]
    for places, style in ((verdict.ignored, IGNORED), (verdict.right, RIGHT), (verdict.wrong, WRONG)):
        for place in reversed(places):  # the surest is drawn last, over the others
            name = class_names[int(found.labels[place])] if several else ""
            mask = None if found.masks is None else found.masks[place].cpu().numpy()
            x0, y0, x1, y1 = found.boxes[place].tolist()
            marks.append(_Mark(style, (x0, y0, x1, y1), mask, name, f"{float(found.scores[place]):.2f}"))
    return _draw(image, picture, marks, side)


def _truth_mark(picture: Picture, place: int, style: Style, name: str, masks: bool) -> _Mark:
    one = picture.instances[place]
    x, y, width, height = one.box
    mask = bitmap(one.segmentation, picture.height, picture.width) if masks and one.segmentation else None
    return _Mark(style, (x, y, x + width, y + height), mask, name)


def _draw(image: Any, picture: Picture, marks: Sequence[_Mark], side: int) -> Image.Image:
    """Marks in their order, the last on top; the words come after all lines, the last mark's first."""
    size = fitted(picture.width, picture.height, side)
    scale = size[0] / picture.width
    boxes = [tuple(side * scale for side in mark.box) for mark in marks]
    pixels = drawn(image, size)
    for mark, box in zip(marks, boxes, strict=True):
        _draw_mark(pixels, mark, box)
    page = Image.fromarray(pixels)
    if len(marks) <= _HOSTS:
        pairs = [
            (mark, box) for mark, box in zip(marks, boxes, strict=True) if len(marks) <= _MANY or mark.style == WRONG
        ]
        write_at_boxes(page, [Words(mark.name, mark.score, box, mark.style.colour) for mark, box in reversed(pairs)])
    return page


def _draw_mark(pixels: Pixels, mark: _Mark, box: Any) -> None:
    size = (pixels.shape[1], pixels.shape[0])
    if mark.mask is not None:
        region: Region = drawn_mask(mark.mask, size)
        near = window(region, _LINE + 1)
        fill(pixels[near], region[near], mark.style.colour, _OPACITY)
        trace(pixels[near], edge(region[near], _LINE), mark.style)
    lines = frame(size, box, _LINE if mark.mask is None else 1)
    near = window(lines, 1)
    trace(pixels[near], lines[near], mark.style)
