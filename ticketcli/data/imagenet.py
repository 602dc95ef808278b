"""`imagenet`: ILSVRC 2012 as its archives unpack, the classes in the order of their WordNet identifiers.

train/WNID/ and val/WNID/ (torchvision's layout), or val/ flat with the development kit beside it, which says what each
image shows. Classes are the sorted folder names of train/: torchvision's order and that of its weights, not the
development kit's numbers. The official validation images serve as the test part; validation is cut off train.

Source: O. Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015. It cannot be fetched by
program: image-net.org asks for an agreement.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ticketcli.data.folder import whole
from ticketcli.data.listing import Listing, class_folders, list_classes, listing, walk
from ticketcli.data.sources import Sources
from ticketcli.data.splitting import Whole
from ticketcli.errors import CorruptError, InputMissing, MismatchError

_FOLDERS = ("imagenet", "ImageNet", "ILSVRC2012", "")
_DEVKIT = "ILSVRC2012_devkit_t12"
_NUMBER = re.compile(rb"(?:.*/)?[^/]*_(\d{8})\.\w+$")
_SHARE = 0.02  # 26 of 1,300 images a class


def load_imagenet(sources: Sources, *, broken: str) -> Whole:
    """1,281,167 images of 1,000 classes to train on and 50,000 to test.

    Raises:
        InputMissing: it is not here; or val/ is flat and there is no development kit.
        MismatchError: val/ or the development kit speak of classes that train/ has not.
    """
    root = _find(sources)
    class_names = tuple(class_folders(root / "train"))
    train = list_classes(root, "train", class_names, complete=True)
    folders = class_folders(root / "val")
    test = list_classes(root, "val", class_names, complete=False) if folders else _flat(root, class_names)
    return whole(root, {"train": train, "test": test}, class_names, sources, broken=broken, share=_SHARE)


def _find(sources: Sources) -> Path:
    candidates = [sources.locate(folder) for folder in _FOLDERS]
    for root in candidates:
        if (root / "train").is_dir() and (root / "val").is_dir() and class_folders(root / "train"):
            return root
    raise InputMissing(
        "the image set 'imagenet' is not here",
        where=" or ".join(str(root) for root in candidates),
        hint="expected train/WNID/ and val/WNID/ (or val/ and "
        f"{_DEVKIT}/); name the data folder with --data-dir; image-net.org gives the archives to those who register",
    )


def _flat(root: Path, class_names: tuple[str, ...]) -> Listing:
    """val/ without folders: the development kit's list says what its n-th image shows."""
    kit = root / _DEVKIT / "data"
    truth_file, meta_file = kit / "ILSVRC2012_validation_ground_truth.txt", kit / "meta.mat"
    for path in (truth_file, meta_file):
        if not path.is_file():
            hint = f"unpack {_DEVKIT}.tar.gz there, or sort val/ into folders by class"
            raise InputMissing(
                "val/ has no class folders, and the development kit is missing", where=str(path), hint=hint
            )
    wnids = _wnids(meta_file)
    try:
        truth = [int(line) for line in truth_file.read_text().split()]
    except ValueError as error:
        raise CorruptError(f"not a list of numbers: {error}", where=str(truth_file)) from None
    label_of = {name: label for label, name in enumerate(class_names)}
    found = []
    for name, size, time, _ in sorted(walk(root / "val", root)):
        match = _NUMBER.match(name)
        number = int(match[1]) if match else 0
        if not 1 <= number <= len(truth):
            what = f"the development kit knows no validation image {name.decode(errors='replace')}"
            raise MismatchError(what, where=str(truth_file))
        wnid = wnids.get(truth[number - 1])
        if wnid not in label_of:
            raise MismatchError(f"class {truth[number - 1]} ({wnid}) is not in train/", where=str(truth_file))
        found.append((name, size, time, label_of[wnid]))
    if not found:
        raise InputMissing("val/ holds no images", where=str(root / "val"))
    return listing(found)


def _wnids(path: Path) -> dict[int, str]:
    """The development kit's numbers -> WordNet identifiers, of the classes that have no finer ones below them."""
    from scipy.io import loadmat

    try:
        synsets: Any = np.atleast_1d(loadmat(path, squeeze_me=True)["synsets"])
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets if int(row["num_children"]) == 0}
    except Exception as error:  # a damaged file raises what it likes
        what = f"not a readable list of classes: {error or type(error).__name__}"
        raise CorruptError(what, where=str(path), hint="unpack the development kit again") from None
