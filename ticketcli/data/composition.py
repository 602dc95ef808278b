"""A scene: which objects lie where, drawn by counting; what is seen of each; and the picture that they make.

Layout and outlines are made without the canvas, so that annotations of many scenes cost little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ticketcli.annotations.pictures import Instance, Picture
from ticketcli.data.cutouts import Cutout, Cutter
from ticketcli.data.outlines import run_lengths
from ticketcli.data.textures import colour, texture
from ticketcli.tensors.seeds import derive, uniforms

MOST = 6  # objects in a scene
_SCALES = (0.25, 0.6)  # of the side: the longer side of an object
_SEEN = 0.25  # share of an object that has to be seen
_SLOTS = 8  # numbers drawn for each object
_TINTS = 8  # colours from which one is taken that can be told from the canvas
_CONTRAST = 0.3  # of brightness that a drawn object keeps from what is behind it, if one of its tints does
Plane = NDArray[np.float64]


@dataclass(frozen=True)
class Placed:
    """An object in a scene, its upper left corner at (top, left); `seen` [side, side] is what nothing hides of it."""

    slot: int
    label: int
    cutout: Cutout
    top: int
    left: int
    seen: NDArray[np.bool_]

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas."""
        height, width = self.cutout.opacity.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def place(key: int, side: int, cutter: Cutter, members: Sequence[NDArray[np.int64]]) -> list[Placed]:
    """The objects of one scene, the lowest first. Classes are equally frequent, and the images of each.

    From the uppermost down, an object of which less than a quarter would be seen is left out.

    Args:
        key: of the scene.
        side: of the canvas in pixels.
        cutter: cuts objects out of images.
        members: by label, the images of each class.
    """
    draws = uniforms(derive(key, "layout"), np.arange(1 + MOST * _SLOTS, dtype=np.uint64))
    covered = np.zeros((side, side), dtype=bool)
    placed = []
    for slot in reversed(range(1 + int(draws[0] * MOST))):
        which, member, scale, down, right, shape = draws[1 + slot * _SLOTS :][:6]
        label = int(which * len(members))
        index = int(members[label][int(member * len(members[label]))])
        longest = round(side * (_SCALES[0] + (_SCALES[1] - _SCALES[0]) * scale))
        cutout = cutter.cut(index, longest, float(shape))
        height, width = cutout.opacity.shape
        top, left = int(down * (side - height + 1)), int(right * (side - width + 1))
        mask = np.zeros((side, side), dtype=bool)
        mask[top : top + height, left : left + width] = cutout.opacity > 0.5
        seen = mask & ~covered
        if mask.any() and seen.sum() >= _SEEN * mask.sum():
            covered |= mask
            placed.append(Placed(slot, label, cutout, top, left, seen))
    return placed[::-1]


def picture(number: int, side: int, placed: Sequence[Placed]) -> Picture:
    """What the scene's annotation says: of each object what is seen of it, its bounds and its pixels."""
    instances = []
    for one in placed:
        rows, columns = np.flatnonzero(one.seen.any(1)), np.flatnonzero(one.seen.any(0))
        box = (columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0])
        x, y, width, height = (float(value) for value in box)
        outline, area = run_lengths(one.seen), float(one.seen.sum())
        identity = number * MOST + one.slot + 1
        instances.append(Instance(identity, one.label, (x, y, width, height), outline, area))
    return Picture(number + 1, "", side, side, tuple(instances))


def render(key: int, side: int, cutter: Cutter, placed: Sequence[Placed]) -> NDArray[np.uint8]:
    """The pixels of the scene, [side, side, 3]."""
    canvas = texture(key, side)
    for one in placed:
        behind = canvas[one.place]
        own, opacity = cutter.colours(one.cutout), one.cutout.opacity[:, :, None]
        if cutter.background is None:
            front = own * (0.8 + 0.4 * uniforms(derive(key, "tint", one.slot), np.arange(3, dtype=np.uint64)))
        elif np.ptp(own, axis=2).max() < 1 / 255:  # shades of grey
            ink = np.abs(own[:, :, :1] - cutter.background / 255)
            around = (behind * opacity).sum((0, 1)) / max(float(opacity.sum()), 1e-9)
            front = _tint(derive(key, "tint", one.slot), around) * (0.4 + 0.6 * ink / max(float(ink.max()), 1e-9))
        else:
            front = own
        canvas[one.place] = behind + (front - behind) * opacity
    return np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8)


def _tint(key: int, around: Plane) -> Plane:
    """The first of some drawn colours that is brighter or darker enough than what is around, else the one farthest."""
    draws = uniforms(key, np.arange(3 * _TINTS, dtype=np.uint64)).reshape(_TINTS, 3)
    tints = np.stack([colour(hue, 0.9 * saturation, 0.1 + 0.9 * value) for hue, saturation, value in draws])
    apart = np.abs(tints.mean(1) - around.mean())
    enough = apart >= _CONTRAST
    found: Plane = tints[int(np.argmax(enough if enough.any() else apart))]
    return found
