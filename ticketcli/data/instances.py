"""`InstanceSet`: images of any size with outlined objects; a batch of them, as a network sees it, is a `Shown`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from ticketcli.annotations.pictures import Picture
from ticketcli.data.lazy import Originals
from ticketcli.data.sources import Sources
from ticketcli.tensors.shown import Found, Objects, Shown

__all__ = ["Found", "InstanceSet", "Objects", "Shown"]


@dataclass(frozen=True)
class InstanceSet:
    """N images with objects on them, read when wanted; one of the parts of a set, like `ImageSet` and `LazySet`.

    Attributes:
        originals: the images; `read(index, size)` gives uint8 [H, W, C].
        pictures: what is on each.
        class_names: by label.
        category_ids: by label, what the annotation file calls the class.
        size: the shorter side in pixels at which the images are shown unless somebody says otherwise.
        sources: how they are read.
    """

    originals: Originals
    pictures: tuple[Picture, ...]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    size: int
    sources: Sources = field(default_factory=Sources)

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
        return replace(self, originals=self.originals.take(order), pictures=pictures)

    def relabelled(self, labels: Tensor, class_names: tuple[str, ...]) -> InstanceSet:
        """Itself: labels are those of the objects."""
        return self
