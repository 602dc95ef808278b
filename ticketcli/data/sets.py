"""The table of image sets: one file and one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ticketcli.data.cifar import load_cifar10, load_cifar100
from ticketcli.data.coco import load_coco
from ticketcli.data.digits import load_digits
from ticketcli.data.folder import load_folder, load_images
from ticketcli.data.imagenet import load_imagenet
from ticketcli.data.images import Images, Splits, limit, narrow, some
from ticketcli.data.instances import InstanceSet
from ticketcli.data.lazy import sized
from ticketcli.data.maps import load_maps
from ticketcli.data.mnist import load_fashion, load_mnist
from ticketcli.data.scenes import load_scenes
from ticketcli.data.sources import Sources, Wanted
from ticketcli.data.splitting import Whole, split
from ticketcli.data.svhn import load_svhn
from ticketcli.errors import UsageError, did_you_mean
from ticketcli.events import Note

_LARGE = 128  # pixels


@dataclass(frozen=True)
class Dataset:
    """How to load a set, the augmentation that suits it at a number of pixels, its terms, and its counts.

    `terms`: as README.md lists them, under "Image sets"; "" where they are the user's own affair. `takes_path`:
    NAME:PATH; None is either, NAME alone or NAME:PATH. `made_of`: NAME or NAME:SET, images that are made of another
    set's, by default of this one. `side`: pixels of all its images, 0 where they come in any size. `is_outlined`: there
    are outlined objects on them, or label images to them.
    """

    load: Callable[[Wanted], Whole]
    augment: Callable[[int], str]
    terms: str = ""
    published: tuple[int, int] | None = None
    takes_path: bool | None = False
    made_of: str = ""
    side: int = 0
    is_outlined: bool = False


def _always(name: str) -> Callable[[int], str]:
    return lambda image_size: name


def _by_size(image_size: int) -> str:
    return "resized-crop" if image_size >= _LARGE else "crop-flip"


DATASETS: Mapping[str, Dataset] = {
    "digits": Dataset(load_digits, _always("shift"), "public (UCI)", side=32),
    "mnist": Dataset(load_mnist, _always("shift"), "a public research set", (60_000, 10_000), side=32),
    "fashion-mnist": Dataset(load_fashion, _always("crop-flip"), "MIT", (60_000, 10_000), side=32),
    "cifar10": Dataset(load_cifar10, _always("crop-flip"), "a public research set", (50_000, 10_000), side=32),
    "cifar100": Dataset(load_cifar100, _always("crop-flip"), "a public research set", (50_000, 10_000), side=32),
    "svhn": Dataset(load_svhn, _always("shift"), "not for commercial use", (73_257, 26_032), side=32),
    "imagenet": Dataset(load_imagenet, _always("resized-crop"), "research, not commercial", (1_281_167, 50_000)),
    "folder": Dataset(load_folder, _by_size, takes_path=True),
    "images": Dataset(load_images, _by_size, takes_path=True),
    "coco": Dataset(
        load_coco, _always("crop-flip"), "annotations CC BY 4.0, images as each says", (118_287, 5_000), None,
        is_outlined=True,
    ),
    "maps": Dataset(load_maps, _always("crop-flip"), takes_path=True, is_outlined=True),
    "scenes": Dataset(load_scenes, _always("none"), made_of="digits", is_outlined=True),
}  # fmt: skip


def _known(name: str) -> tuple[Dataset, str]:
    head, _, path = name.partition(":")
    known = DATASETS.get(head)
    if known is None or (known.takes_path not in (None, bool(path)) and not known.made_of):
        names = [f"{word}:PATH" if row.takes_path else word for word, row in DATASETS.items()]
        raise UsageError(f"unknown image set '{name}'", where="data.name", hint=did_you_mean(name, names))
    return known, path


def natural_augment(name: str, image_size: int) -> str:
    """The augmentation that `augment: auto` stands for."""
    known, path = _known(name)
    return natural_augment(path or known.made_of, image_size) if known.made_of else known.augment(image_size)


def side_of(name: str) -> int:
    """Pixels of all images of a set, 0 where they come in any size."""
    return _known(name)[0].side


def is_outlined(name: str) -> bool:
    """Whether a set's images have outlined objects, or label images."""
    return _known(name)[0].is_outlined


def terms_of(name: str) -> str:
    """The terms of an image set; "" where they are the user's own affair, or nobody knows the set any more."""
    head, _, path = name.partition(":")
    known = DATASETS.get(head)
    if known is None:
        return ""
    return terms_of(path or known.made_of) if known.made_of else known.terms


@lru_cache(maxsize=2)
def _whole(name: str, broken: str, sources: Sources) -> Whole:
    known, path = _known(name)
    found = known.load(Wanted(sources, path, broken))
    if known.published and not path:
        counts = len(found.train.labels), len(found.test.labels) if found.test is not None else 0
        if counts != known.published:
            here, there = (f"{train:,} + {test:,}" for train, test in (counts, known.published))
            sources.tell(Note(f"{name} has {here} images here; {there} were published"))
    return found


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
    images: int | None = None,
) -> Splits:
    known, path = _known(name)
    if known.made_of:  # what is asked for is asked of the images that they are made of
        within = path or known.made_of
        own = not _known(within)[0].made_of and _whole(within, broken, sources).validation is not None
        asked = classes, per_class, seed, None, validation, 0 if own else split_seed, broken, sources
        inner = _splits.__wrapped__(within, *asked)  # not remembered beside what is made of it
        made = known.load(Wanted(sources, path, broken, images, image_size, split_seed, inner))
        return split(made, validation=None, split_seed=0)
    splits = split(_whole(name, broken, sources), validation=validation, split_seed=split_seed)
    if isinstance(splits.train, InstanceSet):
        if per_class is not None:
            hint = "images: N keeps N training images"
            raise UsageError("an image with many objects is of no one class", where="data.per_class", hint=hint)
        splits = _each(splits, lambda images: _with_objects(images, classes))
    elif classes is not None:
        splits = narrow(splits, classes)
    if per_class is not None:
        splits = replace(splits, train=limit(splits.train, per_class, seed))
    if images is not None:
        splits = replace(splits, train=some(splits.train, images, seed))
    return _each(splits, lambda images: sized(images, image_size, sources))


def _with_objects(images: Images, classes: tuple[int, ...] | None) -> Images:
    assert isinstance(images, InstanceSet)
    return images if classes is None else images.narrowed(classes)


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
    images: int | None = None,
) -> Splits:
    """Load a set, narrowed to `classes` and to `per_class` training images of each (chosen by `seed`).

    Args:
        name: a key of the table, or folder:PATH, images:PATH, coco:PATH, maps:PATH, scenes:SET.
        classes: keep these, relabelled in this order; of sets with outlined objects, images stay and objects go.
        per_class: keep so many training images of each class.
        seed: chooses those.
        image_size: side in pixels at which all images are shown, or scenes are made; None takes the set's own.
        validation: share of the training images cut off for validation; None takes the set's own.
        split_seed: fixes that cut.
        broken: refuse or skip image files that cannot be read.
        sources: where to look.
        images: how many training images to keep (chosen by `seed`), or training scenes to make; None is all of them, or
            the usual number.

    Raises:
        UsageError: unknown set or class, or fewer images than asked for.
        InputMissing: the set is not here; says which files are expected.
        CorruptError: a file of the set is damaged, or not what it should be.
    """
    sources = sources or Sources()
    sources = replace(sources, root=sources.root.expanduser().absolute())  # what is remembered outlives a chdir
    chosen = tuple(classes) if classes is not None else None
    found = _splits(
        name,
        chosen,
        per_class,
        seed if per_class is not None or images is not None else 0,
        image_size,
        validation,
        split_seed,
        broken,
        sources,
        images,
    )
    return _each(found, lambda images: sized(images, None, sources))  # whoever asks now is who is told
