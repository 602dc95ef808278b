"""`InstanceBatches`: training images with objects by (epoch, step); `views_in_order`: all of a set, unaugmented.

As with `Batches`, what an image looks like in an epoch depends on (seed, epoch, index) alone; only the canvas that it
lies on has the size of the batch's largest. When all are shown in order it has not: a batch holds images of one padded
size, so that nothing a network sees of an image depends on how many are shown together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ticketcli.data import lazy
from ticketcli.data.augmentation import Draws
from ticketcli.data.images import Normalization
from ticketcli.data.instances import InstanceSet, Shown
from ticketcli.data.order import Order
from ticketcli.data.packing import Packed, pack, unpack
from ticketcli.data.series import Series
from ticketcli.data.showing import padded_size, show, shown_size
from ticketcli.data.stream import Stream, stream
from ticketcli.errors import UsageError

__all__ = ["InstanceBatches", "views_in_order"]

_HERE = 2**20  # pixels of a batch: so few are made in this process sooner than sent to it by a worker


class InstanceBatches:
    """Shuffled, augmented training batches of equal size; the images that do not fill one are left out of the epoch.

    Args:
        images: the set, N images.
        normalization: applied to the pixels on the device; what surrounds an image is zero afterwards.
        batch: images in a batch; a smaller set gives one batch with all of them. Several processes share each batch.
        seed: fixes order and augmentation.
        short_sides: pixels; each image's shorter side becomes one of these.
        long_side: pixels; an image whose longer side would pass it is made as large as it allows.
        mirrored: whether half of the images are mirrored.
        masks: whether masks are wanted.
        device: where the batches are put.

    Raises:
        UsageError: there are no images.
    """

    def __init__(
        self,
        images: InstanceSet,
        *,
        normalization: Normalization,
        batch: int,
        seed: int,
        short_sides: tuple[int, ...],
        long_side: int,
        mirrored: bool,
        masks: bool,
        device: torch.device,
    ) -> None:
        if not images.pictures:
            raise UsageError("there are no images to train on", where="data")
        order = Order(len(images.pictures), batch, seed)
        self.n, self.batch, self.per_epoch, self.share = order.n, order.batch, order.per_epoch, order.share
        self.normalization, self.order, self.device = normalization, order, device
        here = _few(images, order.stop - order.start, max(short_sides))
        work = _Training(images, order, short_sides, long_side, mirrored=mirrored, masks=masks, remember=here)
        n_workers = 0 if here else images.sources.n_workers
        self._stream = Stream(work, self.per_epoch, n_workers, pinned=device.type == "cuda")

    def at(self, epoch: int, step: int) -> Shown:
        """What this process has of the batch, on the device."""
        return unpack(self._stream.at(epoch, step), self.normalization, self.device)

    def close(self) -> None:
        """End the workers, if there are any; a later `at` starts them again."""
        self._stream.close()


def views_in_order(
    images: InstanceSet,
    normalization: Normalization,
    *,
    short_side: int,
    long_side: int,
    batch: int,
    masks: bool,
    device: torch.device,
) -> Series[Shown]:
    """Every image exactly once, unaugmented; `Shown.indices` say which, for the order is that of padded sizes."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index in range(len(images.pictures)):
        size = shown_size(images.extent_of(index), short_side, long_side)
        groups.setdefault(padded_size([size]), []).append(index)
    tasks = [group[start : start + batch] for group in groups.values() for start in range(0, len(group), batch)]
    tasks.sort()  # by their first image
    here = _few(images, batch, short_side)
    work = _Plain(images, short_side, long_side, masks=masks, remember=here)
    n_workers = 0 if here else images.sources.n_workers

    def made(tasks: Sequence[list[int]]) -> Iterator[Shown]:
        with closing(stream(work, tasks, n_workers, pinned=device.type == "cuda")) as all_packed:
            for packed in all_packed:
                yield unpack(packed, normalization, device)

    return Series(tasks, made)


def _few(images: InstanceSet, batch: int, side: int) -> bool:
    """Whether originals are kept in memory, and batches made of them in this process."""
    pixels = sum(h * w for h, w in map(images.extent_of, range(len(images.pictures))))
    return pixels * images.originals.channels <= lazy.MEMORY_BYTES and batch * side**2 <= _HERE


class _Reader:
    """Reads originals, all at the same size, so that what is remembered is what would be read."""

    def __init__(self, images: InstanceSet, size: int, remember: bool) -> None:
        self.images, self.size, self.remember = images, size, remember

    def read(self, index: int) -> Tensor:
        known = self.images.remembered
        if (index, self.size) in known:
            return known[index, self.size]
        found = self.images.originals.read(index, self.size)
        if self.remember:
            known[index, self.size] = found
        return found


class _Training(Dataset[Any]):
    """Task (epoch, step): the images of that batch, augmented."""

    def __init__(
        self,
        images: InstanceSet,
        order: Order,
        short_sides: Sequence[int],
        long_side: int,
        *,
        mirrored: bool,
        masks: bool,
        remember: bool,
    ) -> None:
        self.images, self.order, self.short_sides, self.long_side = images, order, short_sides, long_side
        self.mirrored, self.masks = mirrored, masks
        self.reader = _Reader(images, max(short_sides), remember)

    def __getitem__(self, task: tuple[int, int]) -> Packed:
        epoch, step = task
        chosen = self.order.chosen(epoch, step)
        draws = Draws(self.order.seed, epoch, chosen)
        sides = draws.integers("short side", len(self.short_sides))
        mirror = draws.integers("mirror", 2) if self.mirrored else [0] * len(chosen)
        views = []
        for index, side, turned in zip(chosen.tolist(), sides, mirror, strict=True):
            size = shown_size(self.images.extent_of(index), self.short_sides[side], self.long_side)
            original = self.reader.read(index)
            view = show(self.images, index, original, size, masks=self.masks, training=True)
            views.append(view.mirrored() if turned else view)
        return pack(views, chosen.tolist())


class _Plain(Dataset[Any]):
    """A task is the indices of some images: these, unaugmented."""

    def __init__(self, images: InstanceSet, short_side: int, long_side: int, *, masks: bool, remember: bool) -> None:
        self.images, self.short_side, self.long_side, self.masks = images, short_side, long_side, masks
        self.reader = _Reader(images, short_side, remember)

    def __getitem__(self, task: list[int]) -> Packed:
        views = []
        for index in task:
            size = shown_size(self.images.extent_of(index), self.short_side, self.long_side)
            view = show(self.images, index, self.reader.read(index), size, masks=self.masks, training=False)
            views.append(view)
        return pack(views, task)
