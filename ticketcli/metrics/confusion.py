"""Label maps against the truth: which class was called what, pixel by pixel, as exact counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ticketcli.errors import MismatchError

IGNORED = 255


class Confusion:
    """Counts of pixels by (true class, predicted class); the same however the images were divided into batches.

    Attributes:
        counts: int64 [k, k] on the CPU; a row is a true class.
    """

    def __init__(self, n_classes: int) -> None:
        if not 0 < n_classes <= IGNORED:
            raise ValueError(f"{n_classes} classes: labels are bytes, and {IGNORED} means ignored")
        self.n_classes = n_classes
        self.counts = torch.zeros((n_classes, n_classes), dtype=torch.int64)

    def update(self, predicted: Tensor, wanted: Tensor) -> None:
        """Count the pixels of one or more images.

        Args:
            predicted: labels of any integer type and shape, in [0, k) wherever the truth is not ignored.
            wanted: labels of that shape, in [0, k) or 255, which is not counted.

        Raises:
            MismatchError: the shapes differ, or a label is not that of a class.
        """
        if predicted.shape != wanted.shape:
            raise MismatchError(f"label maps of shapes {tuple(predicted.shape)} and {tuple(wanted.shape)}")
        judged = wanted != IGNORED
        predicted, wanted = predicted[judged].long(), wanted[judged].long()  # [pixels]
        for name, labels in (("predicted", predicted), ("true", wanted)):
            if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < self.n_classes:
                seen = f"{int(labels.min())} to {int(labels.max())}"
                raise MismatchError(f"{name} labels are {seen}, but there are {self.n_classes} classes")
        pairs = torch.bincount(wanted * self.n_classes + predicted, minlength=self.n_classes**2)
        self.counts += pairs.view(self.n_classes, self.n_classes).cpu()

    def measures(self, class_names: Sequence[str]) -> dict[str, Any]:
        """What the counts say.

        A class's IoU is the pixels that are it and were called it, over those that are it or were called it. The mean
        goes over the classes that are in the truth or in the prediction: one that is predicted without being there is
        a mistake and counts 0, one that is in neither says nothing, and would only reward or punish by convention.

        Returns:
            miou and pixel_accuracy, in [0, 1], None where no pixel was judged; iou: name -> IoU, None for classes in
            neither; n, the pixels judged.
        """
        right = self.counts.diagonal()  # [k]
        either = self.counts.sum(dim=0) + self.counts.sum(dim=1) - right  # [k]
        iou = {
            name: hit / union if union else None
            for name, hit, union in zip(class_names, right.tolist(), either.tolist(), strict=True)
        }
        there = [value for value in iou.values() if value is not None]
        n = int(self.counts.sum())
        return {
            "miou": sum(there) / len(there) if there else None,
            "iou": iou,
            "pixel_accuracy": int(right.sum()) / n if n else None,
            "n": n,
        }
