"""The table of image sets: one file and one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ticketcli.data.digits import load_digits
from ticketcli.data.images import Splits, limit, narrow
from ticketcli.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Dataset:
    """How to load a set, the augmentation that suits it, and a line about it."""

    load: Callable[[], Splits]
    augment: str
    summary: str


DATASETS: Mapping[str, Dataset] = {
    "digits": Dataset(load_digits, "shift", "1,797 real handwritten digits from scikit-learn, at 32 pixels"),
}


@lru_cache(maxsize=2)
def _whole(name: str) -> Splits:
    return DATASETS[name].load()


def natural_augment(name: str) -> str:
    """The augmentation that `augment: auto` stands for."""
    return DATASETS[name].augment


def load_splits(name: str, *, classes: Sequence[int] | None, per_class: int | None, seed: int) -> Splits:
    """Load a set, narrowed to `classes` and to `per_class` training images of each (chosen by `seed`).

    Raises:
        UsageError: unknown set or class, or fewer images than asked for.
    """
    if name not in DATASETS:
        raise UsageError(f"unknown image set '{name}'", where="data.name", hint=did_you_mean(name, DATASETS))
    splits = _whole(name)
    if classes is not None:
        splits = narrow(splits, classes)
    if per_class is not None:
        splits = replace(splits, train=limit(splits.train, per_class, seed))
    return splits
