"""`maps:PATH`: images with label images, for semantic segmentation. `annotations/label_images.py` tells the layout.

val serves as the test part, and validation is cut off train, unless there is a test part too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ticketcli.annotations.label_images import IGNORED, class_names, find_labelled
from ticketcli.annotations.pictures import Picture
from ticketcli.data.broken import find_broken
from ticketcli.data.checked import leave_out, refuse, require_training_images, usual_side, whole_of
from ticketcli.data.decoding import decode_labels
from ticketcli.data.instances import InstanceSet
from ticketcli.data.lazy import Files
from ticketcli.data.listing import Listing, digest, listing
from ticketcli.data.sources import Sources, Wanted
from ticketcli.data.splitting import Whole
from ticketcli.errors import InputMissing
from ticketcli.events import Progress


def load_maps(wanted: Wanted) -> Whole:
    """A set whose pictures have label images and no objects.

    Raises:
        InputMissing: no such folder, or nothing like this in it.
        CorruptError: something is broken, and broken things are not to be skipped; or nothing is left without them.
    """
    root = wanted.sources.locate(wanted.path)

    def tell(done: int, of: int) -> None:
        wanted.sources.tell(Progress("checking images", done, of))

    found = find_labelled(root, tell=tell)
    if "train" not in found:
        raise InputMissing("there is no train/", where=str(root))
    broken = {f"{part}/": one.faults for part, one in found.items()}
    if wanted.broken != "skip":
        refuse(root, broken)
    skipped = leave_out(root, broken, wanted.sources)
    pictures = {part: one.pictures for part, one in found.items()}
    files = _listed(root, (one for ones in pictures.values() for one in ones))
    if wanted.broken == "skip":
        lost = set(find_broken(root, files, wanted.sources))
        skipped += [f"{name}: cannot be decoded" for name in sorted(lost)]
        pictures = {
            part: tuple(one for one in ones if not {one.file_name, one.labels} & lost)
            for part, ones in pictures.items()
        }
    require_training_images(pictures["train"], root)
    everything = [one for ones in pictures.values() for one in ones]
    names = class_names(root) or _numbers(root, everything, wanted.sources)
    side = usual_side(pictures["train"])
    sets = {part: _set(root, ones, names, side, wanted.sources) for part, ones in pictures.items()}
    return whole_of(sets, skipped=skipped, files=digest(files))


def _listed(root: Path, pictures: Iterable[Picture]) -> Listing:
    """Images and label images."""
    found = []
    for name in (name for one in pictures for name in (one.file_name, one.labels)):
        about = (root / name).stat()
        found.append((os.fsencode(name), about.st_size, about.st_mtime_ns, 0))
    return listing(found)


def _numbers(root: Path, pictures: Sequence[Picture], sources: Sources) -> tuple[str, ...]:
    """The classes' names where nobody gave any: from 0 to the largest value of any part."""
    largest = 0
    for index, picture in enumerate(pictures):
        values = decode_labels(root / picture.labels, (picture.height, picture.width)).numpy()
        largest = max(largest, int(values[values != IGNORED].max(initial=0)))
        if index % 100 == 0:
            sources.tell(Progress("counting classes, which classes.txt would spare", index, len(pictures)))
    return tuple(map(str, range(largest + 1)))


def _set(root: Path, pictures: Sequence[Picture], names: tuple[str, ...], side: int, sources: Sources) -> InstanceSet:
    files = np.array([os.fsencode(picture.file_name) for picture in pictures], dtype=np.bytes_)
    ids = tuple(range(len(names)))
    return InstanceSet(Files(root, files), tuple(pictures), names, ids, side, sources, folder=root)
