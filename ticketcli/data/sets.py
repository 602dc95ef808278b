"""The table of image sets: one file and one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ticketcli.data.cifar import load_cifar10, load_cifar100
from ticketcli.data.digits import load_digits
from ticketcli.data.folder import load_folder, load_images
from ticketcli.data.imagenet import load_imagenet
from ticketcli.data.images import Images, Splits, limit, narrow
from ticketcli.data.lazy import sized
from ticketcli.data.mnist import load_fashion_mnist, load_mnist
from ticketcli.data.sources import Sources
from ticketcli.data.splitting import Whole, split
from ticketcli.data.svhn import load_svhn
from ticketcli.errors import UsageError, did_you_mean

_LARGE = 128  # pixels


@dataclass(frozen=True)
class Wanted:
    """What a reader is asked for.

    Attributes:
        sources: where to look.
        path: what follows the colon in folder:PATH.
        broken: what to do about image files that cannot be read: refuse or skip.
    """

    sources: Sources
    path: str = ""
    broken: str = "refuse"


@dataclass(frozen=True)
class Dataset:
    """How to load a set, the augmentation that suits it at a number of pixels, and a line about it."""

    load: Callable[[Wanted], Whole]
    augment: Callable[[int], str]
    summary: str
    takes_path: bool = False


def _always(name: str) -> Callable[[int], str]:
    return lambda image_size: name


def _by_size(image_size: int) -> str:
    return "resized-crop" if image_size >= _LARGE else "crop-flip"


DATASETS: Mapping[str, Dataset] = {
    "digits": Dataset(
        lambda wanted: load_digits(),
        _always("shift"),
        "1,797 real handwritten digits from scikit-learn, at 32 pixels",
    ),
    "mnist": Dataset(lambda wanted: load_mnist(wanted.sources), _always("shift"), "60,000 + 10,000 handwritten digits"),
    "fashion-mnist": Dataset(
        lambda wanted: load_fashion_mnist(wanted.sources), _always("crop-flip"), "60,000 + 10,000 pieces of clothing"
    ),
    "cifar10": Dataset(
        lambda wanted: load_cifar10(wanted.sources), _always("crop-flip"), "50,000 + 10,000 photographs, 10 classes"
    ),
    "cifar100": Dataset(
        lambda wanted: load_cifar100(wanted.sources), _always("crop-flip"), "50,000 + 10,000 photographs, 100 classes"
    ),
    "svhn": Dataset(
        lambda wanted: load_svhn(wanted.sources), _always("shift"), "73,257 + 26,032 digits of house numbers"
    ),
    "imagenet": Dataset(
        lambda wanted: load_imagenet(wanted.sources, broken=wanted.broken),
        _always("resized-crop"),
        "1,281,167 + 50,000 photographs, 1,000 classes",
    ),
    "folder": Dataset(
        lambda wanted: load_folder(wanted.path, wanted.sources, broken=wanted.broken),
        _by_size,
        "image files, a folder for each class",
        takes_path=True,
    ),
    "images": Dataset(
        lambda wanted: load_images(wanted.path, wanted.sources, broken=wanted.broken),
        _by_size,
        "image files without classes",
        takes_path=True,
    ),
}


def _known(name: str) -> tuple[Dataset, str]:
    head, _, path = name.partition(":")
    known = DATASETS.get(head)
    if known is None or known.takes_path != bool(path):
        names = [f"{word}:PATH" if row.takes_path else word for word, row in DATASETS.items()]
        raise UsageError(f"unknown image set '{name}'", where="data.name", hint=did_you_mean(name, names))
    return known, path


def natural_augment(name: str, image_size: int) -> str:
    """The augmentation that `augment: auto` stands for."""
    return _known(name)[0].augment(image_size)


@lru_cache(maxsize=2)
def _whole(name: str, broken: str, sources: Sources) -> Whole:
    known, path = _known(name)
    return known.load(Wanted(sources, path, broken))


@lru_cache(maxsize=2)  # a source and a target: the steps of a recipe share what is decoded
def _splits(
    name: str,
    classes: tuple[int, ...] | None,
    per_class: int | None,
    seed: int,
    image_size: int | None,
    validation: float | None,
    split_seed: int,
    broken: str,
    sources: Sources,
) -> Splits:
    splits = split(_whole(name, broken, sources), validation=validation, split_seed=split_seed)
    if classes is not None:
        splits = narrow(splits, classes)
    if per_class is not None:
        splits = replace(splits, train=limit(splits.train, per_class, seed))
    return _each(splits, lambda images: sized(images, image_size, sources))


def _each(splits: Splits, change: Callable[[Images], Images]) -> Splits:
    return replace(splits, train=change(splits.train), validation=change(splits.validation), test=change(splits.test))


def load_splits(
    name: str,
    *,
    classes: Sequence[int] | None = None,
    per_class: int | None = None,
    seed: int = 0,
    image_size: int | None = None,
    validation: float | None = None,
    split_seed: int = 0,
    broken: str = "refuse",
    sources: Sources | None = None,
) -> Splits:
    """Load a set, narrowed to `classes` and to `per_class` training images of each (chosen by `seed`).

    Args:
        name: a key of the table, or folder:PATH, images:PATH.
        classes: keep these, relabelled in this order.
        per_class: keep so many training images of each class.
        seed: chooses those.
        image_size: side in pixels at which all images are shown; None takes the set's own.
        validation: share of the training images cut off for validation; None takes the set's own.
        split_seed: fixes that cut.
        broken: refuse or skip image files that cannot be read.
        sources: where to look.

    Raises:
        UsageError: unknown set or class, or fewer images than asked for.
        InputMissing: the set is not here; says which files are expected.
        CorruptError: a file of the set is damaged, or not what it should be.
    """
    sources = sources or Sources()
    chosen = tuple(classes) if classes is not None else None
    found = _splits(name, chosen, per_class, seed, image_size, validation, split_seed, broken, sources)
    return _each(found, lambda images: sized(images, None, sources))  # whoever asks now is who is told
