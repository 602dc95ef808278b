"""Label maps in colours: the image, the truth and what each network says."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from ticketcli.metrics.confusion import IGNORED, Confusion
from ticketcli.overlays.canvas import Colour, Pixels, Style, drawn, fitted
from ticketcli.overlays.sheet import Cell, Entry, Row

GREY: Colour = (136, 136, 136)
_FIRST: tuple[Colour, ...] = (
    (28, 30, 46),  # 0, as a rule the background: nearly black
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 90, 170),
)  # after Okabe and Ito: apart for every kind of colour vision
_GOLDEN = 0.618033988749895


@cache
def colour_of(label: int) -> Colour:
    """A label's colour, the same in every picture and whatever the number of classes; grey is 255, ignored."""
    if label == IGNORED:
        return GREY
    if label < len(_FIRST):
        return _FIRST[label]
    further = label - len(_FIRST)
    hue, saturation, value = (further * _GOLDEN) % 1, (0.9, 0.6, 0.75)[further % 3], (0.95, 0.8, 0.6)[further // 3 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def coloured(labels: Any, size: tuple[int, int]) -> Image.Image:
    """Labels uint8 [H, W] as colours at another size; labels are never mixed."""
    table = np.asarray([colour_of(label) for label in range(256)], dtype=np.uint8)
    pixels: Pixels = table[np.asarray(labels, dtype=np.uint8)]
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def legend(label_maps: Iterable[Any], class_names: Sequence[str]) -> tuple[Entry, ...]:
    """The classes that occur in the given maps, for the head of a sheet."""
    seen = sorted({int(label) for one in label_maps for label in np.unique(np.asarray(one))})
    names = {**dict(enumerate(class_names)), IGNORED: "ignored"}
    return tuple(Entry(names.get(label, f"label {label}"), Style(colour_of(label)), filled=True) for label in seen)


def image_miou(predicted: Any, wanted: Any, n_classes: int) -> float:
    """The mean IoU of one image, over the classes in its truth or its prediction; 1 where nothing is judged."""
    confusion = Confusion(n_classes)
    confusion.update(torch.as_tensor(predicted), torch.as_tensor(wanted))
    measured = confusion.measures([str(label) for label in range(n_classes)])["miou"]
    return 1.0 if measured is None else float(measured)


def semantic_row(name: str, image: Any, wanted: Any, predicted: Sequence[Any], n_classes: int, side: int) -> Row:
    """The image, its true label map, and each network's.

    Args:
        name: what the row is called.
        image: uint8 [H, W, 3], [H, W, 1] or [H, W].
        wanted: labels uint8 [H, W]; 255 is ignored, and grey.
        predicted: for each network, labels uint8 [H, W].
        n_classes: that labels have.
        side: pixels that the longer side of a cell may have; small images grow by a whole factor.
    """
    height, width = np.asarray(wanted).shape
    size = fitted(width, height, side)
    cells = [Cell(Image.fromarray(drawn(image, size))), Cell(coloured(wanted, size))]
    for one in predicted:
        cells.append(Cell(coloured(one, size), f"mean IoU {image_miou(one, wanted, n_classes):.3f}"))
    return Row(name, tuple(cells))
