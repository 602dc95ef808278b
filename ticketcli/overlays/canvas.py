"""Pixels, lines and words on a picture: sizes that suit the eye, outlines with a pattern, text that fits."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Pixels = NDArray[np.uint8]
Region = NDArray[np.bool_]
INK: Colour = (24, 24, 28)
PAPER: Colour = (255, 255, 255)
ELLIPSIS = "..."
_NEAREST = Image.Resampling.NEAREST


@dataclass(frozen=True)
class Style:
    """How a kind of thing is drawn: told apart by the line as well as by the colour."""

    colour: Colour
    line: Literal["solid", "dashed", "dotted"] = "solid"


def fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """The size at which an image is drawn: its longer side is `side` or, for small images, a whole multiple below it.

    An image of at most half the size grows by a whole factor, so that its pixels stay pixels; others fill the side.
    """
    factor = side // max(width, height)
    if factor >= 2:
        return width * factor, height * factor
    scale = side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def drawn(image: Any, size: tuple[int, int]) -> Pixels:
    """An image uint8 [H, W, 3], [H, W, 1] or [H, W] as RGB at another size, crisp where that is a whole factor."""
    pixels = np.asarray(image, dtype=np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    grows = _is_whole(pixels.shape, size)
    return np.array(Image.fromarray(pixels).resize(size, _NEAREST if grows else Image.Resampling.LANCZOS))


def drawn_mask(mask: Any, size: tuple[int, int]) -> Region:
    """A mask of 0 and 1, [H, W], at another size: where at least half of the new pixel is in it."""
    pixels = np.asarray(mask, dtype=np.uint8) * 255
    image = Image.fromarray(pixels)
    grows = _is_whole(pixels.shape, size)
    return np.asarray(image.resize(size, _NEAREST if grows else Image.Resampling.BILINEAR)) >= 128


def _is_whole(shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    return size[0] % shape[1] == 0 and size[1] % shape[0] == 0


def frame(size: tuple[int, int], box: tuple[float, float, float, float], thickness: int) -> Region:
    """The lines of a box x0, y0, x1, y1 (pixels of the drawn image, which cuts it off), inside its edge."""
    width, height = size
    x0, y0 = (min(max(round(low), 0), limit - 1) for low, limit in zip(box[:2], size, strict=True))
    x1, y1 = (min(max(round(high), low + 1), limit) for high, low, limit in zip(box[2:], (x0, y0), size, strict=True))
    region = np.zeros((height, width), dtype=bool)
    region[y0:y1, x0:x1] = True
    region[
        y0 + thickness : max(y1 - thickness, y0 + thickness), x0 + thickness : max(x1 - thickness, x0 + thickness)
    ] = False
    return region


def window(region: Region, margin: int) -> tuple[slice, slice]:
    """Rows and columns that hold a region and so many pixels around it: work there is work on the whole image."""
    spans = []
    for axis in (1, 0):
        places = np.flatnonzero(region.any(axis=axis))
        low, high = (int(places[0]), int(places[-1]) + 1) if places.size else (0, 0)
        spans.append(slice(max(low - margin, 0), high + margin))
    return spans[0], spans[1]


def edge(region: Region, thickness: int) -> Region:
    """The pixels of a region that are within so many steps of what is outside it; the border of the image is not."""
    inside = region
    for _ in range(thickness):
        around = np.pad(inside, 1, mode="edge")
        inside = inside & around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return region & ~inside


def fill(pixels: Pixels, region: Region, colour: Colour, opacity: float) -> None:
    """Lay a colour over the pixels of a region, in place."""
    old = pixels[region].astype(np.float64)
    pixels[region] = np.rint(old + (np.asarray(colour) - old) * opacity).astype(np.uint8)


def trace(pixels: Pixels, line: Region, style: Style) -> None:
    """Draw a line in its pattern, in place, with a dark rim and dark gaps, so that it shows on any ground.

    The pattern begins in the upper left corner of `pixels`.
    """
    fill(pixels, _grown(line) & ~line, INK, 0.5)
    rows, columns = np.nonzero(line)
    period, on = {"solid": (1, 1), "dashed": (14, 8), "dotted": (6, 3)}[style.line]
    there = (rows + columns) % period < on
    pixels[rows[~there], columns[~there]] = INK
    pixels[rows[there], columns[there]] = style.colour


def _grown(region: Region) -> Region:
    around = np.pad(region, 1)
    return region | around[:-2, 1:-1] | around[2:, 1:-1] | around[1:-1, :-2] | around[1:-1, 2:]


@cache
def font(size: int) -> Any:
    """Pillow's own letters, which need no file."""
    return ImageFont.load_default(size)


def extent(text: str, size: int) -> tuple[int, int]:
    """Width of a text and height of a line, in pixels."""
    return int(np.ceil(font(size).getlength(text))), round(size * 1.3)


def shortened(text: str, size: int, width: int) -> str:
    """As much of a text as `width` pixels hold, with dots where it was cut."""
    text = " ".join(text.split())
    if extent(text, size)[0] <= width:
        return text
    kept = bisect_right(range(len(text)), width, key=lambda n: extent(text[:n] + ELLIPSIS, size)[0]) - 1
    return text[:kept].rstrip() + ELLIPSIS if kept > 0 else ""


def write(image: Image.Image, at: tuple[int, int], text: str, size: int, colour: Colour = INK) -> None:
    """Draw a line of text whose upper left corner is `at`."""
    ImageDraw.Draw(image).text((at[0], at[1] + round(size * 0.05)), text, fill=colour, font=font(size))
