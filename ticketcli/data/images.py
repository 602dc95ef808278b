"""`ImageSet`: labelled images in memory as bytes; `Splits`: train, validation and test, kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ticketcli.errors import UsageError, did_you_mean
from ticketcli.tensors.seeds import derive, permutation


@dataclass(frozen=True)
class ImageSet:
    """Images uint8 [N, H, W, 3], labels int64 [N], and the classes' names by label."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def take(self, indices: Tensor) -> ImageSet:
        """The images at `indices`, in that order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each channel, in units where black is 0 and white is 1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def normalize(self, images: Tensor) -> Tensor:
        """Bytes [N, H, W, 3] -> float32 [N, 3, H, W], normalised."""
        scale = torch.tensor([1 / (255 * std) for std in self.std], device=images.device).view(1, 3, 1, 1)
        shift = torch.tensor([mean / std for mean, std in zip(self.mean, self.std, strict=True)], device=images.device)
        planes = images.permute(0, 3, 1, 2).to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        return planes.mul_(scale).sub_(shift.view(1, 3, 1, 1))

    def denormalize(self, images: Tensor) -> Tensor:
        """Normalised [N, 3, H, W] -> the same images in units where black is 0 and white is 1, not clipped."""
        mean = torch.tensor(self.mean, device=images.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, 3, 1, 1)
        return images * std + mean


@dataclass(frozen=True)
class Splits:
    """The three parts of a set. Training sees `train`, choices `validation`; `test` is read once, at the end."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    normalization: Normalization


def narrow(splits: Splits, classes: Sequence[int]) -> Splits:
    """Keep the listed classes, relabelled 0 .. k-1 in the listed order.

    Raises:
        UsageError: an unknown class, one listed twice, or none.
    """
    names = splits.train.class_names
    known = [str(number) for number in range(len(names))]
    for number in classes:
        if not 0 <= number < len(names):
            raise UsageError(f"no class {number}", where="data.classes", hint=did_you_mean(str(number), known))
    if not classes or len(set(classes)) != len(classes):
        raise UsageError("classes are listed twice, or there are none", where="data.classes")
    new_label = torch.full((len(names),), -1, dtype=torch.int64)
    new_label[list(classes)] = torch.arange(len(classes))

    def narrowed(images: ImageSet) -> ImageSet:
        labels = new_label[images.labels]
        keep = labels >= 0
        return ImageSet(images.images[keep], labels[keep], tuple(names[number] for number in classes))

    return replace(
        splits,
        train=narrowed(splits.train),
        validation=narrowed(splits.validation),
        test=narrowed(splits.test),
    )


def limit(images: ImageSet, per_class: int, seed: int) -> ImageSet:
    """Keep `per_class` images of each class, chosen by seed.

    Raises:
        UsageError: a class has fewer.
    """
    chosen = []
    for label, name in enumerate(images.class_names):
        members = torch.nonzero(images.labels == label).flatten()
        if len(members) < per_class:
            raise UsageError(
                f"class '{name}' has {len(members)} training images",
                where="data.per_class",
                hint=f"at most {len(members)}",
            )
        order = permutation(derive(seed, "per_class", label), len(members))[:per_class]
        chosen.append(members[torch.from_numpy(np.sort(order))])
    return images.take(torch.sort(torch.cat(chosen)).values)
