"""`mnist` and `fashion-mnist`: grey images in the IDX format, 28 pixels, zero-padded to 32; one channel in memory.

Sources: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits"; H. Xiao, K. Rasul, R. Vollgraf,
"Fashion-MNIST", 2017 (MIT). Means and deviations are of all training images after padding, since that is what a network
is shown: computed from the original files, 0.1307 and 0.3081, 0.2860 and 0.3530 without the padding.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ticketcli.data.images import ImageSet, Normalization
from ticketcli.data.places import Places, Remote
from ticketcli.data.sources import Sources
from ticketcli.data.splitting import Whole
from ticketcli.errors import CorruptError

_PADDING = 2
_BYTES = 8  # the IDX code of unsigned bytes
_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_FILES = tuple((name, f"{name}.gz") for name in _NAMES)


def _remotes(base: str, *digests: str) -> tuple[Remote, ...]:
    return tuple(Remote(f"{base}{name}.gz", md5) for name, md5 in zip(_NAMES, digests, strict=True))


MNIST = Places(
    "mnist",
    ("MNIST/raw", "mnist/MNIST/raw", "mnist"),
    _FILES,
    _remotes(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
)
FASHION = Places(
    "fashion-mnist",
    (
        "FashionMNIST/raw",
        "fashion-mnist/FashionMNIST/raw",
        "fashion-mnist",
        "/usr/share/datasets/fashion-mnist",  # Debian's package dataset-fashion-mnist
    ),
    _FILES,
    _remotes(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
)
DIGITS = tuple(str(number) for number in range(10))
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def load_mnist(sources: Sources) -> Whole:
    """60,000 digits to train on and 10,000 to test."""
    folder = MNIST.find_or_fetch(sources)
    return _load(folder, DIGITS, Normalization((0.1000,) * 3, (0.2752,) * 3))


def load_fashion_mnist(sources: Sources) -> Whole:
    """60,000 pieces of clothing to train on and 10,000 to test."""
    folder = FASHION.find_or_fetch(sources)
    return _load(folder, CLOTHES, Normalization((0.2190,) * 3, (0.3318,) * 3))


def _load(folder: Path, class_names: tuple[str, ...], normalization: Normalization) -> Whole:
    train, test = (_part(folder, images, labels, class_names) for images, labels in (_NAMES[:2], _NAMES[2:]))
    return Whole(train, test, normalization)


def _part(folder: Path, images_name: str, labels_name: str, class_names: tuple[str, ...]) -> ImageSet:
    images, labels = read_idx(_existing(folder, images_name), 3), read_idx(_existing(folder, labels_name), 1)
    where = str(folder / images_name)
    if len(images) != len(labels):
        raise CorruptError(f"{len(images)} images and {len(labels)} labels", where=where)
    if images.shape[1:] != (28, 28):
        raise CorruptError(f"images of {images.shape[1]}x{images.shape[2]} where 28x28 are expected", where=where)
    if len(labels) and int(labels.max()) >= len(class_names):
        raise CorruptError(f"a label is {int(labels.max())}", where=str(folder / labels_name))
    padded = F.pad(torch.from_numpy(images), (_PADDING,) * 4)[..., None]  # [N, 32, 32, 1]
    return ImageSet(padded, torch.from_numpy(labels.astype(np.int64)), class_names)


def _existing(folder: Path, name: str) -> Path:
    plain = folder / name
    return plain if plain.is_file() else folder / f"{name}.gz"


def read_idx(path: Path, n_dimensions: int) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes, plain or gzipped, of `n_dimensions`.

    Raises:
        CorruptError: another type or number of dimensions, or more or fewer bytes than the header says.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise CorruptError(f"cannot be read: {error}", where=str(path), hint="fetch the file again") from None
    head = 4 + 4 * n_dimensions
    if len(raw) < head or raw[:4] != bytes((0, 0, _BYTES, n_dimensions)):
        kind = f"begins with {raw[:4].hex() or 'nothing'}, not with 00000{_BYTES}0{n_dimensions}"
        raise CorruptError(f"not an IDX file of bytes in {n_dimensions} dimensions: {kind}", where=str(path))
    shape: tuple[Any, ...] = struct.unpack(f">{n_dimensions}I", raw[4:head])
    n_bytes = int(np.prod(shape, dtype=object))
    if len(raw) - head != n_bytes:
        what = f"the header says {' x '.join(map(str, shape))}, {n_bytes:,} bytes; there are {len(raw) - head:,}"
        raise CorruptError(what, where=str(path), hint="fetch the file again")
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape).copy()
