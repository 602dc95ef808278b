"""`InstanceSet`: images of any size with outlined objects; `Shown`: a batch of them as a network sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ticketcli.annotations.pictures import Picture
from ticketcli.data.lazy import Originals
from ticketcli.data.sources import Sources


@dataclass(frozen=True)
class InstanceSet:
    """N images with objects on them, read when wanted; one of the parts of a set, like `ImageSet` and `LazySet`.

    Attributes:
        originals: the images; `read(index, size)` gives uint8 [H, W, C].
        pictures: what is on each; for images that are made, a sequence that is made with them.
        class_names: by label.
        category_ids: by label, what the annotation file calls the class.
        size: the shorter side in pixels at which the images are shown unless somebody says otherwise.
        sources: how they are read.
        extent: height and width where all images have the same; None where each picture says its own.
        folder: where the label images lie that pictures name; None where there are none.
        remembered: originals that were read before, by (index, size they were read for), for as long as they are few.
    """

    originals: Originals
    pictures: Sequence[Picture]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    size: int
    sources: Sources = field(default_factory=Sources)
    extent: tuple[int, int] | None = None
    folder: Path | None = None
    remembered: dict[tuple[int, int], Tensor] = field(default_factory=dict, compare=False, repr=False)

    @property
    def labels(self) -> Tensor:
        """Int64 [N] zeros: an image with many objects has no class of its own."""
        return torch.zeros(len(self.pictures), dtype=torch.int64)

    @property
    def labelled(self) -> bool:
        """Never: see `labels`."""
        return False

    def take(self, indices: Tensor) -> InstanceSet:
        """The images at `indices`, in that order."""
        order = indices.numpy().astype(np.int64)
        pictures = tuple(self.pictures[int(index)] for index in order)
        return replace(self, originals=self.originals.take(order), pictures=pictures, remembered={})

    def sized(self, size: int | None, sources: Sources) -> InstanceSet:
        """The same images with another shorter side; None leaves it as it is."""
        return replace(self, size=self.size if size is None else size, sources=sources)

    def extent_of(self, index: int) -> tuple[int, int]:
        """Height and width of one original, known without reading it."""
        if self.extent is not None:
            return self.extent
        return self.pictures[index].height, self.pictures[index].width

    def relabelled(self, labels: Tensor, class_names: tuple[str, ...]) -> InstanceSet:
        """Itself: labels are those of the objects."""
        return self


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
