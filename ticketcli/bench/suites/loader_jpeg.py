"""Augmented batches of photographs, on one core: a random crop of each file, resized to 224 pixels, mirrored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.bench.subjects import photographs
from ticketcli.data.augmentation import CropBoxes, Draws
from ticketcli.data.batches import Batches
from ticketcli.data.folder import IMAGENET
from ticketcli.data.lazy import Files, LazySet
from ticketcli.data.sources import Sources

_FILES, _BATCH, _SIDE = 64, 32, 224
_CLOSE = 0.02  # mean difference of normalised images: resizing rounds to bytes in another way


def run(job: BenchJob) -> Iterator[Row]:
    """Decode, crop, resize, mirror, normalise."""
    files = photographs(job, job.sized(_FILES, at_least=4))
    size = _open(files[0]).size
    batch = min(_BATCH, len(files))
    steps = len(files) // batch
    yield job.compare(
        f"{steps * batch} photographs of {size[0]} x {size[1]} to {_SIDE} px", _ours(files, batch, steps),
        "PIL, torchvision v1", _theirs(files, batch, steps),
        equality=partial(_same_crops, files, batch), goal=Goal("faster", 1.7), note="one process each, no workers",
    )  # fmt: skip


def _feed(files: list[Path], batch: int) -> Batches:
    root = Path(files[0].anchor)
    names = np.array([str(path.absolute().relative_to(root)).encode() for path in files], dtype=np.bytes_)
    images = LazySet(Files(root, names), torch.zeros(len(files), dtype=torch.int64), (), _SIDE, Sources(workers=0))
    cpu = torch.device("cpu")
    return Batches(images, normalization=IMAGENET, batch=batch, seed=0, augment="resized-crop", device=cpu)


def _ours(files: list[Path], batch: int, steps: int) -> Callable[[], None]:
    feed, counter = _feed(files, batch), iter(range(2**31))

    def go() -> None:
        epoch = next(counter)
        for step in range(steps):
            feed.at(epoch, step)

    return go


def _theirs(files: list[Path], batch: int, steps: int) -> Callable[[], None]:
    """Torchvision's reference for training on ImageNet: ImageFolder's loader and its v1 transforms, an image at a time.

    It draws its crops from the global generator; the sizes that both draw from are the same.
    """
    from torchvision import transforms

    chain = transforms.Compose(
        [
            transforms.RandomResizedCrop(_SIDE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET.mean, IMAGENET.std),
        ]
    )

    def go() -> None:
        with torch.random.fork_rng(devices=[]):
            for step in range(steps):
                torch.stack([chain(_open(path)) for path in files[step * batch : (step + 1) * batch]])

    return go


def _open(path: Path) -> Image.Image:
    with path.open("rb") as file, Image.open(file) as image:
        return image.convert("RGB")


def _same_crops(files: list[Path], batch: int) -> Equality:
    """Ours, and the same boxes cut and resized by PIL."""
    from torchvision.transforms import functional as v1

    feed = _feed(files, batch)
    mine, _ = feed.at(0, 0)
    chosen = feed.order.chosen(0, 0)
    boxes = CropBoxes(Draws(0, 0, chosen))
    made: list[Tensor] = []
    for position, index in enumerate(chosen):
        image = _open(files[int(index)])
        box = boxes.box(position, image.height, image.width)
        cut = v1.resized_crop(image, *box, [_SIDE, _SIDE])
        cut = v1.hflip(cut) if boxes.mirrored[position] else cut
        made.append(v1.normalize(v1.to_tensor(cut), IMAGENET.mean, IMAGENET.std))
    apart = float((mine - torch.stack(made)).abs().mean())
    return same("crops", apart < _CLOSE, f"mean difference {apart:.1g}")
