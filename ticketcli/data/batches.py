"""`Batches`: training images by (epoch, step); and all images in order.

What an image looks like in an epoch depends on (seed, epoch, index) alone: not on batch size, position, workers, on
whether the set is in memory, or what was drawn before. So a run may be cut anywhere, and continued with another
batch layout. Bytes travel; they are normalised on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from ticketcli.data.augmentation import AUGMENTATIONS, Augmentation, CropBoxes, Draws, augmentation, moves, pixel_rows
from ticketcli.data.images import Images, ImageSet, Normalization
from ticketcli.data.lazy import LazySet, Prepared, Stored
from ticketcli.data.order import Order
from ticketcli.data.preparation import crop
from ticketcli.data.series import Series
from ticketcli.data.sources import Sources
from ticketcli.data.stream import Stream, stream

__all__ = ["AUGMENTATIONS", "Batches", "in_order"]


class Batches:
    """Shuffled, augmented training batches of equal size; the images that do not fill one are left out of the epoch.

    Args:
        images: the set, N images.
        normalization: applied after augmentation.
        batch: images in a batch; a smaller set gives one batch with all of them. Several processes share each batch.
        seed: fixes order and augmentation.
        augment: none, shift (2 pixels), crop-flip (4 pixels, mirrored at random), crop-flip-jigsaw (moved round in a
            circle, too) or resized-crop (mirrored too).
        device: where the batches are put.
    """

    def __init__(
        self,
        images: Images,
        *,
        normalization: Normalization,
        batch: int,
        seed: int,
        augment: str,
        device: torch.device,
    ) -> None:
        kind = augmentation(augment)
        order = Order(len(images.labels), batch, seed)
        self.n, self.batch, self.per_epoch, self.share = order.n, order.batch, order.per_epoch, order.share
        self.normalization, self.order, self.device = normalization, order, device
        self.labels = images.labels.to(device)
        self._maker = _maker(images, order, kind, device)

    def at(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Images float32 [B, 3, H, W], normalised, and labels int64 [B]: this process's part of the batch."""
        images = self._maker.at(epoch, step)
        chosen = torch.from_numpy(self.order.chosen(epoch, step)).to(self.device)
        return self.normalization.normalize(images), self.labels[chosen]

    def close(self) -> None:
        """End the workers, if there are any; a later `at` starts them again."""
        self._maker.close()


def _maker(images: Images, order: Order, kind: Augmentation, device: torch.device) -> _Windows | _Gathered | _Streamed:
    if isinstance(images, ImageSet):
        if not kind.resized:
            return _held(images, order, kind, device)
        size, here = images.size, Sources(workers=0)  # small images: cut here sooner than sent to a worker
        images = LazySet(Stored(images.images), images.labels, images.class_names, size, here)
    assert isinstance(images, LazySet)
    held = None if kind.resized else images.in_memory()
    return _Streamed(images, order, kind, device) if held is None else _held(held, order, kind, device)


def _held(images: ImageSet, order: Order, kind: Augmentation, device: torch.device) -> _Windows | _Gathered:
    """The quicker way for images in memory; both make the same bytes."""
    if kind.rolled or device.type != "cpu":
        return _Gathered(images, order, kind, device)
    return _Windows(images, order, kind)


class _Windows:
    """Images in memory, on a CPU: a batch is one gather of windows of padded planes, a row of pixels an item."""

    def __init__(self, images: ImageSet, order: Order, kind: Augmentation) -> None:
        self.order, self.kind, self._epoch = order, kind, -1
        n, height, width, channels = images.images.shape
        pad = kind.padding
        self.shape = channels, height, width
        planes = images.images.new_zeros((n, channels, height + 2 * pad, width + 2 * pad))
        planes[:, :, pad : pad + height, pad : pad + width] = images.images.permute(0, 3, 1, 2)
        image, plane, row, _ = planes.stride()
        self.windows = np.ndarray(  # [N, 2p + 1, 2p + 1, C, H] items of W bytes, which begin at any byte
            (n, 2 * pad + 1, 2 * pad + 1, channels, height), f"V{width}", planes.numpy(),
            strides=(image, row, 1, plane, row),
        )  # fmt: skip

    def at(self, epoch: int, step: int) -> Tensor:
        """Bytes [B, H, W, C], plane by plane in memory."""
        chosen = self.order.chosen(epoch, step)
        if epoch != self._epoch:  # of all at once: 64 alone take a third of what 5,000 do
            self._moves = moves(self.kind, Draws(self.order.seed, epoch, np.arange(self.order.n)))
            self._epoch = epoch
        down, right, mirrored = (drawn[chosen] for drawn in self._moves)
        images = self.windows[chosen, down, right].view(np.uint8).reshape(-1, *self.shape)
        images[mirrored] = torch.from_numpy(images[mirrored]).flip(-1).numpy()
        return torch.from_numpy(images).permute(0, 2, 3, 1)

    def close(self) -> None:
        """Nothing to end."""


class _Gathered:
    """Images in memory, on the device: a batch is one gather of rows of pixels, wherever each of them goes."""

    def __init__(self, images: ImageSet, order: Order, kind: Augmentation, device: torch.device) -> None:
        self.order, self.kind, self.device = order, kind, device
        _, self.height, self.width, self.channels = images.images.shape
        pad = kind.padding
        padded = F.pad(images.images, (0, 0, pad, pad, pad, pad)) if pad else images.images
        self.pixels = padded.reshape(-1, self.channels).to(device)  # [N * H' * W', C]

    def at(self, epoch: int, step: int) -> Tensor:
        """Bytes [B, H, W, C]."""
        chosen = self.order.chosen(epoch, step)
        rows = pixel_rows(self.kind, Draws(self.order.seed, epoch, chosen), chosen, self.height, self.width)
        shape = (len(chosen), self.height, self.width, self.channels)
        return self.pixels.index_select(0, rows.to(self.device)).view(shape)

    def close(self) -> None:
        """Nothing to end."""


class Augmented(Dataset[Any]):
    """Task (epoch, step): the images of that batch, augmented: uint8 [B, S, S, C]."""

    def __init__(self, images: LazySet, order: Order, kind: Augmentation) -> None:
        self.images, self.order, self.kind = images, order, kind

    def __getitem__(self, task: tuple[int, int]) -> Tensor:
        epoch, step = task
        chosen = self.order.chosen(epoch, step)
        draws = Draws(self.order.seed, epoch, chosen)
        if self.kind.resized:
            return self._resized(chosen, CropBoxes(draws))
        prepared = self.images.prepared(chosen)
        pad = self.kind.padding
        pixels = F.pad(prepared, (0, 0, pad, pad, pad, pad)).reshape(-1, prepared.shape[3])
        places = np.arange(len(chosen))
        return pixels[pixel_rows(self.kind, draws, places, *prepared.shape[1:3])].view(prepared.shape)

    def _resized(self, chosen: Any, boxes: CropBoxes) -> Tensor:
        made = []
        for position, index in enumerate(chosen):
            image = self.images.originals.read(int(index), self.images.size)
            box = boxes.box(position, *image.shape[:2])
            cut = crop(image, box, mirrored=bool(boxes.mirrored[position]), size=self.images.size)
            made.append(cut.permute(2, 0, 1))  # planes, as resizing leaves them and normalising wants them
        return torch.stack(made).permute(0, 2, 3, 1)


class _Streamed:
    """Images made by workers, a few batches ahead."""

    def __init__(self, images: LazySet, order: Order, kind: Augmentation, device: torch.device) -> None:
        work, n_workers = Augmented(images, order, kind), images.sources.n_workers
        self.stream = Stream(work, order.per_epoch, n_workers, pinned=device.type == "cuda")
        self.device = device

    def at(self, epoch: int, step: int) -> Tensor:
        """Bytes [B, S, S, C]."""
        found: Tensor = self.stream.at(epoch, step).to(self.device, non_blocking=True)
        return found

    def close(self) -> None:
        """End the workers."""
        self.stream.close()


def in_order(
    images: Images, normalization: Normalization, batch: int, device: torch.device
) -> Series[tuple[Tensor, Tensor]]:
    """Every image exactly once, unaugmented, in order; the last batch may be short."""

    def made(tasks: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        held = images.in_memory() if isinstance(images, LazySet) else images
        parts: Iterator[Tensor]
        if isinstance(held, ImageSet):
            parts = (held.images[task * batch : (task + 1) * batch] for task in tasks)
        else:
            assert isinstance(images, LazySet)
            parts = stream(Prepared(images, batch), tasks, images.sources.n_workers, pinned=device.type == "cuda")
        for task, part in zip(tasks, parts, strict=True):
            bytes_ = part.to(device, non_blocking=True)
            yield normalization.normalize(bytes_), images.labels[task * batch : (task + 1) * batch].to(device)

    return Series(range(-(-len(images.labels) // batch)), made)
