"""Small image files of several sizes with objects outlined on them, as a set."""

import numpy as np

from tests.data.files import noise, save, sources
from ticketcli.annotations.pictures import Instance, Picture
from ticketcli.data.instances import InstanceSet
from ticketcli.data.lazy import Files
from ticketcli.data.outlines import run_lengths

SIZES = ((40, 52), (33, 33), (64, 41), (50, 90), (30, 31))


def disc(height, width, number):
    """A disc [H, W] somewhere, of some size."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[:height, :width] + 0.5
    radius = random.uniform(4, 11)
    return (y - random.uniform(6, height - 6)) ** 2 + (x - random.uniform(6, width - 6)) ** 2 < radius**2


def instance(number, mask, label=0, crowd=False):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0])
    return Instance(number, label, tuple(map(float, box)), run_lengths(mask), float(mask.sum()), crowd)


def discs(n, height, width, number):
    return tuple(instance(10 * number + k, disc(height, width, 10 * number + k), k % 2, crowd=k == 2) for k in range(n))


def outlined(root, n=12, workers=0, **changes):
    """A set of n files under `root`; picture k has k % 4 objects."""
    pictures = []
    for number in range(n):
        height, width = SIZES[number % len(SIZES)]
        name = f"{number:03d}.png"
        if not (root / name).exists():
            save(root / name, noise(height, width, number))
        pictures.append(Picture(number, name, height, width, discs(number % 4, height, width, number)))
    return assembled(root, pictures, workers, **changes)


def assembled(root, pictures, workers=0, **changes):
    names = np.array([picture.file_name.encode() for picture in pictures])
    where = sources(root, workers)
    return InstanceSet(Files(root, names), tuple(pictures), ("one", "other"), (1, 7), 48, where, **changes)
