"""`cifar10` and `cifar100`: 32-pixel colour images in the published "python version", unpacked or as tar.gz.

The files are Python pickles, which can be made to run any code. They are read with an unpickler that knows nothing
but plain containers, text and numpy arrays.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. Means and deviations are the usual
ones, of the training images.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ticketcli.data.images import ImageSet, Normalization
from ticketcli.data.places import Places, Remote
from ticketcli.data.sources import Sources
from ticketcli.data.splitting import Whole
from ticketcli.errors import CorruptError

_BASE = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class _Version:
    """What the two sets differ in."""

    name: str
    folder: str
    archive: Remote
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    labels: str
    label_names: str
    normalization: Normalization


CIFAR10 = _Version(
    "cifar10",
    "cifar-10-batches-py",
    Remote(f"{_BASE}cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
    tuple(f"data_batch_{number}" for number in range(1, 6)),
    ("test_batch",),
    "batches.meta",
    "labels",
    "label_names",
    Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
)
CIFAR100 = _Version(
    "cifar100",
    "cifar-100-python",
    Remote(f"{_BASE}cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
    ("train",),
    ("test",),
    "meta",
    "fine_labels",
    "fine_label_names",
    Normalization((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
)


def load_cifar10(sources: Sources) -> Whole:
    """50,000 images of 10 classes to train on and 10,000 to test."""
    return _load(CIFAR10, sources)


def load_cifar100(sources: Sources) -> Whole:
    """50,000 images of 100 classes to train on and 10,000 to test."""
    return _load(CIFAR100, sources)


def _load(version: _Version, sources: Sources) -> Whole:
    members = (*version.train, *version.test, version.meta)
    parents = ("", f"{version.name}/")
    files = tuple((name,) for name in members)
    unpacked = Places(version.name, tuple(f"{parent}{version.folder}" for parent in parents), files).find(sources)
    if unpacked is not None:
        contents = {name: (unpacked / name).read_bytes() for name in members}
        where = str(unpacked)
    else:
        archive = Places(version.name, ("", version.name), ((version.archive.name,),), (version.archive,))
        path = archive.find_or_fetch(sources) / version.archive.name
        contents, where = _members(path, version.folder, members), str(path)

    def read(name: str) -> dict[str, Any]:
        return _dictionary(contents[name], where=f"{where}, {name}")

    meta = read(version.meta)
    names = meta.get(version.label_names)
    if not isinstance(names, list) or not names:
        raise CorruptError(f"'{version.label_names}' is missing", where=f"{where}, {version.meta}")
    class_names = tuple(_text(name) for name in names)

    def part(batches: Sequence[str]) -> ImageSet:
        return _part(version, [(f"{where}, {name}", read(name)) for name in batches], class_names)

    return Whole(part(version.train), part(version.test), version.normalization)


def _part(version: _Version, batches: Sequence[tuple[str, dict[str, Any]]], class_names: tuple[str, ...]) -> ImageSet:
    images, labels = [], []
    for where, batch in batches:
        pixels, found = batch.get("data"), batch.get(version.labels)
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3072,):
            shape = getattr(pixels, "shape", None)
            raise CorruptError(f"'data' is not bytes of N x 3072, its shape is {shape}", where=where)
        if not isinstance(found, list) or len(found) != len(pixels):
            n_labels = len(found) if isinstance(found, list) else "no"
            raise CorruptError(f"{len(pixels)} images and {n_labels} labels", where=where)
        if not all(isinstance(label, int) and 0 <= label < len(class_names) for label in found):
            raise CorruptError(f"a label is not in 0 .. {len(class_names) - 1}", where=where)
        images.append(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.extend(found)
    together = np.ascontiguousarray(np.concatenate(images))  # [N, 32, 32, 3]
    return ImageSet(torch.from_numpy(together), torch.tensor(labels, dtype=torch.int64), class_names)


def _members(path: Path, folder: str, names: Sequence[str]) -> dict[str, bytes]:
    """The archive's files, read in one pass; nothing is unpacked to the disk."""
    wanted = {f"{folder}/{name}": name for name in names}
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                name = wanted.get(member.name.removeprefix("./"))
                content = archive.extractfile(member) if name is not None and member.isfile() else None
                if name is not None and content is not None:
                    found[name] = content.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        what = f"the archive cannot be read: {error}"
        raise CorruptError(what, where=str(path), hint="fetch the file again") from None
    missing = [name for name in names if name not in found]
    if missing:
        raise CorruptError(f"the archive lacks {folder}/{missing[0]}", where=str(path), hint="fetch the file again")
    return found


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),  # how Python 3 writes bytes for Python 2
}


class _ArraysOnly(pickle.Unpickler):
    """Rebuilds containers, text, numbers and numpy arrays; refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.zeros(0).__reduce__()[0]  # numpy's own, whatever module it lives in
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no such file needs")
        return _ALLOWED[module, name]


def _dictionary(content: bytes, *, where: str) -> dict[str, Any]:
    try:
        found = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises what it likes
        what = f"cannot be read: {error or type(error).__name__}"
        raise CorruptError(what, where=where, hint="fetch the file again, from its publisher") from None
    if not isinstance(found, dict):
        raise CorruptError(f"holds a {type(found).__name__}, not a dictionary", where=where)
    return {_text(key): value for key, value in found.items()}


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
