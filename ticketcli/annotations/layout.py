"""Where the parts of a set with annotations lie: the files of annotations, and their images.

A folder may hold, for the parts train, val and test (val is for validation where there is a test part):

    instances_train.json, instances_val.json            images in images/, images/train/, train/ or beside the files
    annotations/instances_train2017.json, ...           COCO's own; images in train2017/ or as above
    train/_annotations.coco.json, valid/..., test/...   images beside them, as Roboflow exports

or one file alone, which is one heap: annotations/instances_default.json, annotations.json, _annotations.coco.json.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ticketcli.annotations.document import Document
from ticketcli.errors import InputMissing, UsageError

PARTS = ("train", "val", "test")
_SAME = {"valid": "val", "validation": "val"}
_NAMED = re.compile(r"instances_(train|valid|validation|val|test)(\d{4})?\.json", re.IGNORECASE)
_ROBOFLOW = "_annotations.coco.json"
_HEAP = re.compile(r"instances_\w+\.json|annotations\.json|_annotations\.coco\.json", re.IGNORECASE)
_PROBES = 20  # images that are looked for to tell folders apart


@dataclass(frozen=True)
class Part:
    """A part of a set.

    Attributes:
        name: train, val or test; "" where all is one heap.
        file: of the annotations.
        folders: where its images may lie.
    """

    name: str
    file: Path
    folders: tuple[Path, ...]

    def images(self, document: Document) -> Path:
        """The folder in which most of the first images are; where there are none, the first folder that is there."""
        there = [folder for folder in self.folders if folder.is_dir()] or [self.file.parent]
        entries = (entry for entry in document.images[:_PROBES] if isinstance(entry, dict))
        names = [name for entry in entries if isinstance(name := entry.get("file_name"), str)]

        def hits(folder: Path) -> int:
            return sum(os.path.isfile(os.path.join(folder, name)) for name in names)  # noqa: PTH113, PTH118 - never raises

        return max(there, key=hits)


def coco_2017(root: Path) -> dict[str, Part]:
    """COCO 2017 as its archives unpack; nothing where that is not all there. Other years may lie beside it."""
    parts = {
        name: Part(name, root / "annotations" / f"instances_{name}2017.json", (root / f"{name}2017",))
        for name in ("train", "val")
    }
    return parts if all(part.file.is_file() and part.folders[0].is_dir() for part in parts.values()) else {}


def find_parts(root: Path) -> dict[str, Part]:
    """The parts of the set in a folder, by name.

    Raises:
        InputMissing: no such folder, or no annotations in it.
        UsageError: two files for one part.
    """
    if not root.is_dir():
        raise InputMissing("no such folder", where=str(root))
    if known := coco_2017(root):
        return known
    named = [(path, match) for path in _files(root) if (match := _NAMED.fullmatch(path.name))]
    named_parts = [(match[1].lower(), path) for path, match in named]
    inside = [(name, root / name / _ROBOFLOW) for name in (*PARTS, *_SAME) if (root / name / _ROBOFLOW).is_file()]
    found: dict[str, Part] = {}
    for name, path in [*named_parts, *inside]:
        part = _SAME.get(name, name)
        if part in found:
            what = f"two files for '{part}': {found[part].file.relative_to(root)} and {path.relative_to(root)}"
            raise UsageError(what, where=str(root), hint="leave one of them in the folder")
        found[part] = Part(part, path, _folders(root, path, name))
    if found:
        return {part: found[part] for part in PARTS if part in found}
    heap = [path for path in _files(root) if _HEAP.fullmatch(path.name)]
    if len(heap) != 1:
        what = "there are no annotations" if not heap else f"which of the {len(heap)} files is meant is not clear"
        hint = "instances_train.json and instances_val.json are expected, here or in annotations/"
        raise InputMissing(what, where=str(root), hint=hint)
    return {"": Part("", heap[0], _folders(root, heap[0], ""))}


def part_of_file(path: Path, images: Path | None = None) -> Part:
    """The part that one file of annotations is; its images are in `images`, or where they usually are."""
    if images is not None:
        return Part(path.stem, path, (images,))
    root = path.parent.parent if path.parent.name == "annotations" else path.parent
    match = _NAMED.fullmatch(path.name)
    return Part(path.stem, path, _folders(root, path, match[1].lower() if match else ""))


def _files(root: Path) -> list[Path]:
    folders = [folder for folder in (root, root / "annotations") if folder.is_dir()]
    return sorted(path for folder in folders for path in folder.iterdir() if path.suffix.lower() == ".json")


def _folders(root: Path, file: Path, name: str) -> tuple[Path, ...]:
    tag = file.stem.partition("_")[2]  # train2017
    wanted = [word for word in (tag, name, _SAME.get(name, "")) if word]
    folders = [root / base / word for word in wanted for base in ("", "images")]
    return tuple(dict.fromkeys([*folders, root / "images", file.parent, root]))
