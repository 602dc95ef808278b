"""The table of image sets: one file and one line each. What is known of a set by its name; loads nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ticketcli.data.sources import Wanted
from ticketcli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from ticketcli.data.splitting import Whole

_LARGE = 128  # pixels


@dataclass(frozen=True)
class Dataset:
    """How to load a set, the augmentation that suits it at a number of pixels, its terms, and its counts.

    `loader`: ``module:function`` of this package, by name, so that names can be looked up without loading torch.
    `terms`: as README.md lists them, under "Image sets"; "" where they are the user's own affair. `takes_path`:
    NAME:PATH; None is either, NAME alone or NAME:PATH. `made_of`: NAME or NAME:SET, images that are made of another
    set's, by default of this one. `side`: pixels of all its images, 0 where they come in any size. `is_outlined`: there
    are outlined objects on them, or label images to them.
    """

    loader: str
    augment: Callable[[int], str]
    terms: str = ""
    published: tuple[int, int] | None = None
    takes_path: bool | None = False
    made_of: str = ""
    side: int = 0
    is_outlined: bool = False

    def load(self, wanted: Wanted) -> Whole:
        """The set, by its loader, whose module is loaded now."""
        module, _, name = self.loader.partition(":")
        found: Whole = getattr(import_module(f"ticketcli.data.{module}"), name)(wanted)
        return found


def _always(name: str) -> Callable[[int], str]:
    return lambda image_size: name


def _by_size(image_size: int) -> str:
    return "resized-crop" if image_size >= _LARGE else "crop-flip"


DATASETS: Mapping[str, Dataset] = {
    "digits": Dataset("digits:load_digits", _always("shift"), "public (UCI)", side=32),
    "mnist": Dataset("mnist:load_mnist", _always("shift"), "a public research set", (60_000, 10_000), side=32),
    "fashion-mnist": Dataset("mnist:load_fashion", _always("crop-flip"), "MIT", (60_000, 10_000), side=32),
    "cifar10": Dataset("cifar:load_cifar10", _always("crop-flip"), "a public research set", (50_000, 10_000), side=32),
    "cifar100": Dataset(
        "cifar:load_cifar100", _always("crop-flip"), "a public research set", (50_000, 10_000), side=32,
    ),
    "svhn": Dataset("svhn:load_svhn", _always("shift"), "not for commercial use", (73_257, 26_032), side=32),
    "imagenet": Dataset(
        "imagenet:load_imagenet", _always("resized-crop"), "research, not commercial", (1_281_167, 50_000),
    ),
    "folder": Dataset("folder:load_folder", _by_size, takes_path=True),
    "images": Dataset("folder:load_images", _by_size, takes_path=True),
    "coco": Dataset(
        "coco:load_coco", _always("crop-flip"), "annotations CC BY 4.0, images as each says", (118_287, 5_000), None,
        is_outlined=True,
    ),
    "maps": Dataset("maps:load_maps", _always("crop-flip"), takes_path=True, is_outlined=True),
    "scenes": Dataset("scenes:load_scenes", _always("none"), made_of="digits", is_outlined=True),
}  # fmt: skip


def known_set(name: str) -> tuple[Dataset, str]:
    """The row of a set, and the path or the other set that its name holds.

    Raises:
        UsageError: there is none of this name, or none that it is made of.
    """
    found = known, path = _row(name)
    while known.made_of and path:
        known, path = _row(path)
    return found


def _row(name: str) -> tuple[Dataset, str]:
    head, _, path = name.partition(":")
    known = DATASETS.get(head)
    if known is None or (known.takes_path not in (None, bool(path)) and not known.made_of):
        names = [f"{word}:PATH" if row.takes_path else word for word, row in DATASETS.items()]
        raise UsageError(f"unknown image set '{name}'", where="data.name", hint=did_you_mean(name, names))
    return known, path


def natural_augment(name: str, image_size: int) -> str:
    """The augmentation that `augment: auto` stands for."""
    known, path = known_set(name)
    return natural_augment(path or known.made_of, image_size) if known.made_of else known.augment(image_size)


def side_of(name: str) -> int:
    """Pixels of all images of a set, 0 where they come in any size."""
    return known_set(name)[0].side


def is_outlined(name: str) -> bool:
    """Whether a set's images have outlined objects, or label images."""
    return known_set(name)[0].is_outlined


def terms_of(name: str) -> str:
    """The terms of an image set; "" where they are the user's own affair, or nobody knows the set any more."""
    head, _, path = name.partition(":")
    known = DATASETS.get(head)
    if known is None:
        return ""
    return terms_of(path or known.made_of) if known.made_of else known.terms
