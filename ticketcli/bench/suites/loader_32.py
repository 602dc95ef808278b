"""Augmented batches of small images: moved by up to four pixels, mirrored, normalised, in a new order each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional as v1
from torchvision.transforms import v2

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Equality, Goal, Row
from ticketcli.data.augmentation import Draws
from ticketcli.data.batches import Batches
from ticketcli.data.images import ImageSet, Normalization
from ticketcli.data.lazy import Files, LazySet
from ticketcli.data.sources import Sources
from ticketcli.tensors.seeds import generator

_IMAGES, _SIDE, _BATCH, _PADDING = 20_000, 32, 500, 4
_FEW, _FEW_BATCH = 5000, 128  # for ways that take an image at a time
_NORM = Normalization((0.491, 0.482, 0.447), (0.247, 0.243, 0.262))
_CLOSE = 1e-5


def run(job: BenchJob) -> Iterator[Row]:
    """An epoch of ours against airbench's way and an image at a time; all on as many images, so seconds compare."""
    n = job.sized(_IMAGES, at_least=4 * 50)
    images = ImageSet(
        torch.randint(256, (n, _SIDE, _SIDE, 3), dtype=torch.uint8, generator=generator(0, "bench/images")),
        torch.arange(n) % 10, tuple("0123456789"),
    )  # fmt: skip
    batch = min(_BATCH, n // 4)
    air = _Airbench(images, batch)
    yield job.compare(
        f"an epoch of {n:,} images of {_SIDE} px", _epochs(images, batch), "airbench-style", air.epoch,
        equality=partial(_same_images, images, batch, air), goal=Goal("faster", 5),
    )  # fmt: skip
    few = images.take(torch.arange(min(_FEW, n)))
    small = min(_FEW_BATCH, batch)
    for version, chain in (("v2", _second_chain()), ("v1", _chain())):  # v2 is what torchvision advises
        yield job.compare(
            f"an epoch of {len(few.labels):,} images of {_SIDE} px", _epochs(few, small), f"PIL, torchvision {version}",
            _by_torchvision(few, small, chain), equality=partial(_same_pixels, few, small, chain),
            goal=Goal("faster", 50), note="its images are in memory",
        )  # fmt: skip
    files = _Folder(few, job.folder)
    yield job.compare(
        f"an epoch of {len(few.labels):,} JPEG files of {_SIDE} px, after the first", _epochs(files.held(), small),
        "ImageFolder, torchvision v1", files.epochs(small), equality=files.same_pixels,
        goal=Goal("faster", 50), note="ours holds the bytes of a set that fits in memory",
    )  # fmt: skip


def _feed(images: ImageSet, batch: int, augment: str = "crop-flip") -> Batches:
    return Batches(images, normalization=_NORM, batch=batch, seed=0, augment=augment, device=torch.device("cpu"))


def _epochs(images: ImageSet, batch: int) -> Callable[[], None]:
    """Each call makes the next epoch."""
    feed, epochs = _feed(images, batch), iter(range(2**31))

    def epoch() -> None:
        number = next(epochs)
        for step in range(feed.per_epoch):
            feed.at(number, step)

    return epoch


class _Airbench:
    """A loader as airbench's for CIFAR works, in a few lines: all images normalised floats in memory, an epoch at a
    time padded by reflection, moved (first down, then right, a masked copy for each shift), mirrored and shuffled.
    """

    def __init__(self, images: ImageSet, batch: int) -> None:
        self.images, self.labels, self.batch = _NORM.normalize(images.images), images.labels, batch
        self.padded = F.pad(self.images, (_PADDING,) * 4, "reflect")
        self.draw = generator(0, "bench/airbench")

    def moved(self, down: Tensor, right: Tensor, mirrored: Tensor) -> Tensor:
        n = len(self.padded)
        rows = torch.empty(n, 3, _SIDE, self.padded.shape[3])
        for shift in range(2 * _PADDING + 1):
            chosen = down == shift
            rows[chosen] = self.padded[chosen, :, shift : shift + _SIDE]
        found = torch.empty(n, 3, _SIDE, _SIDE)
        for shift in range(2 * _PADDING + 1):
            chosen = right == shift
            found[chosen] = rows[chosen, :, :, shift : shift + _SIDE]
        return torch.where(mirrored.view(-1, 1, 1, 1), found.flip(-1), found)

    def epoch(self) -> None:
        n = len(self.padded)
        shifts = torch.randint(2 * _PADDING + 1, (2, n), generator=self.draw)
        images = self.moved(shifts[0], shifts[1], torch.rand(n, generator=self.draw) < 0.5)
        order = torch.randperm(n, generator=self.draw)
        for start in range(0, n - self.batch + 1, self.batch):
            chosen = order[start : start + self.batch]
            images[chosen], self.labels[chosen]


def _chain() -> Any:
    """Torchvision's v1 transforms, an image at a time."""
    return transforms.Compose(
        [
            transforms.RandomCrop(_SIDE, _PADDING),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(_NORM.mean, _NORM.std),
        ]
    )


def _second_chain() -> Any:
    """The same by torchvision's transforms v2."""
    return v2.Compose(
        [
            v2.RandomCrop(_SIDE, _PADDING),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(_NORM.mean, _NORM.std),
        ]
    )


def _by_torchvision(images: ImageSet, batch: int, chain: Any) -> Callable[[], None]:
    """What most training scripts do: a Dataset of PIL images, torchvision's transforms, a DataLoader."""
    pixels = images.images.numpy()
    return _loaded(_Samples(lambda index: (chain(Image.fromarray(pixels[index])), index % 10), len(pixels)), batch)


def _loaded(samples: Dataset[Any], batch: int) -> Callable[[], None]:
    """Each call draws an epoch of samples in a new order."""
    loader = DataLoader(samples, batch, shuffle=True, drop_last=True)

    def epoch() -> None:
        with torch.random.fork_rng(devices=[]):
            for _ in loader:
                pass

    return epoch


class _Folder:
    """The images as JPEG files in a folder a class."""

    def __init__(self, images: ImageSet, folder: Path) -> None:
        self.root, names = folder / "jpegs", []
        for index, (pixels, label) in enumerate(zip(images.images.numpy(), images.labels.tolist(), strict=True)):
            names.append(f"{label}/{index:05d}.jpg")
            path = self.root / names[-1]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, quality=75)
        self.names, self.images = sorted(names), images

    def held(self) -> ImageSet:
        """As `folder:` sets come: decoded once, kept as bytes."""
        labels = torch.tensor([int(name.partition("/")[0]) for name in self.names])
        files = Files(self.root, np.array([name.encode() for name in self.names], dtype=np.bytes_))
        found = LazySet(files, labels, self.images.class_names, _SIDE, Sources(workers=0)).in_memory()
        assert found is not None
        return found

    def epochs(self, batch: int) -> Callable[[], None]:
        return _loaded(ImageFolder(str(self.root), _chain()), batch)

    def same_pixels(self) -> Equality:
        """The files in the same order, as bytes."""
        theirs = torch.stack([v1.pil_to_tensor(image).permute(1, 2, 0) for image, _ in ImageFolder(str(self.root))])
        return same("images before moving", torch.equal(self.held().images, theirs), "byte by byte")


class _Samples(Dataset[Any]):
    """Samples by index."""

    def __init__(self, sample: Callable[[int], Any], n: int) -> None:
        self.sample, self.n = sample, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        return self.sample(index)


def _in_its_way(images: ImageSet, feed: Batches, chain: Any) -> Tensor:
    """The first batch by torchvision, moved and mirrored as ours is, then as the chain goes on after its draws."""
    chosen, made, rest = feed.order.chosen(0, 0), [], transforms.Compose(chain.transforms[2:])
    draws = Draws(0, 0, chosen)
    down, right = draws.integers("down", 2 * _PADDING + 1), draws.integers("right", 2 * _PADDING + 1)
    for index, top, left, turned in zip(chosen, down, right, draws.integers("mirror", 2), strict=True):
        padded = v1.pad(Image.fromarray(images.images[int(index)].numpy()), [_PADDING])
        cut = v1.crop(padded, int(top), int(left), _SIDE, _SIDE)
        cut = v1.hflip(cut) if turned else cut
        made.append(rest(cut))
    return torch.stack(made)


def _same_images(images: ImageSet, batch: int, air: _Airbench) -> Equality:
    """Unmoved and unmirrored, both show the same; airbench fills the border by reflection, ours with black."""
    feed, still = _feed(images, batch, "none"), torch.full((len(images.labels),), _PADDING)
    theirs = air.moved(still, still, torch.zeros(len(images.labels), dtype=torch.bool))
    mine, labels = feed.at(0, 0)
    chosen = torch.from_numpy(feed.order.chosen(0, 0))
    apart = float((mine - theirs[chosen]).abs().max())
    equal = apart < _CLOSE and torch.equal(labels, images.labels[chosen])
    return same("images before moving", equal, f"largest difference {apart:.1g}")


def _same_pixels(images: ImageSet, batch: int, chain: Any) -> Equality:
    """The very same batch, augmented alike."""
    feed = _feed(images, batch)
    apart = float((feed.at(0, 0)[0] - _in_its_way(images, feed, chain)).abs().max())
    return same("augmented images", apart < _CLOSE, f"largest difference {apart:.1g}")
