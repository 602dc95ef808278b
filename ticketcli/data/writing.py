"""A set with outlined objects written out in COCO's format, images as PNG."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from PIL import Image

from ticketcli.annotations.coco import document_of
from ticketcli.annotations.pictures import Annotations
from ticketcli.data.images import Splits
from ticketcli.data.instances import InstanceSet
from ticketcli.errors import TicketError, UsageError
from ticketcli.store.atomic import write_atomic, write_text

FULL_SCALE = 2**30  # pixels; no file is that large, so none is read at a reduced scale


def write_coco(splits: Splits, folder: Path, *, tell: Callable[[str, int, int], None]) -> dict[str, int]:
    """Write the parts of a set; the files of annotations come last, so that a set is whole if they are there.

    Args:
        splits: of `InstanceSet`s.
        folder: made if it is not there.
        tell: hears of each image: part, how many are written, of how many.

    Returns:
        How many images each part has.

    Raises:
        UsageError: the set has no outlined objects, or a set is there already.
        CorruptError: an image cannot be read.
        NoSpaceError: the disk is full.
    """
    parts = {"train": splits.train, "val": splits.validation, "test": splits.test}
    outlined: dict[str, InstanceSet] = {}
    for name, part in parts.items():
        if not isinstance(part, InstanceSet) or part.folder is not None:
            hint = "scenes, scenes:SET or coco:PATH"
            raise UsageError("nothing is outlined on these images", where="data.name", hint=hint)
        if len(part.pictures):
            outlined[name] = part
    there = sorted(folder.glob("instances_*.json"))
    if there:
        raise UsageError("there is a set already", where=str(there[0]), hint="name another folder with --to")
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TicketError(f"cannot make the folder: {error.strerror}", where=str(folder)) from None
    written = {name: _write_images(name, part, folder / "images", tell) for name, part in outlined.items()}
    for name, told in written.items():
        write_text(folder / f"instances_{name}.json", json.dumps(document_of(told), allow_nan=False) + "\n")
    return {name: len(told.pictures) for name, told in written.items()}


def _write_images(name: str, part: InstanceSet, folder: Path, tell: Callable[[str, int, int], None]) -> Annotations:
    pictures, n = [], len(part.pictures)
    for index in range(n):
        pixels = part.originals.read(index, FULL_SCALE).numpy()
        picture = replace(part.pictures[index], file_name=f"{name}-{index + 1:06d}.png")
        image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
        write_atomic(folder / picture.file_name, partial(image.save, format="PNG"))
        pictures.append(picture)
        tell(name, index + 1, n)
    return Annotations(pictures, part.class_names, part.category_ids)
