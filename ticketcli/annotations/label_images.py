"""Images with label images: train/images/ and train/labels/, val/ and test/ alike, partners by the stem of their name.

The value of a label image's pixel is the class of the image's; 255 counts for nothing. The names of the classes stand
in classes.txt, one a line; without it they are numbers.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ticketcli.annotations.document import ascii_of
from ticketcli.annotations.faults import Fault
from ticketcli.annotations.image_files import can_be_name, file_size
from ticketcli.annotations.layout import PARTS
from ticketcli.annotations.pictures import Picture
from ticketcli.errors import CorruptError, InputMissing

IGNORED = 255
CLASSES = "classes.txt"
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_LABELS = (".png",)


@dataclass(frozen=True)
class Labelled:
    """One part: pictures whose files and label images are there, are readable and of one size; and what is wrong.

    Names are relative to the set's folder: train/images/a.jpg, train/labels/a.png.
    """

    pictures: tuple[Picture, ...]
    faults: tuple[Fault, ...]


def has_label_images(root: Path) -> bool:
    """Whether a folder is laid out like this."""
    return any((root / part / "labels").is_dir() and (root / part / "images").is_dir() for part in PARTS)


def find_labelled(root: Path, *, tell: Callable[[int, int], None] | None = None) -> dict[str, Labelled]:
    """The parts by name. Only the first and last bytes of files are read, so that wrong values stay unseen.

    Raises:
        InputMissing: no such folder, or nothing like this in it.
    """
    if not root.is_dir():
        raise InputMissing("no such folder", where=str(root))
    if not has_label_images(root):
        hint = "train/images/ and train/labels/ are expected, val/images/ and val/labels/"
        raise InputMissing("there are no label images", where=str(root), hint=hint)
    return {part: _part(root, part, tell) for part in PARTS if (root / part).is_dir()}


def class_names(root: Path) -> tuple[str, ...]:
    """The lines of classes.txt; none where there is no such file.

    Raises:
        CorruptError: it is no text, has an empty line or one twice, or more classes than a byte tells apart.
    """
    path = root / CLASSES
    if not path.is_file():
        return ()
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise CorruptError(f"not a list of names: {error}", where=str(path)) from None
    if not all(names) or len(set(names)) != len(names) or not 0 < len(names) <= IGNORED:
        hint = f"one name a line, each once, at most {IGNORED}"
        raise CorruptError("not a list of names", where=str(path), hint=hint)
    return names


def _listed(folder: Path, endings: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for name in sorted(entry.name for entry in entries if entry.is_file()):
                stem, ending = os.path.splitext(name)  # noqa: PTH122 - names, no paths
                if ending.lower() in endings and not name.startswith("."):
                    found.setdefault(stem, []).append(name)
    return found


def _part(root: Path, part: str, tell: Callable[[int, int], None] | None) -> Labelled:
    images, labels = _listed(root / part / "images", _IMAGES), _listed(root / part / "labels", _LABELS)
    pictures: list[Picture] = []
    faults: list[Fault] = []
    stems = sorted(images.keys() | labels.keys())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata
        for index, stem in enumerate(stems):
            found = _picture(root, part, images.get(stem, []), labels.get(stem, []), len(pictures) + 1)
            if isinstance(found, Picture):
                pictures.append(found)
            else:
                kind, where, what = found
                faults.append(Fault(kind, ascii_of(where), what, ("", index)))
            if tell is not None and index % 500 == 0:
                tell(index, len(stems))
    return Labelled(tuple(pictures), tuple(faults))


def _picture(
    root: Path, part: str, images: list[str], labels: list[str], number: int
) -> Picture | tuple[str, str, str]:
    """A picture, or kind, place and words of what is wrong."""
    if not images:
        return "missing-file", f"{part}/labels/{labels[0]}", "a label image without an image"
    image = f"{part}/images/{images[0]}"
    if not labels:
        return "missing-file", image, "an image without a label image"
    if len(images) > 1:
        return "duplicate-file", image, f"{len(images)} images for one label image"
    label, sizes = f"{part}/labels/{labels[0]}", []
    for name in (image, label):
        try:
            if not can_be_name(name):
                raise ValueError("its name is no text")
            sizes.append(file_size(os.fspath(root / name)))
        except FileNotFoundError:  # gone since it was listed
            return "missing-file", name, "it is not there"
        except ValueError as error:
            return "unreadable-file", name, str(error)
    if sizes[0] != sizes[1]:
        here, there = (f"{width} x {height}" for height, width in reversed(sizes))
        return "other-size", label, f"{here} pixels, its image {there}"
    return Picture(number, image, *sizes[0], labels=label)
