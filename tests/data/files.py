"""Small image files and sets for tests to read, in the formats of the real ones."""

from pathlib import Path

import numpy as np
from PIL import Image

from ticketcli.data.sources import Sources

HERE = Sources(workers=0)


def noise(height, width, seed, channels=3):
    """Smooth random pixels uint8 [H, W, C], of which every format keeps something."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), dtype=np.uint8)
    planes = [
        Image.fromarray(coarse[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(channels)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


def save(path: Path, pixels, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.squeeze(pixels)).save(path, **settings)
    return path


def folder(root: Path, *, parts=("train", "val"), classes=("cat", "dog"), each=6, sizes=((40, 52), (33, 33), (64, 41))):
    """A folder for each part and class, JPEG and PNG mixed, of several sizes."""
    number = 0
    for part in parts:
        for name in classes:
            for index in range(each):
                ending = "png" if number % 3 == 0 else "jpg"
                height, width = sizes[number % len(sizes)]
                save(root / part / name / f"{index:03d}.{ending}", noise(height, width, number))
                number += 1
    return root


def sources(root: Path, workers=0, **settings):
    return Sources(root, workers=workers, **settings)
