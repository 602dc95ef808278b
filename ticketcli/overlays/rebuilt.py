"""What a decoder rebuilds of an image: the image, what comes back, and where it differs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ticketcli.overlays.canvas import drawn, fitted
from ticketcli.overlays.sheet import Cell, Row

WHITE_AT = 0.5  # an error of this much, of white, is shown as white
SCALE = f"error: black is none, white {WHITE_AT:g} of the range from black to white and more, mean of the channels"
_PERFECT = 1e-10  # as metrics/quality.py counts a perfect image


def rebuilt_row(name: str, image: Any, rebuilt: Sequence[Any], side: int) -> Row:
    """A cell for the image, then for each network what it rebuilds, with its PSNR, and the error.

    Args:
        name: what the row is called.
        image: [3, H, W] in [0, 1].
        rebuilt: for each network, the same, clipped to [0, 1].
        side: pixels that the longer side of a cell may have; small images grow by a whole factor.
    """
    wanted = np.asarray(image, dtype=np.float64)
    size = fitted(wanted.shape[2], wanted.shape[1], side)
    cells = [Cell(_shown(wanted, size))]
    for one in rebuilt:
        found = np.asarray(one, dtype=np.float64)
        error = np.abs(found - wanted)
        psnr = -10 * math.log10(max(float(np.square(error).mean()), _PERFECT))
        cells.append(Cell(_shown(found, size), f"PSNR {psnr:.2f} dB"))
        cells.append(Cell(_shown(error.mean(axis=0, keepdims=True) / WHITE_AT, size), f"mean error {error.mean():.3f}"))
    return Row(name, tuple(cells))


def _shown(values: Any, size: tuple[int, int]) -> Image.Image:
    """[C, H, W], 1 being white, as a picture."""
    pixels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(drawn(np.moveaxis(pixels, 0, 2), size))
