"""All parts of a set looked through: what is wrong with each and between them, and what is left without the broken."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ticketcli.annotations.coco import Class, annotations_of, classes_of
from ticketcli.annotations.document import Document, load_document, shown
from ticketcli.annotations.faults import Fault, broken_entries, find_faults
from ticketcli.annotations.layout import Part
from ticketcli.annotations.pictures import Annotations

Tell = Callable[[Part, int, int], None]


@dataclass(frozen=True)
class Inspected:
    """One part.

    Attributes:
        part: where it lies.
        folder: its images.
        sha256: of the file of annotations.
        faults: all that is wrong, notes among it.
        annotations: the rest; labels are places among the first part's classes.
    """

    part: Part
    folder: Path
    sha256: str
    faults: tuple[Fault, ...]
    annotations: Annotations

    @property
    def broken(self) -> tuple[Fault, ...]:
        """The faults that are no notes."""
        return tuple(fault for fault in self.faults if not fault.is_note)


def inspect(parts: Iterable[Part], *, tell: Tell | None = None) -> list[Inspected]:
    """Look through the parts of a set, the training part first.

    Raises:
        InputMissing: a file of annotations is not there.
        CorruptError: one is not JSON, or not in COCO's format at all.
    """
    found: list[Inspected] = []
    classes: list[Class] | None = None
    files: set[str] = set()
    for part in parts:
        document = load_document(part.file)
        folder = part.images(document)
        faults = find_faults(document, folder, tell=_told(part, tell))
        if classes is None:
            classes = classes_of(document, broken_entries(faults))
        else:
            faults += _other_classes(document, classes, broken_entries(faults))
        annotations = annotations_of(document, leave_out=broken_entries(faults), classes=classes)
        faults += _shared(annotations, folder, files)
        found.append(Inspected(part, folder, document.sha256, tuple(faults), annotations))
    return found


def _told(part: Part, tell: Tell | None) -> Callable[[int, int], None] | None:
    return None if tell is None else lambda done, of: tell(part, done, of)


def _other_classes(document: Document, classes: list[Class], leave_out: frozenset[tuple[str, int]]) -> list[Fault]:
    """A class that was never trained on, or that has another name there, cannot be tested on."""
    known, found = set(classes), []
    for index, entry in enumerate(document.categories):
        place = ("categories", index)
        if place not in leave_out and (entry["id"], entry["name"]) not in known:
            what = f"{shown(entry['name'])} with id {entry['id']} is no class of the first part"
            found.append(Fault("other-classes", f"categories[{index}]", what, place))
    return found


def _shared(annotations: Annotations, folder: Path, files: set[str]) -> list[Fault]:
    found = []
    for index, picture in enumerate(annotations.pictures):
        path = os.path.normpath(os.path.join(folder, picture.file_name))  # noqa: PTH118 - as fast as possible
        if path in files:
            what = f"{shown(picture.file_name)} is in an earlier part too"
            found.append(Fault("shared-file", "images", what, ("images", index), picture.id))
        files.add(path)
    return found
