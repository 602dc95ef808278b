"""`InstanceSet`: images of any size with outlined objects; a batch of them, as a network sees it, is a `Shown`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ticketcli.annotations.pictures import Picture
from ticketcli.data.images import require_classes
from ticketcli.data.lazy import Originals
from ticketcli.data.sources import Sources
from ticketcli.errors import UsageError
from ticketcli.tensors.shown import Found, Objects, Shown

__all__ = ["Found", "InstanceSet", "Objects", "Shown"]


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

    def narrowed(self, classes: Sequence[int]) -> InstanceSet:
        """All images, with the objects of these classes only, relabelled 0 .. k-1 in the listed order.

        Raises:
            UsageError: an unknown class, one listed twice, or none; or the classes are those of label images.
        """
        if self.folder is not None:
            hint = "leave classes out; what is to be ignored is 255 in the label images"
            raise UsageError("the classes of label images cannot be narrowed", where="data.classes", hint=hint)
        require_classes(self.class_names, classes)
        new_label = {label: place for place, label in enumerate(classes)}

        def left(picture: Picture) -> Picture:
            ones = tuple(
                replace(one, label=new_label[one.label]) for one in picture.instances if one.label in new_label
            )
            return replace(picture, instances=ones)

        names, ids = (self.class_names[label] for label in classes), (self.category_ids[label] for label in classes)
        pictures = tuple(map(left, self.pictures))
        return replace(self, pictures=pictures, class_names=tuple(names), category_ids=tuple(ids))

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
