"""The images that `ticket explain` looks at: of a set, of a folder, or files; as bytes, with what is on them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ticketcli.data.decoding import decode
from ticketcli.data.images import Images, ImageSet
from ticketcli.data.instances import InstanceSet
from ticketcli.data.lazy import Files, LazySet
from ticketcli.data.listing import walk
from ticketcli.data.preparation import prepare
from ticketcli.data.sets import load_splits
from ticketcli.data.showing import resized, show, shown_size
from ticketcli.data.sources import Sources
from ticketcli.data.table import is_outlined
from ticketcli.errors import InputMissing, UsageError
from ticketcli.recipe.configs import Data

_ANY = 2**20  # pixels: the longer side has no limit


@dataclass(frozen=True)
class Item:
    """An image.

    Attributes:
        name: for people.
        pixels: uint8 [h, w, C], C = 3, or 1 for grey, as networks are shown it.
        truth: the classes that are on it, by name; none where nobody says.
        boxes: class -> float [m, 4], x0, y0, x1, y1 in pixels; empty where nothing is outlined.
    """

    name: str
    pixels: Tensor
    truth: tuple[str, ...] = ()
    boxes: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """Which images.

    Attributes:
        names: a set's name, a folder, or files; none: the set that the first checkpoint was trained on.
        count: at most so many, spread evenly.
        side: shorter side in pixels; None shows them as the first checkpoint's evaluation does.
        known: classes of which one has to be on an image, for it to be taken; None takes any.
    """

    names: tuple[str, ...]
    count: int
    side: int | None = None
    known: frozenset[str] | None = None


def items_of(asked: Asked, about: Mapping[str, Any], sources: Sources) -> list[Item]:
    """The images, as a checkpoint's network is shown them.

    Raises:
        InputMissing: a file or a set is not there.
        UsageError: several things are named that are not all files, or no image is left.
        CorruptError: a file cannot be decoded.
    """
    own = int(about["image_size"])
    if paths := _files(asked.names):
        found = [_of_file(path, own, asked.side) for path in _spread(paths, asked.count)]
    else:
        data = _data(asked.names, about)
        images = _part(data, asked.side or own, asked.side, sources)
        found = list(_of_set(images, asked))
    if not found:
        lacks = "no image shows a class that the network knows" if asked.known is not None else "there are no images"
        raise UsageError(lacks, where="--images", hint="--target top1, or another set")
    return found


def _files(names: Sequence[str]) -> list[Path]:
    """Image files, where files or a folder are named; nothing where it is a set's name."""
    paths = [Path(name) for name in names]
    if len(paths) == 1 and paths[0].is_dir():
        found = sorted(paths[0] / os.fsdecode(name) for name, *_ in walk(paths[0], paths[0]))
        if not found:
            raise InputMissing("there are no images", where=names[0], hint="jpg, png, webp, bmp, tiff or ppm files")
        return found
    if len(paths) > 1 or (paths and paths[0].is_file()):
        for path in paths:
            if not path.is_file():
                hint = "several images are files; one set, or one folder, stands alone"
                raise InputMissing("no such file", where=str(path), hint=hint)
        return paths
    return []


def _data(names: Sequence[str], about: Mapping[str, Any]) -> Data:
    if names:
        return Data(name=names[0])
    if not about.get("data"):
        raise UsageError("the checkpoint does not say what it was trained on", where="--images", hint="name a set")
    return Data.parse(about["data"], where="the checkpoint's data")


def _part(data: Data, size: int, side: int | None, sources: Sources) -> Images:
    """The test images; of a set without any those for validation. What is outlined is shown at its own size."""
    splits = load_splits(
        data.name, classes=data.classes, per_class=data.per_class, image_size=side if is_outlined(data.name) else size,
        validation=data.validation, split_seed=data.split_seed, broken=data.broken, sources=sources, images=data.images,
    )  # fmt: skip
    return splits.test if len(splits.test.labels) else splits.validation


def _of_file(path: Path, own: int, side: int | None) -> Item:
    image = decode(path, side or own)
    if side is None:
        return Item(path.name, prepare(image, own))
    return Item(path.name, resized(image, shown_size((image.shape[0], image.shape[1]), side, _ANY)))


def _of_set(images: Images, asked: Asked) -> Iterator[Item]:
    if isinstance(images, InstanceSet):
        yield from _outlined(images, asked)
        return
    names, wanted = images.class_names, list(range(len(images.labels)))
    if asked.known is not None:
        wanted = [k for k in wanted if images.labelled and names[int(images.labels[k])] in asked.known]
    chosen = _spread(wanted, asked.count)
    some = images.take(torch.tensor(chosen, dtype=torch.int64))
    held = some.in_memory() if isinstance(some, LazySet) else some
    assert isinstance(held, ImageSet)
    for k, index in enumerate(chosen):
        truth = (names[int(images.labels[index])],) if images.labelled else ()
        yield Item(_name_of(images, index), held.images[k], truth)


def _outlined(images: InstanceSet, asked: Asked) -> Iterator[Item]:
    names = images.class_names

    def shows(index: int) -> bool:
        return asked.known is None or any(
            names[one.label] in asked.known and not one.crowd for one in images.pictures[index].instances
        )

    for index in _spread([k for k in range(len(images.pictures)) if shows(k)], asked.count):
        size = shown_size(images.extent_of(index), images.size, _ANY)
        original = images.originals.read(index, images.size)
        view = show(images, index, original, size, masks=False, training=False)
        kept = ~view.crowd
        labels, boxes = view.labels[kept], view.boxes[kept]
        on_it = {names[label]: boxes[labels == label] for label in sorted(set(labels.tolist()))}
        picture = images.pictures[index]
        yield Item(picture.file_name or f"image {picture.id}", view.image, tuple(on_it), on_it)


def _name_of(images: Images, index: int) -> str:
    originals = images.originals if isinstance(images, LazySet) else None
    return originals.name(index) if isinstance(originals, Files) else f"image {index}"


def _spread(found: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of them, at equal distances."""
    n = min(count, len(found))
    return [found[k * len(found) // n] for k in range(n)]
