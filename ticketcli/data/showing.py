"""`View`: one image as it is shown, in bytes: resized, perhaps mirrored, and its boxes, masks and labels with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticketcli.annotations.pictures import Instance, Picture
from ticketcli.data.decoding import decode_labels
from ticketcli.data.instances import InstanceSet
from ticketcli.data.sampling import sampled_map, sampled_masks
from ticketcli.errors import CorruptError, UsageError

STRIDE = 32  # pixels: what the sides of a batch are multiples of
_THINNEST = 1e-3  # pixels; no network is asked to learn a box that is thinner
_REDUCED = (1, 2, 4, 8)  # scales at which a JPEG may come


@dataclass(frozen=True)
class View:
    """One image with n objects.

    Attributes:
        image: uint8 [h, w, C].
        boxes: float32 [n, 4], x0, y0, x1, y1.
        labels: int64 [n].
        crowd: bool [n].
        masks: uint8 [n, h, w]; None where none are wanted.
        label_map: uint8 [h, w]; None where the image has none.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    masks: Tensor | None = None
    label_map: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.image.shape[0]), int(self.image.shape[1])

    def mirrored(self) -> View:
        """Left and right exchanged."""
        width = self.image.shape[1]
        x0, y0, x1, y1 = self.boxes.unbind(1)
        masks = None if self.masks is None else self.masks.flip(2)
        label_map = None if self.label_map is None else self.label_map.flip(1)
        boxes = torch.stack([width - x1, y0, width - x0, y1], dim=1)
        return View(self.image.flip(1), boxes, self.labels, self.crowd, masks, label_map)


def shown_size(extent: tuple[int, int], short_side: int, long_side: int) -> tuple[int, int]:
    """Height and width of an image whose shorter side becomes `short_side`, unless the longer would pass `long_side`.

    Source: Detectron2's ResizeShortestEdge; half a pixel is rounded up.
    """
    shorter, longer = min(extent), max(extent)
    scale = min(short_side / shorter, long_side / longer)
    height, width = (max(1, int(side * scale + 0.5)) for side in extent)
    return height, width


def padded_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The smallest multiples of 32 that hold images of these sizes."""
    tallest, widest = max(h for h, _ in sizes), max(w for _, w in sizes)
    return -(-tallest // STRIDE) * STRIDE, -(-widest // STRIDE) * STRIDE


def show(
    images: InstanceSet, index: int, original: Tensor, size: tuple[int, int], *, masks: bool, training: bool
) -> View:
    """An image of the set at `size`, not mirrored.

    Masks and label maps are what lies at the centres of the shown pixels (`sampling.py`). Boxes are the annotation's
    own, scaled: no rounding is added to them.

    Args:
        images: the set.
        index: which of its images.
        original: its pixels uint8 [H, W, C]; may be a JPEG at a reduced scale.
        size: height and width as shown.
        masks: whether masks are wanted.
        training: leave out objects whose box is thinner than a thousandth of a pixel.

    Raises:
        CorruptError: the image has another size than its annotations.
        UsageError: masks are wanted of an object without an outline.
    """
    picture = images.pictures[index]
    _require_same_size(original, picture)
    boxes = _corners(picture.instances) * np.array([size[1] / picture.width, size[0] / picture.height] * 2)
    chosen = picture.instances
    if training:
        thick = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) >= _THINNEST
        boxes, chosen = boxes[thick], tuple(one for one, keep in zip(chosen, thick, strict=True) if keep)
    label_map = None
    if images.folder is not None and picture.labels:
        size_of_file = (picture.height, picture.width)
        label_map = decode_labels(images.folder / picture.labels, size_of_file, len(images.class_names))
        label_map = sampled_map(label_map, size)
    return View(
        resized(original, size),
        torch.from_numpy(boxes.astype(np.float32)),
        torch.tensor([one.label for one in chosen], dtype=torch.int64),
        torch.tensor([one.crowd for one in chosen], dtype=torch.bool),
        _masks(picture, chosen, size) if masks else None,
        label_map,
    )


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixels uint8 [H, W, C] at another size, with the filter that all images of this project are resized with."""
    from torchvision.transforms.v2 import functional as v2  # a second to load, so only when wanted

    if tuple(image.shape[:2]) == size:
        return image
    planes: Tensor = v2.resize(image.permute(2, 0, 1), list(size), antialias=True)
    return planes.permute(1, 2, 0)


def _corners(instances: Sequence[Instance]) -> NDArray[np.float64]:
    found = np.array([one.box for one in instances], dtype=np.float64).reshape(-1, 4)
    return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)


def _masks(picture: Picture, instances: Sequence[Instance], size: tuple[int, int]) -> Tensor:
    if any(one.segmentation is None for one in instances):
        raise UsageError(
            "an object has a box but no outline",
            where=picture.file_name or f"picture {picture.id}",
            hint="only boxes can be learnt from such a set",
        )
    return sampled_masks([one.segmentation for one in instances], (picture.height, picture.width), size)


def _require_same_size(original: Tensor, picture: Picture) -> None:
    height, width = original.shape[:2]
    if any((height, width) == (-(-picture.height // r), -(-picture.width // r)) for r in _REDUCED):
        return
    raise CorruptError(
        f"an image is {width} x {height} pixels, its annotations are for {picture.width} x {picture.height}",
        where=picture.file_name or f"picture {picture.id}",
    )
