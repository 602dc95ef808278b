"""`Listing`: the image files of a set by part and class, in an order that never changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ticketcli.errors import InputMissing, MismatchError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's


@dataclass(frozen=True)
class Listing:
    """N files: names relative to the set's folder (bytes), sizes in bytes, times of change (ns), labels int64."""

    names: NDArray[np.bytes_]
    sizes: NDArray[np.int64]
    times: NDArray[np.int64]
    labels: NDArray[np.int64]

    def keep(self, wanted: NDArray[np.bool_]) -> Listing:
        """The files where `wanted` is true."""
        return Listing(self.names[wanted], self.sizes[wanted], self.times[wanted], self.labels[wanted])


Found = tuple[bytes, int, int, int]


def listing(found: Sequence[Found]) -> Listing:
    """From (name, size, time, label) a file."""
    names, sizes, times, labels = zip(*found, strict=True) if found else ((), (), (), ())
    numbers = (np.array(column, dtype=np.int64) for column in (sizes, times, labels))
    return Listing(np.array(names, dtype=np.bytes_), *numbers)


def joined(listings: Sequence[Listing]) -> Listing:
    """One after the other."""
    columns = ("names", "sizes", "times", "labels")
    return Listing(*(np.concatenate([getattr(one, column) for one in listings]) for column in columns))


def digest(files: Listing, *, with_times: bool = False) -> str:
    """Of names and sizes, and the times of change if wanted: 16 hexadecimal digits."""
    found = hashlib.sha256()
    for name, size, time in zip(files.names, files.sizes, files.times, strict=True):
        found.update(bytes(name) + f"\0{size}\0{time if with_times else ''}\n".encode())
    return found.hexdigest()[:16]


def class_folders(folder: Path) -> list[str]:
    """The names of the folders in `folder`, sorted: the classes in torchvision's order. Hidden ones do not count."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def list_classes(root: Path, part: str, class_names: Sequence[str], *, complete: bool) -> Listing:
    """The files of `root`/`part`/CLASS, at any depth; `part` may be "".

    Raises:
        MismatchError: a folder that is no class.
        InputMissing: a class has no images, where the part has to be `complete`.
    """
    strangers = sorted(set(class_folders(root / part)) - set(class_names))
    if strangers:
        what = f"'{part}' has a class '{strangers[0]}' that the training images have not"
        raise MismatchError(what, where=str(root / part), hint="each part needs the same class folders")
    found: list[Found] = []
    for label, name in enumerate(class_names):
        folder = root / part / name
        files = sorted(walk(folder, root, label)) if folder.is_dir() else []
        if not files and complete:
            hint = "remove the folder, or put images there; known endings: " + " ".join(SUFFIXES)
            raise InputMissing(f"the class '{name}' has no images", where=str(folder), hint=hint)
        found += files
    return listing(found)


def walk(folder: Path, root: Path, label: int = 0) -> Iterator[Found]:
    """Every image file below `folder`, links followed (a folder once), hidden ones left out."""
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        status = place.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    waiting.append(Path(entry.path))
                elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
                    about = entry.stat()
                    name = os.fsencode(os.path.relpath(entry.path, root))
                    yield name, about.st_size, about.st_mtime_ns, label
