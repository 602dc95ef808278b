"""`svhn`: house numbers cut to 32-pixel digits, in the published "format 2" (MATLAB files).

Source: Y. Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011. In the files the
digit 0 has the label 10. Mean and deviation are the usual ones, of the training images; `extra` is not used.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ticketcli.data.images import ImageSet, Normalization
from ticketcli.data.places import Places, Remote
from ticketcli.data.sources import Sources
from ticketcli.data.splitting import Whole
from ticketcli.errors import CorruptError

_BASE = "http://ufldl.stanford.edu/housenumbers/"
_TRAIN, _TEST = "train_32x32.mat", "test_32x32.mat"
SVHN = Places(
    "svhn",
    ("svhn", "SVHN", ""),
    ((_TRAIN,), (_TEST,)),
    (
        Remote(f"{_BASE}{_TRAIN}", "e26dedcc434d2e4c54c9b2d4a06d8373"),
        Remote(f"{_BASE}{_TEST}", "eb5a983be6a315427106f1b164d9cef3"),
    ),
)
NORMALIZATION = Normalization((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))


def load_svhn(sources: Sources) -> Whole:
    """73,257 digits to train on and 26,032 to test."""
    folder = SVHN.find_or_fetch(sources)
    return Whole(_part(folder / _TRAIN), _part(folder / _TEST), NORMALIZATION)


def _part(path: Path) -> ImageSet:
    from scipy.io import loadmat

    try:
        found = loadmat(path, variable_names=("X", "y"))
        pixels, labels = np.asarray(found["X"]), np.asarray(found["y"]).reshape(-1)
    except Exception as error:  # a damaged file raises what it likes
        what = f"not a readable MATLAB file with X and y: {error or type(error).__name__}"
        raise CorruptError(what, where=str(path), hint="fetch the file again") from None
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3):
        what = f"X is {pixels.dtype} of {' x '.join(map(str, pixels.shape))}, not bytes of 32 x 32 x 3 x N"
        raise CorruptError(what, where=str(path))
    if len(labels) != pixels.shape[3]:
        raise CorruptError(f"{pixels.shape[3]} images and {len(labels)} labels", where=str(path))
    if not np.isin(labels, np.arange(1, 11)).all():
        raise CorruptError("a label is not in 1 .. 10", where=str(path))
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(3, 0, 1, 2)))  # [N, 32, 32, 3]
    numbers = torch.from_numpy(labels.astype(np.int64) % 10)
    return ImageSet(images, numbers, tuple(str(number) for number in range(10)))
