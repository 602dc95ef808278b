"""Image sets: `ImageSet` in memory as bytes, `Images` the face of both kinds; `Splits`: the parts, kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from ticketcli.errors import UsageError, did_you_mean
from ticketcli.tensors.seeds import derive, permutation

_AT_ONCE = 1 << 18  # numbers, a megabyte


class Images(Protocol):
    """N images, all shown at `size` x `size` pixels: in memory (`ImageSet`), or made when wanted (`LazySet`).

    Attributes:
        labels: int64 [N]; zeros where there are no classes.
        class_names: the classes' names by label; empty for images without labels.
    """

    @property
    def labels(self) -> Tensor:
        """Int64 [N]."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""

    @property
    def size(self) -> int:
        """Side in pixels."""

    @property
    def labelled(self) -> bool:
        """Whether the labels mean anything."""

    def take(self, indices: Tensor) -> Self:
        """The images at `indices`, in that order."""

    def relabelled(self, labels: Tensor, class_names: tuple[str, ...]) -> Self:
        """The same images under other labels."""


@dataclass(frozen=True)
class ImageSet:
    """Images uint8 [N, H, W, C] with C = 3, or 1 for grey; labels int64 [N], and the classes' names by label."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    @property
    def size(self) -> int:
        """Height of the images in pixels."""
        return int(self.images.shape[1])

    @property
    def labelled(self) -> bool:
        """Whether there are classes."""
        return bool(self.class_names)

    def take(self, indices: Tensor) -> ImageSet:
        """The images at `indices`, in that order."""
        return replace(self, images=self.images[indices], labels=self.labels[indices])

    def relabelled(self, labels: Tensor, class_names: tuple[str, ...]) -> ImageSet:
        """The same images under other labels."""
        return replace(self, labels=labels, class_names=class_names)


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each channel, in units where black is 0 and white is 1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def normalize(self, images: Tensor) -> Tensor:
        """Bytes [N, H, W, C] -> float32 [N, 3, H, W], normalised; the one channel of grey images becomes three."""
        scale, shift = _scale_and_shift(self, images.device)
        planes = images.permute(0, 3, 1, 2)
        found = torch.empty((len(planes), 3, *planes.shape[2:]), dtype=torch.float32, device=images.device)
        n = max(1, len(found) if found.is_cuda else _AT_ONCE // max(1, found[:1].numel()))
        for first in range(0, len(found), n):
            into = found[first : first + n]
            into.copy_(planes[first : first + n]).mul_(scale).sub_(shift)  # each pass over what the cache still holds
        return found

    def denormalize(self, images: Tensor) -> Tensor:
        """Normalised [N, 3, H, W] -> the same images in units where black is 0 and white is 1, not clipped."""
        mean = torch.tensor(self.mean, device=images.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, 3, 1, 1)
        return images * std + mean


@cache
def _scale_and_shift(of: Normalization, device: torch.device) -> tuple[Tensor, Tensor]:
    """What bytes are multiplied by, and what is taken away then: float32 [1, 3, 1, 1] each."""
    scale = torch.tensor([1 / (255 * std) for std in of.std], device=device)
    shift = torch.tensor([mean / std for mean, std in zip(of.mean, of.std, strict=True)], device=device)
    return scale.view(1, 3, 1, 1), shift.view(1, 3, 1, 1)


@dataclass(frozen=True)
class Splits:
    """The three parts of a set. Training sees `train`, choices `validation`; `test` is read once, at the end.

    `skipped` are the files left out because they are broken; `files` is the digest of the list of files that were
    read (names and sizes), "" for sets that are not files of images.
    """

    train: Images
    validation: Images
    test: Images
    normalization: Normalization
    skipped: tuple[str, ...] = ()
    files: str = ""

    def counts(self) -> dict[str, Any]:
        """What a result is recorded to rest on."""
        counted: dict[str, Any] = {
            "train": len(self.train.labels),
            "validation": len(self.validation.labels),
            "test": len(self.test.labels),
        }
        return counted | ({"files": self.files, "skipped": len(self.skipped)} if self.files else {})


def require_classes(names: Sequence[str], classes: Sequence[int]) -> None:
    """Refuse a choice of classes that cannot be made.

    Raises:
        UsageError: an unknown class, one listed twice, or none.
    """
    known = [str(number) for number in range(len(names))]
    for number in classes:
        if not 0 <= number < len(names):
            raise UsageError(f"no class {number}", where="data.classes", hint=did_you_mean(str(number), known))
    if not classes or len(set(classes)) != len(classes):
        raise UsageError("classes are listed twice, or there are none", where="data.classes")


def narrow(splits: Splits, classes: Sequence[int]) -> Splits:
    """Keep the listed classes, relabelled 0 .. k-1 in the listed order.

    Raises:
        UsageError: an unknown class, one listed twice, or none.
    """
    names = splits.train.class_names
    require_classes(names, classes)
    new_label = torch.full((len(names),), -1, dtype=torch.int64)
    new_label[list(classes)] = torch.arange(len(classes))

    def narrowed(images: Images) -> Images:
        labels = new_label[images.labels]
        keep = torch.nonzero(labels >= 0).flatten()
        return images.take(keep).relabelled(labels[keep], tuple(names[number] for number in classes))

    return replace(
        splits,
        train=narrowed(splits.train),
        validation=narrowed(splits.validation),
        test=narrowed(splits.test),
    )


ImagesT = TypeVar("ImagesT", bound=Images)


def limit(images: ImagesT, per_class: int, seed: int) -> ImagesT:
    """Keep `per_class` images of each class, chosen by seed; images without labels count as one class.

    Raises:
        UsageError: a class has fewer.
    """
    chosen = []
    for label, name in enumerate(images.class_names or ("unlabelled",)):
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


def some(images: ImagesT, n: int, seed: int) -> ImagesT:
    """Keep `n` images, chosen by seed, in their order.

    Raises:
        UsageError: there are fewer.
    """
    total = len(images.labels)
    if total < n:
        raise UsageError(f"there are {total} training images", where="data.images", hint=f"at most {total}")
    return images.take(torch.from_numpy(np.sort(permutation(derive(seed, "images"), total)[:n])))
