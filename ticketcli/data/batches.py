"""`Batches`: training images by (epoch, step), each batch one gather on bytes; and all images in order.

What an image looks like in an epoch depends on (seed, epoch, index) alone: not on batch size, position, workers or
what was drawn before. So a run may be cut anywhere, and continued with another batch layout.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ticketcli.data.images import ImageSet, Normalization
from ticketcli.errors import UsageError, did_you_mean
from ticketcli.tensors.seeds import derive, integers, permutation

# name -> (pixels of zero padding that a random crop moves in, whether to mirror at random)
AUGMENTATIONS = {"none": (0, False), "shift": (2, False), "crop-flip": (4, True)}


class Batches:
    """Shuffled, augmented training batches of equal size; the images that do not fill one are left out of the epoch.

    Args:
        images: the set, N images.
        normalization: applied after augmentation.
        batch: images in a batch; a smaller set gives one batch with all of them.
        seed: fixes order and augmentation.
        augment: none, shift (2 pixels) or crop-flip (4 pixels, mirrored at random).
        device: where the batches are put.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        normalization: Normalization,
        batch: int,
        seed: int,
        augment: str,
        device: torch.device,
    ) -> None:
        if augment not in AUGMENTATIONS:
            raise UsageError(
                f"unknown augmentation '{augment}'",
                where="augment",
                hint=did_you_mean(augment, AUGMENTATIONS),
            )
        self.n = len(images.labels)
        self.batch = min(batch, self.n)
        self.per_epoch = max(1, self.n // max(1, self.batch))
        self.seed, self.device, self.normalization = seed, device, normalization
        self.padding, self.mirrored = AUGMENTATIONS[augment]
        self.height, self.width = images.images.shape[1:3]
        pad = self.padding
        padded = F.pad(images.images, (0, 0, pad, pad, pad, pad)) if pad else images.images
        self.padded_width = padded.shape[2]
        self.pixels = padded.reshape(-1, 3).to(device)  # [N * H' * W', 3], so that a batch is one gather of rows
        self.pixels_per_image = padded.shape[1] * padded.shape[2]
        self.labels = images.labels.to(device)
        self._order: tuple[int, np.ndarray] | None = None

    def at(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Images float32 [B, 3, H, W], normalised, and labels int64 [B]."""
        chosen = self._order_of(epoch)[step * self.batch : (step + 1) * self.batch]
        rows = self._pixel_rows(chosen, epoch)
        images = self.pixels.index_select(0, rows.to(self.device)).view(len(chosen), self.height, self.width, 3)
        labels = self.labels[torch.from_numpy(chosen).to(self.device)]
        return self.normalization.normalize(images), labels

    def _order_of(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, permutation(derive(self.seed, "order", epoch), self.n))
        return self._order[1]

    def _pixel_rows(self, chosen: np.ndarray, epoch: int) -> Tensor:
        """Which pixels make each image: [B, H * W] rows of `pixels`."""
        counters = chosen.astype(np.uint64)

        def draw(purpose: str, n: int) -> Tensor:
            return torch.from_numpy(integers(derive(self.seed, purpose, epoch), counters, n))[:, None]

        down, right = draw("down", 2 * self.padding + 1), draw("right", 2 * self.padding + 1)
        columns = torch.arange(self.width)[None]
        if self.mirrored:
            columns = torch.where(draw("mirror", 2) == 1, self.width - 1 - columns, columns)
        rows = (torch.arange(self.height)[None] + down) * self.padded_width
        place = rows[:, :, None] + (columns + right)[:, None, :]  # [B, H, W]
        return (place + torch.from_numpy(chosen)[:, None, None] * self.pixels_per_image).view(-1)


def in_order(
    images: ImageSet, normalization: Normalization, batch: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image exactly once, unaugmented, in order; the last batch may be short."""
    for start in range(0, len(images.labels), batch):
        part = images.images[start : start + batch].to(device)
        yield normalization.normalize(part), images.labels[start : start + batch].to(device)
