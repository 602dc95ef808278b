"""From an original image of any size to the bytes that a network is shown, before normalisation."""

from __future__ import annotations

from torch import Tensor

from ticketcli.data.augmentation import Box

_MARGIN_FROM = 128  # pixels; below that images are too small to have a margin cut off
_MARGIN = 256 / 224  # torchvision's evaluation: the shorter side to 256, of which the middle 224 are kept


def prepare(image: Tensor, size: int) -> Tensor:
    """The middle of an image uint8 [H, W, C], resized: uint8 [size, size, C].

    The shorter side becomes `size`, or, from 128 pixels on, `size` * 256 / 224; the middle is kept. This is what
    evaluation shows, and what the augmentations that only move pixels begin with.
    """
    from torchvision.transforms.v2 import functional as v2  # a second to load, so only when wanted

    height, width = image.shape[:2]
    if height == width == size:
        return image
    shorter = round(size * _MARGIN) if size >= _MARGIN_FROM else size
    planes = v2.resize(image.permute(2, 0, 1), [shorter], antialias=True)
    middle: Tensor = v2.center_crop(planes, [size, size])
    return middle.permute(1, 2, 0)


def crop(image: Tensor, box: Box, *, mirrored: bool, size: int) -> Tensor:
    """A box of an image uint8 [H, W, C], resized and perhaps mirrored: uint8 [size, size, C]."""
    from torchvision.transforms.v2 import functional as v2

    planes: Tensor = v2.resized_crop(image.permute(2, 0, 1), *box, [size, size], antialias=True)
    return (planes.flip(2) if mirrored else planes).permute(1, 2, 0)
