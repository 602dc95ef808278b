"""An image set by its name, narrowed and divided as it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from ticketcli.data.images import Images, Splits, limit, narrow, some
from ticketcli.data.instances import InstanceSet
from ticketcli.data.lazy import sized
from ticketcli.data.sources import Sources, Wanted
from ticketcli.data.splitting import Whole, split
from ticketcli.data.table import known_set
from ticketcli.errors import UsageError
from ticketcli.events import Note


@lru_cache(maxsize=2)
def _whole(name: str, broken: str, sources: Sources) -> Whole:
    known, path = known_set(name)
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
    known, path = known_set(name)
    if known.made_of:  # what is asked for is asked of the images that they are made of
        within = path or known.made_of
        own = not known_set(within)[0].made_of and _whole(within, broken, sources).validation is not None
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
