"""Everything that is wrong with a file of annotations and its images, found in one pass and never raised."""

from __future__ import annotations

import os
import posixpath
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ticketcli.annotations.document import Document, ascii_of, finite, shown, whole
from ticketcli.annotations.image_files import can_be_name, file_size, leaves_folder
from ticketcli.annotations.outline_faults import NUMBERS, outline_faults

KINDS: Mapping[str, str] = {
    "malformed": "values that are missing or of the wrong type",
    "not-finite": "numbers that are not finite",
    "duplicate-id": "ids that are given twice",
    "duplicate-file": "image files that are named twice",
    "leaves-folder": "file names that lead out of the folder",
    "missing-file": "files that are not there",
    "unreadable-file": "image files that cannot be read",
    "other-size": "images of another size than is written",
    "unknown-image": "annotations of unknown images",
    "unknown-category": "annotations of unknown categories",
    "empty-box": "boxes of zero or negative area",
    "outside-box": "boxes that reach out of their image",
    "polygon": "polygons that enclose nothing",
    "run-lengths": "run lengths that do not fill the image",
    "packed-counts": "packed run lengths that cannot be unpacked",
    "other-classes": "classes that the first part has not",
    "crowd-polygons": "crowd regions drawn as polygons",
    "shared-file": "images that are in an earlier part too",
}
NOTES = frozenset({"crowd-polygons", "shared-file"})  # odd, but nothing that stops anybody
# Boxes are rounded when they are written, and programs that count from the centres of pixels put the edges of an
# image half a pixel further out.
_TOLERANCE = 0.5  # pixels
_PERIOD = 500  # files between two signs of life

Told = tuple[str, str, str]  # kind, field, what
Entry = tuple[str, int]  # section, index


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        kind: a key of `KINDS`.
        where: such as annotations[17].bbox, or a file.
        what: in words.
        entry: section and index of the entry that is left out for it; of files without annotations, ("", index).
        image: the id of the image, where that is known.
        annotation: the id of the annotation, where it is of one and known.
    """

    kind: str
    where: str
    what: str
    entry: Entry
    image: int | None = None
    annotation: int | None = None

    @property
    def is_note(self) -> bool:
        """Whether it is only said, and stops nobody."""
        return self.kind in NOTES

    def __str__(self) -> str:
        ids = [f"{name} {n}" for name, n in (("annotation", self.annotation), ("image", self.image)) if n is not None]
        return f"{self.where}: {self.what}" + (f" ({', '.join(ids)})" if ids else "")


def find_faults(
    document: Document, folder: Path | None = None, *, tell: Callable[[int, int], None] | None = None
) -> list[Fault]:
    """All faults of a document, and of its image files where a folder is named.

    Args:
        document: as loaded.
        folder: where the images lie; None looks at no file.
        tell: hears now and then how many of how many files were looked at.
    """
    found: list[Fault] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata of images
        categories = _categories(document.categories, found)
        images = _images(document.images, folder, found, tell or _nobody)
    _annotations(document.annotations, images, categories, found)
    return found


def broken_entries(faults: Iterable[Fault]) -> frozenset[Entry]:
    """The entries that have to be left out."""
    return frozenset(fault.entry for fault in faults if not fault.is_note)


def summary(faults: Sequence[Fault], *, first: int | None) -> list[str]:
    """Lines for people: each kind with its count, and the first few places, or all where `first` is None."""
    lines = []
    counts = Counter(fault.kind for fault in faults)
    for kind in KINDS:
        if not counts[kind]:
            continue
        note = "note: " if kind in NOTES else ""
        lines.append(f"{note}{KINDS[kind]}: {counts[kind]:,}")
        of_kind = [fault for fault in faults if fault.kind == kind]
        lines += [f"  {fault}" for fault in of_kind[:first]]
        if first is not None and len(of_kind) > first:
            lines.append(f"  and {len(of_kind) - first:,} more")
    return lines


def _nobody(done: int, of: int) -> None:
    """Nobody is told."""


def _id_faults(entry: Mapping[str, Any], seen: set[int] | dict[int, Any]) -> tuple[int | None, list[Told]]:
    number = whole(entry.get("id"))
    if number is None:
        return None, [("malformed", "id", f"{_found(entry, 'id')} is no whole number")]
    return number, [("duplicate-id", "id", f"{number} is given before")] if number in seen else []


def _found(entry: Mapping[str, Any], field: str) -> str:
    return shown(entry[field]) if field in entry else "what is not there"


def _categories(entries: list[Any], found: list[Fault]) -> set[int]:
    known: set[int] = set()
    for index, entry in enumerate(entries):
        place = ("categories", index)
        if not isinstance(entry, dict):
            found.append(Fault("malformed", f"categories[{index}]", f"{shown(entry)} is no object", place))
            continue
        number, told = _id_faults(entry, known)
        name = entry.get("name")
        if not isinstance(name, str) or not can_be_name(name):
            told.append(("malformed", "name", f"{_found(entry, 'name')} is no name"))
        found += [Fault(kind, f"categories[{index}].{field}", what, place) for kind, field, what in told]
        if number is not None and not told:
            known.add(number)
    return known


def _images(
    entries: list[Any], folder: Path | None, found: list[Fault], tell: Callable[[int, int], None]
) -> dict[int, tuple[int, int] | None]:
    """By id, height and width; None where the entry does not say them."""
    known: dict[int, tuple[int, int] | None] = {}
    names: set[str] = set()
    root = os.fspath(folder) if folder is not None else None
    for index, entry in enumerate(entries):
        place = ("images", index)
        if not isinstance(entry, dict):
            found.append(Fault("malformed", f"images[{index}]", f"{shown(entry)} is no object", place))
            continue
        number, told = _id_faults(entry, known)
        size, sides = _size(entry)
        told += sides
        told += _file_faults(entry.get("file_name"), names, size, root) if "file_name" in entry else [
            ("malformed", "file_name", "there is none")
        ]  # fmt: skip
        found += [Fault(kind, f"images[{index}].{field}", what, place, number) for kind, field, what in told]
        if number is not None:
            known.setdefault(number, size)
        if index % _PERIOD == 0 and root is not None:
            tell(index, len(entries))
    return known


def _size(entry: Mapping[str, Any]) -> tuple[tuple[int, int] | None, list[Told]]:
    sides = {field: whole(entry.get(field)) for field in ("height", "width")}
    told = [
        ("malformed", field, f"{_found(entry, field)} is no number of pixels")
        for field, side in sides.items()
        if side is None or side < 1
    ]
    height, width = sides.values()
    return (None if told or height is None or width is None else (height, width)), told


def _file_faults(name: Any, names: set[str], size: tuple[int, int] | None, root: str | None) -> Iterator[Told]:
    if not isinstance(name, str) or not can_be_name(name):
        yield "malformed", "file_name", f"{shown(name)} is no file name"
        return
    if leaves_folder(name):
        yield "leaves-folder", "file_name", f"{shown(name)} leads out of the folder"
        return
    plain = posixpath.normpath(name)
    if plain in names:
        yield "duplicate-file", "file_name", f"{shown(name)} is named before"
    names.add(plain)
    if root is None:
        return
    try:
        real = file_size(os.path.join(root, name))  # noqa: PTH118 - as fast as possible
    except FileNotFoundError:
        yield "missing-file", "file_name", f"{ascii_of(name)} is not there"
        return
    except ValueError as error:
        yield "unreadable-file", "file_name", f"{ascii_of(name)}: {error}"
        return
    if size is not None and real != size:
        here, there = (f"{width} x {height}" for height, width in (real, size))
        turned = ", turned as its camera noted" if real == size[::-1] else ""
        yield "other-size", "file_name", f"{ascii_of(name)} is {here} pixels{turned}, not {there}"


def _annotations(
    entries: list[Any],
    images: Mapping[int, tuple[int, int] | None],
    categories: set[int],
    found: list[Fault],
) -> None:
    seen: set[int] = set()
    for index, entry in enumerate(entries):
        place = ("annotations", index)
        if not isinstance(entry, dict):
            found.append(Fault("malformed", f"annotations[{index}]", f"{shown(entry)} is no object", place))
            continue
        number, told = _id_faults(entry, seen)
        told.extend(_annotation_faults(entry, images, categories))
        if told:
            image = whole(entry.get("image_id"))
            found += [
                Fault(kind, f"annotations[{index}].{field}", what, place, image, number) for kind, field, what in told
            ]
        if number is not None:
            seen.add(number)


def _annotation_faults(
    entry: Mapping[str, Any], images: Mapping[int, tuple[int, int] | None], categories: set[int]
) -> Iterator[Told]:
    image, category = whole(entry.get("image_id")), whole(entry.get("category_id"))
    if image is None:
        yield "malformed", "image_id", f"{_found(entry, 'image_id')} is no whole number"
    elif image not in images:
        yield "unknown-image", "image_id", f"there is no image {image}"
    if category is None:
        yield "malformed", "category_id", f"{_found(entry, 'category_id')} is no whole number"
    elif category not in categories:
        yield "unknown-category", "category_id", f"there is no category {category}"
    crowd = entry.get("iscrowd", 0)
    if type(crowd) not in (int, bool, float) or crowd not in (0, 1):
        yield "malformed", "iscrowd", f"{shown(crowd)} is neither 0 nor 1"
        crowd = 0
    size = None if image is None else images.get(image)
    yield from _box_faults(entry, size)
    area = entry.get("area")
    if area is not None and (type(area) not in NUMBERS or area < 0):
        yield "malformed", "area", f"{shown(area)} is no area"
    elif area is not None and not finite([area]):
        yield "not-finite", "area", shown(area)
    if entry.get("segmentation"):
        yield from outline_faults(entry["segmentation"], size, crowd=bool(crowd))
    elif entry.get("segmentation") not in (None, []):
        yield "malformed", "segmentation", f"{shown(entry['segmentation'])} is no outline"


def _box_faults(entry: Mapping[str, Any], size: tuple[int, int] | None) -> Iterator[Told]:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not NUMBERS.issuperset(map(type, box)):
        yield "malformed", "bbox", f"{_found(entry, 'bbox')} is not x, y, width, height"
    elif not finite(box):
        yield "not-finite", "bbox", shown(box)
    elif box[2] <= 0 or box[3] <= 0:
        yield "empty-box", "bbox", f"{box[2]} x {box[3]} pixels"
    elif size is not None:
        x, y, width, height = box
        low, right, bottom = -_TOLERANCE, size[1] + _TOLERANCE, size[0] + _TOLERANCE
        if x < low or y < low or x + width > right or y + height > bottom:
            yield "outside-box", "bbox", f"{shown(box)} is not within {size[1]} x {size[0]} pixels"
