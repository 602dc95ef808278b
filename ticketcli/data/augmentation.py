"""Augmentations, each a pure function of (seed, epoch, index): where an image is cut, and whether it is mirrored.

`none`, `shift`, `crop-flip` and `crop-flip-jigsaw` move pixels of the prepared image; `resized-crop` cuts out of the
original.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticketcli.errors import UsageError, did_you_mean
from ticketcli.tensors.seeds import derive, integers, uniforms

_AREA = (0.08, 1.0)  # share of the image that a resized crop takes
_RATIO = (3 / 4, 4 / 3)  # its width over its height
_ATTEMPTS = 10
Box = tuple[int, int, int, int]  # top, left, height, width


@dataclass(frozen=True)
class Augmentation:
    """Pixels of zero padding that a crop moves in; whether to mirror at random; whether to cut and resize.

    `rolled`: two images of three are moved round in a circle, one along its width and one along its height, by an
    offset that is uniform over all pixels of that side. Source: "Jigsaw" of Qiao et al., "Gradually Updated Neural
    Networks for Large-Scale Image Recognition", 2018, whose networks for CIFAR are trained so.
    """

    padding: int = 0
    mirrored: bool = False
    resized: bool = False
    rolled: bool = False


AUGMENTATIONS: Mapping[str, Augmentation] = {
    "none": Augmentation(),
    "shift": Augmentation(padding=2),
    "crop-flip": Augmentation(padding=4, mirrored=True),
    "crop-flip-jigsaw": Augmentation(padding=4, mirrored=True, rolled=True),
    "resized-crop": Augmentation(mirrored=True, resized=True),
}


def augmentation(name: str) -> Augmentation:
    """The table's row.

    Raises:
        UsageError: unknown augmentation.
    """
    if name not in AUGMENTATIONS:
        raise UsageError(f"unknown augmentation '{name}'", where="augment", hint=did_you_mean(name, AUGMENTATIONS))
    return AUGMENTATIONS[name]


class Draws:
    """The random draws for the images `chosen` (indices into their set) in one epoch."""

    def __init__(self, seed: int, epoch: int, chosen: NDArray[np.int64]) -> None:
        self.seed, self.epoch, self.counters = seed, epoch, chosen.astype(np.uint64)

    def integers(self, purpose: str, n: int) -> NDArray[np.int64]:
        """[B] integers below n."""
        return integers(derive(self.seed, purpose, self.epoch), self.counters, n)

    def uniforms(self, purpose: str, *numbers: int) -> NDArray[np.float64]:
        """[B] floats in [0, 1)."""
        return uniforms(derive(self.seed, purpose, self.epoch, *numbers), self.counters)


def moves(kind: Augmentation, draws: Draws) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """How far down and to the right in its padding each image is cut, and whether it is mirrored then: [B] each."""
    down, right = (draws.integers(purpose, 2 * kind.padding + 1) for purpose in ("down", "right"))
    return down, right, draws.integers("mirror", 2) == 1 if kind.mirrored else np.zeros(len(down), dtype=np.bool_)


def pixel_rows(kind: Augmentation, draws: Draws, places: NDArray[np.int64], height: int, width: int) -> Tensor:
    """Which pixels make each image: [B * H * W] rows of padded images [N, H + 2p, W + 2p, C] seen as rows of pixels.

    `places` say which of the N images each is.
    """

    def draw(purpose: str, n: int) -> Tensor:
        return torch.from_numpy(draws.integers(purpose, n))[:, None]

    down, right, mirrored = (torch.from_numpy(drawn)[:, None] for drawn in moves(kind, draws))
    padded_width = width + 2 * kind.padding
    per_image = (height + 2 * kind.padding) * padded_width
    columns, rows = torch.arange(width)[None], torch.arange(height)[None]
    if kind.rolled:
        axis = draw("jigsaw", 3)  # neither, along the width, along the height
        columns = torch.where(axis == 1, (columns + draw("jigsaw width", width)) % width, columns)
        rows = torch.where(axis == 2, (rows + draw("jigsaw height", height)) % height, rows)
    if kind.mirrored:
        columns = torch.where(mirrored, width - 1 - columns, columns)
    lines = torch.from_numpy(places)[:, None] * per_image + (rows + down) * padded_width
    short = torch.int32 if int(places.max(initial=0) + 1) * per_image < 2**31 else torch.int64  # half as much to move
    return (lines.to(short)[:, :, None] + (columns + right).to(short)[:, None, :]).view(-1)


class CropBoxes:
    """The boxes of `resized-crop`: a share of 0.08 to 1 of the area, 3:4 to 4:3, anywhere in the image.

    Source: the crop of Inception (Szegedy et al., 2015) as torchvision's RandomResizedCrop draws it, ten attempts and
    the same fallback; only the random numbers are this project's, counted by (seed, epoch, index).
    """

    def __init__(self, draws: Draws) -> None:
        self.areas = [draws.uniforms("area", attempt) for attempt in range(_ATTEMPTS)]
        self.ratios = [draws.uniforms("ratio", attempt) for attempt in range(_ATTEMPTS)]
        self.tops, self.lefts = draws.uniforms("top"), draws.uniforms("left")
        self.mirrored = draws.integers("mirror", 2)

    def box(self, position: int, height: int, width: int) -> Box:
        """The box for the image at `position` among those drawn for, which is `height` x `width`."""
        low, high = math.log(_RATIO[0]), math.log(_RATIO[1])
        for areas, ratios in zip(self.areas, self.ratios, strict=True):
            area = height * width * (_AREA[0] + (_AREA[1] - _AREA[0]) * float(areas[position]))
            ratio = math.exp(low + (high - low) * float(ratios[position]))
            tall, wide = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < tall <= height and 0 < wide <= width:
                top, left = self.tops[position] * (height - tall + 1), self.lefts[position] * (width - wide + 1)
                return int(top), int(left), tall, wide
        tall = min(height, round(width / _RATIO[0]))
        wide = min(width, round(height * _RATIO[1]))
        return (height - tall) // 2, (width - wide) // 2, tall, wide
