"""`coco`, COCO 2017 as it unpacks; `coco:PATH`, any folder of images and annotations in COCO's format.

Where files may lie is told in `annotations/layout.py`. val serves as the test part, and validation is cut off train,
unless there is a test part too. Mean and deviation are ImageNet's, as those of the backbones.

Source: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", 2014; the format: cocodataset.org, "Data format".
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ticketcli.annotations.inspection import Inspected, inspect
from ticketcli.annotations.layout import Part, coco_2017, find_parts
from ticketcli.annotations.pictures import Picture
from ticketcli.data.broken import find_broken
from ticketcli.data.checked import LARGEST_SIDE, leave_out, refuse, require_training_images, usual_side, whole_of
from ticketcli.data.instances import InstanceSet
from ticketcli.data.lazy import Files
from ticketcli.data.listing import Listing, digest, joined, listing
from ticketcli.data.sources import Sources, Wanted
from ticketcli.data.splitting import Whole
from ticketcli.errors import InputMissing
from ticketcli.events import Progress

_FOLDERS = ("coco", "COCO", "")
_SHARE = 0.02  # of COCO's 118,287 training images, for validation


def load_coco(wanted: Wanted) -> Whole:
    """A set with outlined objects.

    Raises:
        InputMissing: it is not here; says what is expected and where.
        CorruptError: something is broken, and broken things are not to be skipped; or nothing is left without them.
    """
    root, parts = _any(wanted) if wanted.path else _standard(wanted.sources)

    def tell(part: Part, done: int, of: int) -> None:
        wanted.sources.tell(Progress(f"checking the images of {part.file.name}", done, of))

    found = {one.part.name or "train": one for one in inspect(parts.values(), tell=tell)}
    broken = {one.part.file.name: one.broken for one in found.values()}
    if wanted.broken != "skip":
        refuse(root, broken)
    skipped = leave_out(root, broken, wanted.sources)
    pictures = {name: list(one.annotations.pictures) for name, one in found.items()}
    files = {name: _listed(root, found[name].folder, ones) for name, ones in pictures.items()}
    if wanted.broken == "skip":
        lost = set(find_broken(root, joined(list(files.values())), wanted.sources))
        skipped += [f"{name}: cannot be decoded" for name in sorted(lost)]
        for name, listed in files.items():
            kept = np.array([os.fsdecode(bytes(file)) not in lost for file in listed.names], dtype=bool)
            pictures[name] = [one for one, keep in zip(pictures[name], kept, strict=True) if keep]
            files[name] = listed.keep(kept)
    require_training_images(pictures["train"], root)
    side = usual_side(pictures["train"]) if wanted.path else LARGEST_SIDE
    sets = {name: _set(found[name], ones, side, wanted.sources) for name, ones in pictures.items()}
    share = 0.1 if wanted.path else _SHARE
    return whole_of(sets, share=share, skipped=skipped, files=_identity(found, files))


def _standard(sources: Sources) -> tuple[Path, dict[str, Part]]:
    candidates = [sources.locate(folder) for folder in _FOLDERS]
    for root in candidates:
        if parts := coco_2017(root):
            return root, parts
    raise InputMissing(
        "the image set 'coco' is not here",
        where=" or ".join(str(root) for root in candidates),
        hint="expected annotations/instances_train2017.json, annotations/instances_val2017.json, train2017/ and "
        "val2017/; name the data folder with --data-dir; cocodataset.org has them as train2017.zip (18 GB), "
        "val2017.zip (1 GB) and annotations_trainval2017.zip; any other set in this format is coco:PATH",
    )


def _any(wanted: Wanted) -> tuple[Path, dict[str, Part]]:
    root = wanted.sources.locate(wanted.path)
    if not root.is_dir():
        raise InputMissing("no such folder", where=str(root), hint="relative paths lie under --data-dir")
    parts = find_parts(root)
    if "train" not in parts and "" not in parts:
        hint = "instances_train.json is expected, here or in annotations/"
        raise InputMissing("there is no training part", where=str(root), hint=hint)
    return root, parts


def _listed(root: Path, folder: Path, pictures: Sequence[Picture]) -> Listing:
    """The files of pictures, their names relative to the set's folder."""
    found = []
    for picture in pictures:
        path = os.path.join(folder, picture.file_name)  # noqa: PTH118 - as fast as possible
        about = os.stat(path)  # noqa: PTH116
        found.append((os.fsencode(os.path.relpath(path, root)), about.st_size, about.st_mtime_ns, 0))
    return listing(found)


def _set(part: Inspected, pictures: Sequence[Picture], side: int, sources: Sources) -> InstanceSet:
    names = np.array([os.fsencode(picture.file_name) for picture in pictures], dtype=np.bytes_)
    classes, ids = part.annotations.class_names, part.annotations.category_ids
    return InstanceSet(Files(part.folder, names), tuple(pictures), classes, ids, side, sources)


def _identity(parts: Mapping[str, Inspected], files: Mapping[str, Listing]) -> str:
    """Of the image files' names and sizes, and of the annotations: 16 hexadecimal digits."""
    found = hashlib.sha256(digest(joined(list(files.values()))).encode())
    for name, one in parts.items():
        found.update(f"{name} {one.sha256}\n".encode())
    return found.hexdigest()[:16]
