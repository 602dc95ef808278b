"""`Picture`: an image file and the objects outlined on it; `Annotations`: the pictures of one part of a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Instance:
    """One object.

    Attributes:
        id: the annotation's number in its file.
        label: its class, as a place in `Annotations.class_names`.
        box: x, y, width, height in pixels of the original image; x to the right, y down, from the upper left corner.
        segmentation: as COCO has it: polygons ``[[x0, y0, x1, y1, ...], ...]``, or run lengths ``{"size": [h, w],
            "counts": [...] or "..."}``; None where only a box is known.
        area: of the mask in pixels, as the file says.
        crowd: a region of many objects that nobody told apart: evaluation ignores it, training leaves it out.
    """

    id: int
    label: int
    box: tuple[float, float, float, float]
    segmentation: Any
    area: float
    crowd: bool = False


@dataclass(frozen=True)
class Picture:
    """One image and what is on it.

    Attributes:
        id: the image's number in its file.
        file_name: relative to the folder of images; "" for images that are made and not read.
        height: in pixels.
        width: in pixels.
        instances: its objects; none is a picture without objects.
        labels: the file of its label image, relative to the set's folder; "" where objects are outlined instead.
    """

    id: int
    file_name: str
    height: int
    width: int
    instances: tuple[Instance, ...] = ()
    labels: str = ""


@dataclass(frozen=True)
class Annotations:
    """The pictures of one part of a set.

    Attributes:
        pictures: in the file's order.
        class_names: by label.
        category_ids: by label, the number that the file calls the class by; COCO's have gaps.
    """

    pictures: Sequence[Picture]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
