"""Label maps, a class for each pixel: from outlined objects (their boundaries, or their categories), or as drawn."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ticketcli.data.instances import Objects, Shown
from ticketcli.errors import UsageError

IGNORED = 255  # a pixel that no loss and no measure counts
BOUNDARY_NAMES = ("background", "interior", "boundary")
MapKind = Literal["boundary", "category", "image"]


def boundary_map(objects: Objects) -> Tensor:
    """Uint8 [h, w]: 0 background, 1 interior, 2 boundary, 255 regions of many objects.

    Boundary is a pixel of an object of whose four neighbours one is not the object's. The edge of the image is no
    boundary: an object that it cuts goes on behind it. Where outlines overlap, the smaller object has the pixel.

    Raises:
        UsageError: the objects have no masks.
    """
    owners = _owners(objects)
    own = owners > 0
    differs = torch.zeros_like(own)
    across, down = owners[:, 1:] != owners[:, :-1], owners[1:] != owners[:-1]
    differs[:, 1:] |= across
    differs[:, :-1] |= across
    differs[1:] |= down
    differs[:-1] |= down
    found = own.to(torch.uint8) + (own & differs).to(torch.uint8)
    return found.masked_fill_(_crowds(objects) & ~own, IGNORED)


def category_map(objects: Objects) -> Tensor:
    """Uint8 [h, w]: 0 background, 1 + label, 255 regions of many objects. Where objects overlap, the smaller is seen.

    Raises:
        UsageError: the objects have no masks, or a label is too large for a byte.
    """
    if len(objects.labels) and int(objects.labels.max()) + 1 >= IGNORED:
        raise UsageError(f"label maps have room for {IGNORED - 1} classes", where="data")
    owners = _owners(objects)
    classes = torch.cat([objects.labels.new_zeros(1), objects.labels + 1]).to(torch.uint8)
    return classes[owners].masked_fill_(_crowds(objects) & (owners == 0), IGNORED)


def map_of(objects: Objects, kind: MapKind) -> Tensor:
    """The map of that kind of one image, uint8 [h, w].

    Raises:
        UsageError: the objects have no masks, or the image has no label image.
    """
    if kind == "boundary":
        return boundary_map(objects)
    if kind == "category":
        return category_map(objects)
    if objects.label_map is None:
        raise UsageError("an image has no label image", where="data", hint="take label maps from its objects instead")
    return objects.label_map


def batch_of_maps(shown: Shown, kind: MapKind) -> Tensor:
    """The label maps of a batch, int64 [B, H, W]; 255 around the images."""
    found = torch.full((len(shown.sizes), *shown.images.shape[2:]), IGNORED, device=shown.images.device)
    for place, (objects, (h, w)) in enumerate(zip(shown.objects, shown.sizes, strict=True)):
        found[place, :h, :w] = map_of(objects, kind)
    return found


def _owners(objects: Objects) -> Tensor:
    """Int64 [h, w]: 1 + the object to which each pixel belongs, 0 where there is none; of several the smallest."""
    if len(objects.masks) != len(objects.labels):
        raise UsageError("label maps need the objects' masks", where="data")
    alone = torch.nonzero(~objects.crowd).flatten()
    masks = objects.masks[alone]
    if not len(alone):
        return torch.zeros(objects.masks.shape[1:], dtype=torch.int64, device=objects.masks.device)
    areas = masks.flatten(1).sum(1, dtype=torch.int64)
    order = torch.argsort(areas, stable=True, descending=True)
    rank = torch.arange(1, len(order) + 1, device=masks.device).to(torch.int32)
    top = (masks[order] * rank[:, None, None]).amax(0)  # [h, w], 0 or the place in the order of the last one there
    numbers = torch.cat([alone.new_zeros(1), alone[order] + 1])
    return numbers[top.long()]


def _crowds(objects: Objects) -> Tensor:
    if not bool(objects.crowd.any()):
        return torch.zeros(objects.masks.shape[1:], dtype=torch.bool, device=objects.masks.device)
    return objects.masks[objects.crowd].bool().any(0)
