"""Cutting validation (and, where a set has none, test) images off the training images, class by class and by seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ticketcli.data.images import Images, Normalization, Splits
from ticketcli.errors import UsageError
from ticketcli.tensors.seeds import derive, permutation

TEST_SHARE = 0.1  # of a set that comes as one heap of images: 80 / 10 / 10


@dataclass(frozen=True)
class Whole:
    """A set as its files divide it.

    Attributes:
        train: what may be trained on, validation images included where the set has no such part.
        test: None where the set comes as one heap; then a tenth is cut off by seed.
        normalization: mean and deviation of the training images.
        validation: the set's own validation part, or None.
        share: how much of `train` is cut off for validation when nothing else is asked.
        skipped: names of broken files that are left out.
        files: digest of the list of files, "" for sets that are not files of images.
    """

    train: Images
    test: Images | None
    normalization: Normalization
    validation: Images | None = None
    share: float = 0.1
    skipped: tuple[str, ...] = ()
    files: str = ""


def split(whole: Whole, *, validation: float | None, split_seed: int) -> Splits:
    """The three parts. The cut depends on the set and `split_seed` alone, so that all stages cut alike.

    Raises:
        UsageError: a share or a seed is asked of a set that has its own validation part.
    """
    train, test, share = whole.train, whole.test, whole.share
    if test is None:
        train, test = cut(train, TEST_SHARE, split_seed, "test")
        share = TEST_SHARE / (1 - TEST_SHARE)
    if whole.validation is None:
        train, own = cut(train, share if validation is None else validation, split_seed, "validation")
    elif validation is None and not split_seed:
        own = whole.validation
    else:
        raise UsageError(
            "this set has validation images of its own",
            where="data.validation" if validation is not None else "data.split_seed",
            hint="leave validation and split_seed out",
        )
    return Splits(train, own, test, whole.normalization, whole.skipped, whole.files)


def cut(images: Images, share: float, seed: int, purpose: str) -> tuple[Images, Images]:
    """What stays, and the `share` that is cut off: of every class its own, one image at least if it has two."""
    labels = images.labels.numpy()
    off = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        n_off = min(max(round(share * len(members)), 1), len(members) - 1)
        order = permutation(derive(seed, f"split/{purpose}", int(label)), len(members))
        off[members[order[:n_off]]] = True
    return images.take(torch.from_numpy(np.flatnonzero(~off))), images.take(torch.from_numpy(np.flatnonzero(off)))
