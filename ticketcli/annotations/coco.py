"""Annotations in COCO's format, read into `Annotations` and written from them.

Classes are labelled 0 .. k-1 in the order of their ids, which may have gaps: COCO's 80 go to 90.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ticketcli.annotations.document import Document, no_collection, whole
from ticketcli.annotations.faults import Entry
from ticketcli.annotations.pictures import Annotations, Instance, Picture
from ticketcli.annotations.run_lengths import area_of

Class = tuple[int, str]  # id, name


def classes_of(document: Document, leave_out: Collection[Entry] = frozenset()) -> list[Class]:
    """The classes in the order of their ids."""
    entries = enumerate(document.categories)
    return sorted((_id(entry), entry["name"]) for k, entry in entries if ("categories", k) not in leave_out)


def annotations_of(
    document: Document, *, leave_out: Collection[Entry] = frozenset(), classes: Sequence[Class] | None = None
) -> Annotations:
    """The entries of a document whose faults are known.

    Args:
        document: as loaded.
        leave_out: entries that are broken; objects on a picture, or of a class, that is left out go with it.
        classes: the classes by label; the document's own when absent.
    """
    classes = classes_of(document, leave_out) if classes is None else classes
    label_of = {number: label for label, (number, _) in enumerate(classes)}
    with no_collection():
        images = {
            _id(entry): entry for index, entry in enumerate(document.images) if ("images", index) not in leave_out
        }
        found: dict[int, list[Instance]] = {number: [] for number in images}
        for index, entry in enumerate(document.annotations):
            if ("annotations", index) in leave_out:
                continue
            of, label = found.get(_id(entry, "image_id")), label_of.get(_id(entry, "category_id"))
            if of is not None and label is not None:
                of.append(_instance(entry, label))
        pictures = tuple(_picture(number, entry, tuple(found[number])) for number, entry in images.items())
    return Annotations(pictures, tuple(name for _, name in classes), tuple(number for number, _ in classes))


def _id(entry: Mapping[str, Any], field: str = "id") -> int:
    number = whole(entry[field])
    assert number is not None, "faulty entries are left out"
    return number


def _picture(number: int, entry: Mapping[str, Any], instances: tuple[Instance, ...]) -> Picture:
    return Picture(number, entry["file_name"], _id(entry, "height"), _id(entry, "width"), instances)


def _instance(entry: Mapping[str, Any], label: int) -> Instance:
    x, y, width, height = entry["bbox"]
    outline = entry.get("segmentation") or None
    area = entry.get("area")
    return Instance(
        _id(entry),
        label,
        (float(x), float(y), float(width), float(height)),
        outline,
        _area(outline, width * height) if area is None else float(area),
        bool(entry.get("iscrowd", 0)),
    )


def _area(outline: Any, of_box: float) -> float:
    """The area that an entry does not say."""
    try:
        return float(of_box) if outline is None else area_of(outline)
    except (ValueError, TypeError, KeyError):  # an outline that is broken in itself
        return float(of_box)


def document_of(annotations: Annotations) -> dict[str, list[dict[str, Any]]]:
    """The same as a file has it; what is read of that file is what was given here."""
    images, entries = [], []
    for picture in annotations.pictures:
        size = {"height": picture.height, "width": picture.width}
        images.append({"id": picture.id, "file_name": picture.file_name, **size})
        for one in picture.instances:
            entries.append(
                {
                    "id": one.id,
                    "image_id": picture.id,
                    "category_id": annotations.category_ids[one.label],
                    "bbox": list(one.box),
                    "area": one.area,
                    "iscrowd": int(one.crowd),
                    "segmentation": [] if one.segmentation is None else one.segmentation,
                }
            )
    classes = zip(annotations.category_ids, annotations.class_names, strict=True)
    return {
        "images": images,
        "annotations": entries,
        "categories": [{"id": number, "name": name} for number, name in classes],
    }
