"""`Packed`: a batch of views on its way from a worker to the device: bytes, and masks of eight pixels a byte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticketcli.data.images import Normalization
from ticketcli.data.instances import Objects, Shown
from ticketcli.data.showing import View, padded_size


@dataclass(frozen=True)
class Packed:
    """B images with N objects together. What is large is a tensor (workers share its memory), what is small an array.

    Attributes:
        canvas: uint8 [B, H, W, C], each image in the upper left corner.
        bits: uint8, the masks of all images one after another, those of each image from a whole byte on.
        maps: uint8 [B, H, W] of label images; None where no image has one.
        sizes: of each image.
        mapped: which images have a label image.
        counts: objects of each image.
        boxes: float32 [N, 4].
        labels: int64 [N].
        crowd: bool [N].
        masked: whether there are masks.
        indices: which images of the set they are.
    """

    canvas: Tensor
    bits: Tensor
    maps: Tensor | None
    sizes: tuple[tuple[int, int], ...]
    mapped: tuple[bool, ...]
    counts: tuple[int, ...]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    masked: bool
    indices: tuple[int, ...]

    def pin_memory(self) -> Packed:
        """The same in page-locked memory, for faster copies to a GPU; the stream asks for it."""
        maps = None if self.maps is None else self.maps.pin_memory()
        return replace(self, canvas=self.canvas.pin_memory(), bits=self.bits.pin_memory(), maps=maps)


def pack(views: Sequence[View], indices: Sequence[int]) -> Packed:
    """Put views of any size on one canvas."""
    sizes = tuple(view.size for view in views)
    height, width = padded_size(sizes)
    canvas = torch.zeros((len(views), height, width, views[0].image.shape[2]), dtype=torch.uint8)
    mapped = tuple(view.label_map is not None for view in views)
    maps = torch.zeros(canvas.shape[:3], dtype=torch.uint8) if any(mapped) else None
    for place, view in enumerate(views):
        h, w = view.size
        canvas[place, :h, :w] = view.image
        if maps is not None and view.label_map is not None:
            maps[place, :h, :w] = view.label_map
    bits = [np.packbits(v.masks.numpy().reshape(-1), bitorder="little") for v in views if v.masks is not None]
    return Packed(
        canvas=canvas,
        bits=torch.from_numpy(np.concatenate([np.zeros(0, dtype=np.uint8), *bits])),
        maps=maps,
        sizes=sizes,
        mapped=mapped,
        counts=tuple(len(view.labels) for view in views),
        boxes=np.concatenate([view.boxes.numpy() for view in views]),
        labels=np.concatenate([view.labels.numpy() for view in views]),
        crowd=np.concatenate([view.crowd.numpy() for view in views]),
        masked=views[0].masks is not None,
        indices=tuple(indices),
    )


def unpack(packed: Packed, normalization: Normalization, device: torch.device) -> Shown:
    """The batch on the device, normalised there; around each image are zeros, whatever they would be normalised to."""
    images = normalization.normalize(packed.canvas.to(device, non_blocking=True))
    for place, (h, w) in enumerate(packed.sizes):
        images[place, :, h:] = 0
        images[place, :, :, w:] = 0
    return Shown(images, packed.sizes, tuple(_objects(packed, device)), packed.indices)


def _objects(packed: Packed, device: torch.device) -> Iterator[Objects]:
    bits = packed.bits.to(device, non_blocking=True)
    maps = None if packed.maps is None else packed.maps.to(device, non_blocking=True)
    boxes, labels, crowd = (torch.from_numpy(part).to(device) for part in (packed.boxes, packed.labels, packed.crowd))
    start = first = 0
    for place, (n, (h, w)) in enumerate(zip(packed.counts, packed.sizes, strict=True)):
        n_masks = n if packed.masked else 0
        n_bytes = -(-n_masks * h * w // 8)
        masks = _pixels(bits[first : first + n_bytes])[: n_masks * h * w].view(n_masks, h, w)
        label_map = maps[place, :h, :w] if maps is not None and packed.mapped[place] else None
        some = slice(start, start + n)
        yield Objects(boxes[some], labels[some], masks, crowd[some], label_map)
        start, first = start + n, first + n_bytes


def _pixels(bits: Tensor) -> Tensor:
    """Bytes [K] -> ones and zeros uint8 [8 K], the lowest bit first."""
    table = (
        (torch.arange(256)[:, None] >> torch.arange(8)).bitwise_and_(1).to(torch.uint8)
    )  # by byte: sooner than shifts
    return table.to(bits.device).index_select(0, bits.to(torch.int32)).view(-1)
