"""`folder:PATH`, a folder for each class; `images:PATH`, images without classes; and what sets of files share.

PATH may hold train/, val/ and test/ (val is for validation); train/ and val/ (val serves as the test part, validation
is cut off train); train/ and test/; or train/ alone, or the class folders themselves (cut 80 / 10 / 10 by seed). Images
without classes have no test part: nothing can be tested on them but what validation tells already.

Mean and deviation are ImageNet's, which is what backbones for such images mostly come with.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ticketcli.data.broken import find_broken
from ticketcli.data.images import Normalization
from ticketcli.data.lazy import Files, LazySet
from ticketcli.data.listing import Listing, class_folders, digest, joined, list_classes, listing, walk
from ticketcli.data.sources import Sources
from ticketcli.data.splitting import Whole
from ticketcli.errors import CorruptError, InputMissing

IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_SIZE = 224  # until somebody says at how many pixels the images are wanted


def load_folder(path: str, sources: Sources, *, broken: str) -> Whole:
    """A set with a folder for each class.

    Raises:
        InputMissing: no such folder, no classes in it, or a class without images.
        MismatchError: val/ or test/ has a class that train/ has not.
    """
    root = _existing(path, sources)
    parts = [part for part in ("train", "val", "test") if (root / part).is_dir()]
    if parts and "train" not in parts:
        raise InputMissing(f"there is {parts[0]}/ but no train/", where=str(root))
    parts = parts or [""]
    class_names = tuple(class_folders(root / parts[0]))
    if not class_names:
        hint = "a folder for each class is expected; images without classes are images:PATH"
        raise InputMissing("there are no class folders", where=str(root / parts[0]), hint=hint)
    found = {part: list_classes(root, part, class_names, complete=part == parts[0]) for part in parts}
    roles = {parts[0]: "train", "test": "test", "val": "validation" if "test" in parts else "test"}
    return whole(root, {roles[part]: files for part, files in found.items()}, class_names, sources, broken=broken)


def load_images(path: str, sources: Sources, *, broken: str) -> Whole:
    """Images without classes, at any depth below a folder.

    Raises:
        InputMissing: no such folder, or no images in it.
    """
    root = _existing(path, sources)
    files = listing(sorted(walk(root, root)))
    if not len(files.names):
        raise InputMissing("there are no images", where=str(root), hint="jpg, png, webp, bmp, tiff or ppm files")
    return whole(root, {"train": files, "test": listing([])}, (), sources, broken=broken)


def _existing(path: str, sources: Sources) -> Path:
    root = sources.locate(path)
    if not root.is_dir():
        hint = "relative paths lie under --data-dir"
        raise InputMissing("no such folder", where=str(root), hint=hint)
    return root


def whole(
    root: Path,
    parts: Mapping[str, Listing],
    class_names: tuple[str, ...],
    sources: Sources,
    *,
    broken: str,
    share: float = 0.1,
) -> Whole:
    """A set of the files of `parts` (train, validation, test) under `root`.

    Raises:
        CorruptError: broken files are to be skipped, and nothing is left of a class.
    """
    skipped: list[str] = []
    if broken == "skip":
        skipped = find_broken(root, joined(list(parts.values())), sources)
        lost = np.array([os.fsencode(name) for name in skipped], dtype=np.bytes_)
        parts = {role: files.keep(~np.isin(files.names, lost)) for role, files in parts.items()} if skipped else parts
        _require_classes(parts["train"], class_names, root)

    def images(files: Listing) -> LazySet:
        return LazySet(Files(root, files.names), torch.from_numpy(files.labels), class_names, _SIZE, sources)

    sets = {role: images(files) for role, files in parts.items()}
    files = digest(joined(list(parts.values())))
    return Whole(sets["train"], sets.get("test"), IMAGENET, sets.get("validation"), share, tuple(skipped), files)


def _require_classes(train: Listing, class_names: tuple[str, ...], root: Path) -> None:
    counts = np.bincount(train.labels, minlength=max(1, len(class_names)))
    for name, count in zip(class_names or ("",), counts, strict=True):
        if not count:
            of = f" of class '{name}'" if name else ""
            raise CorruptError(f"all training images{of} are broken", where=str(root))
