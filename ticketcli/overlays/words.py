"""Words at objects: beside their box where there is room, never over other words, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from ticketcli.overlays.canvas import INK, Colour, extent, shortened, write

Box = tuple[int, int, int, int]
SIZE = 14
_PAD = 3


@dataclass(frozen=True)
class Words:
    """What is written at a box.

    Attributes:
        name: may be cut where it is long.
        score: behind it, never cut.
        box: x0, y0, x1, y1 in pixels of the page.
        colour: of the plate beneath the text.
    """

    name: str
    score: str
    box: tuple[float, ...]
    colour: Colour


def write_at_boxes(page: Image.Image, words: Sequence[Words]) -> list[Box]:
    """Write each text on a plate of its colour at its box.

    The first ones choose first; a text that would lie over another is left out, its object being drawn all the same.

    Returns:
        Where plates were drawn.
    """
    taken: list[Box] = []
    for one in words:
        text = _text(one, min(page.width, max(120, page.width // 3)) - 2 * _PAD)
        if not text:
            continue
        width, height = extent(text, SIZE)
        plate = next(
            (place for place in _places(one.box, width + 2 * _PAD, height, page.size) if _is_free(place, taken)), None
        )
        if plate is None:
            continue
        taken.append(plate)
        ImageDraw.Draw(page).rectangle((plate[0], plate[1], plate[2] - 1, plate[3] - 1), fill=one.colour)
        write(page, (plate[0] + _PAD, plate[1]), text, SIZE, INK if _is_light(one.colour) else (255, 255, 255))
    return taken


def _text(words: Words, width: int) -> str:
    room = width - (extent(f" {words.score}", SIZE)[0] if words.score else 0)
    return f"{shortened(words.name, SIZE, room)} {words.score}".strip()


def _places(box: tuple[float, ...], width: int, height: int, size: tuple[int, int]) -> Iterator[Box]:
    """Above the box, beneath it, then inside its corners; all within the page."""
    x0, y0, x1, y1 = (round(edge) for edge in box)
    for x, y in ((x0, y0 - height), (x0, y1), (x1 - width, y0 - height), (x1 - width, y1), (x0, y0), (x0, y1 - height)):
        if y < 0 or y + height > size[1]:
            continue
        x = min(max(x, 0), max(size[0] - width, 0))
        yield x, y, x + width, y + height


def _is_free(one: Box, taken: Sequence[Box]) -> bool:
    return all(one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1] for other in taken)


def _is_light(colour: Colour) -> bool:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 110
