"""Objects for scenes, cut out of images of a classification set: drawings along their ink, photographs as patches.

Which of the two a set is, its images say: drawings lie on an even background that reaches to their edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ticketcli.data.images import Images, ImageSet
from ticketcli.data.lazy import LazySet
from ticketcli.data.preparation import prepare

Plane = NDArray[np.float64]
_LOOKED_AT = 64  # images
_ALIKE = 16  # grey levels by which an even background may differ
_EVEN = 0.6  # share of the edges' pixels that are background where images are drawings
_FAINT = 8  # grey levels from the background: less is no ink
_EDGE = 0.65  # of an image's usual ink: the outline; garments may be dark all over, strokes are strong in their middle
_SOFT = (0.6, 1.4)  # of the outline's: where an object begins, and where it is opaque
_POWERS = (2.0, 3.0, 6.0)  # of the outline |x|^p + |y|^p = 1: an ellipse, a rounded patch, nearly a rectangle


@dataclass(frozen=True)
class Cutout:
    """An object from image `index`, `longest` pixels long.

    Attributes:
        index: of the image.
        longest: its longer side in pixels.
        opacity: [h, w] in [0, 1]; the object is where it is above 0.5.
        pixels: [h, w, C], 0 to 255; None for photographs, which are not read for their outline.
    """

    index: int
    longest: int
    opacity: Plane
    pixels: Plane | None = None


@dataclass(frozen=True)
class Cutter:
    """Cuts objects out of images.

    Attributes:
        images: with classes.
        background: the grey level of an even background; None for photographs.
    """

    images: Images
    background: int | None

    def cut(self, index: int, longest: int, shape: float) -> Cutout:
        """The object of image `index`, whose longer side is made `longest` pixels.

        Args:
            index: which image.
            longest: pixels.
            shape: in [0, 1), chooses the form of a photograph's patch.
        """
        if self.background is None:
            return Cutout(index, longest, _patch(longest, _POWERS[int(shape * len(_POWERS))]))
        pixels, ink = self._ink(index, longest)
        low, high = _SOFT
        return Cutout(index, longest, np.clip((ink - low) / (high - low), 0, 1), pixels)

    def colours(self, cutout: Cutout) -> Plane:
        """The object's own colours, [h, w, C] in [0, 1]; a photograph is read only now."""
        if cutout.pixels is None:
            return _numbers(prepare(original(self.images, cutout.index, cutout.longest), cutout.longest)) / 255
        return cutout.pixels / 255

    def _ink(self, index: int, longest: int) -> tuple[Plane, Plane]:
        """Pixels [h, w, C] of the part of an image that has ink, and how much ink [h, w], 1 on the outline."""
        assert self.background is not None
        pixels = _numbers(original(self.images, index, longest))
        ink = np.abs(pixels - self.background).max(axis=2)
        usual = float(np.median(ink[ink > _FAINT])) if (ink > _FAINT).any() else 255.0
        ink = ink / (_EDGE * usual)
        rows, columns = np.flatnonzero((ink > _SOFT[0]).any(1)), np.flatnonzero((ink > _SOFT[0]).any(0))
        if not len(rows):  # a blank image
            rows, columns = np.arange(len(pixels)), np.arange(pixels.shape[1])
        part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        both = np.concatenate([pixels[part], ink[part][:, :, None]], axis=2)
        scale = longest / max(both.shape[:2])
        height, width = (max(1, round(side * scale)) for side in both.shape[:2])
        planes = torch.from_numpy(both).permute(2, 0, 1)[None]
        made = F.interpolate(planes, (height, width), mode="bilinear", align_corners=False, antialias=True)
        found = made[0].permute(1, 2, 0).numpy()
        return found[:, :, :-1], found[:, :, -1]


def original(images: Images, index: int, size: int) -> Tensor:
    """One image uint8 [H, W, C] as it came, or little larger than needed.

    Raises:
        CorruptError: its file cannot be decoded.
    """
    if isinstance(images, ImageSet):
        return images.images[index]
    assert isinstance(images, LazySet)
    return images.originals.read(index, size)


def even_background(images: Images, size: int) -> int | None:
    """The grey level that most of the edges of most images have; None where there is no such level."""
    n = len(images.labels)
    chosen = np.unique(np.linspace(0, n - 1, min(n, _LOOKED_AT)).astype(np.int64))
    edges = []
    for index in chosen:
        pixels = _numbers(original(images, int(index), size))
        edges.append(np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]]).reshape(-1))
    together = np.concatenate(edges)
    level = int(np.median(together))
    return level if (np.abs(together - level) <= _ALIKE).mean() >= _EVEN else None


def _numbers(pixels: Tensor) -> Plane:
    return pixels.numpy().astype(np.float64)


def _patch(side: int, power: float) -> Plane:
    """A rounded patch [side, side]: 0.5 on the outline, softened over two pixels."""
    at = np.abs((np.arange(side) + 0.5) / side * 2 - 1) ** power
    radius = (at[:, None] + at[None, :]) ** (1 / power)
    return np.clip((1 - radius) * side / 4 + 0.5, 0, 1)
