"""Where a network looks: an image, maps over it, the boxes that they give, and where the objects are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import numpy as np
from PIL import Image

from ticketcli.overlays.canvas import Colour, Pixels, Style, drawn, drawn_mask, fitted, frame, trace, window
from ticketcli.overlays.detection import RIGHT, TRUTH, WRONG
from ticketcli.overlays.sheet import Entry

ENERGY: Colour = (255, 214, 40)
FOUND = Style((205, 120, 255), "dotted")  # a box where nobody knows what is right
_DIM = 0.45  # of its brightness an image keeps behind a map
_DARK = 0.25  # and outside of a region
_LINE = 2
_LONGEST = 16  # characters of a name that stands over a column
Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Marked:
    """A box to draw, in pixels of the image."""

    box: Corners
    style: Style


def legend(*, judged: bool, unjudged: bool = False) -> tuple[Entry, ...]:
    """What colours and lines mean: of boxes that are right or wrong, and of those where nobody knows."""
    energy = Entry("energy of the map; its maximum is full", Style(ENERGY), filled=True)
    known = (
        Entry("an object of the class", TRUTH),
        Entry("the map's box, right (IoU 0.5 or more)", RIGHT),
        Entry("the map's box, wrong", WRONG),
    )
    unknown = Entry("the map's box, where nothing is outlined", FOUND)
    return (energy, *(known if judged else ()), *((unknown,) if unjudged else ()))


def short_names(refs: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Networks as the titles of columns call them, and what that means; long names become letters.

    Folders that all paths begin with are left out, as far as a step and its file stay.
    """
    parts = [ref.split("/") for ref in refs]
    while len({one[0] for one in parts}) == 1 and min(map(len, parts)) > 2:
        parts = [one[1:] for one in parts]
    shown = ["/".join(one) for one in parts]
    if all(len(ref) <= _LONGEST for ref in shown):
        return tuple(shown), ""
    letters = tuple(ascii_uppercase[: len(refs)])
    return letters, "; ".join(f"{letter}: {ref}" for letter, ref in zip(letters, shown, strict=True))


def plain(image: Any, boxes: Sequence[Marked], side: int) -> Image.Image:
    """An image uint8 [H, W, C] with boxes on it, at most `side` pixels large."""
    pixels = drawn(image, _size(image, side))
    return _boxed(pixels, np.asarray(image).shape, boxes)


def heated(image: Any, map_: Any, boxes: Sequence[Marked], side: int) -> Image.Image:
    """A map float [H, W] in 0..1 over the image, which is grey and dark behind it, with boxes."""
    size = _size(image, side)
    grey = drawn(image, size).mean(axis=2, keepdims=True) * _DIM
    energy = np.clip(_enlarged(np.asarray(map_, dtype=np.float32), size), 0, 1)[:, :, None]
    pixels = np.rint(grey + (np.asarray(ENERGY) - grey) * energy).astype(np.uint8)
    return _boxed(pixels, np.asarray(image).shape, boxes)


def region_on(image: Any, region: Any, side: int) -> Image.Image:
    """A region bool [H, W] of the image; outside of it the image is grey and dark."""
    size = _size(image, side)
    pixels = drawn(image, size)
    dark = np.rint(pixels.mean(axis=2, keepdims=True) * _DARK).astype(np.uint8)
    inside = drawn_mask(region, size)[:, :, None]
    return Image.fromarray(np.where(inside, pixels, dark).astype(np.uint8))


def _size(image: Any, side: int) -> tuple[int, int]:
    height, width = np.asarray(image).shape[:2]
    return fitted(width, height, side)


def _enlarged(map_: Any, size: tuple[int, int]) -> Any:
    """Values as they are where the image grows by a whole factor, else between pixels."""
    height, width = map_.shape
    is_whole = size[0] % width == 0 and size[1] % height == 0
    how = Image.Resampling.NEAREST if is_whole else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(map_, mode="F").resize(size, how))


def _boxed(pixels: Pixels, shape: tuple[int, ...], boxes: Sequence[Marked]) -> Image.Image:
    size = (pixels.shape[1], pixels.shape[0])
    for one in boxes:
        x0, y0, x1, y1 = one.box
        across, down = size[0] / shape[1], size[1] / shape[0]
        lines = frame(size, (x0 * across, y0 * down, x1 * across, y1 * down), _LINE)
        near = window(lines, 1)
        trace(pixels[near], lines[near], one.style)
    return Image.fromarray(pixels)
