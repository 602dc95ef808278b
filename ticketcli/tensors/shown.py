"""`Shown`: a batch of images with outlined objects as a network sees it; `Found`: what a detector says is on one.

Both lie below the rooms of data, models and measurements, which do not see each other and all speak of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Objects:
    """The objects of one image as shown, n of them.

    Attributes:
        boxes: float32 [n, 4], x0, y0, x1, y1 in pixels of the image as shown.
        labels: int64 [n], from 0.
        masks: uint8 [n, h, w] at the size as shown; [0, h, w] where there are none or none are wanted.
        crowd: bool [n].
        label_map: uint8 [h, w] where the set has label images (255: ignored), else None.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor
    crowd: Tensor
    label_map: Tensor | None = None

    def to(self, device: torch.device) -> Objects:
        """The same on a device."""
        maps = None if self.label_map is None else self.label_map.to(device)
        parts = (self.boxes, self.labels, self.masks, self.crowd)
        boxes, labels, masks, crowd = (part.to(device) for part in parts)
        return Objects(boxes, labels, masks, crowd, maps)


@dataclass(frozen=True)
class Shown:
    """A batch: B images in one tensor, each in the upper left corner, zeros (after normalisation) around it.

    Attributes:
        images: float32 [B, 3, H, W], normalised; H and W are multiples of 32.
        sizes: (h, w) of each image inside it, in pixels.
        objects: what is on each.
        indices: which images of the set they are.
    """

    images: Tensor
    sizes: tuple[tuple[int, int], ...]
    objects: tuple[Objects, ...]
    indices: tuple[int, ...]

    def part(self, some: slice) -> Shown:
        """Some of the images, as they lie in the batch."""
        return Shown(self.images[some], self.sizes[some], self.objects[some], self.indices[some])


@dataclass(frozen=True)
class Found:
    """What a detector finds on one image: m objects, the surest first.

    Attributes:
        boxes: float32 [m, 4], x0, y0, x1, y1 in pixels, within the image.
        labels: int64 [m], from 0.
        scores: float32 [m], in (0, 1].
        masks: uint8 [m, h, w] of 0 and 1; None where only boxes are looked for.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    masks: Tensor | None = None
