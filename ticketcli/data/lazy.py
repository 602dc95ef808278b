"""`LazySet`: images that are made when they are wanted, from files or from bytes of another size.

A set that fits in memory as bytes is made once, when it is first read; a larger one anew each time. Which of the two
happens changes no byte of any batch.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ticketcli.data.images import Images, ImageSet
from ticketcli.data.preparation import prepare
from ticketcli.data.sources import Sources
from ticketcli.data.stream import stream
from ticketcli.events import Progress

MEMORY_BYTES = 2**30  # a part of a set that takes no more is kept in memory
_CHUNK = 256


class Originals(Protocol):
    """Images as they came, of any size."""

    @property
    def channels(self) -> int:
        """3, or 1 for grey."""

    def __len__(self) -> int:
        """How many."""

    def read(self, index: int, size: int) -> Tensor:
        """One image uint8 [H, W, C]; a file much larger than `size` may be read at a reduced scale."""

    def take(self, indices: NDArray[np.int64]) -> Originals:
        """The originals at `indices`, in that order."""


@dataclass(frozen=True)
class Files:
    """Image files by name under a folder; names are bytes in an array, which workers share without copying."""

    root: Path
    names: NDArray[np.bytes_]

    @property
    def channels(self) -> int:
        """Files are always decoded to three channels."""
        return 3

    def __len__(self) -> int:
        """How many files."""
        return len(self.names)

    def name(self, index: int) -> str:
        """Relative to the folder."""
        return os.fsdecode(bytes(self.names[index]))

    def read(self, index: int, size: int) -> Tensor:
        """Decode one file.

        Raises:
            InputMissing: it is gone.
            CorruptError: it cannot be decoded.
        """
        from ticketcli.data.decoding import decode

        return decode(self.root / self.name(index), size)

    def take(self, indices: NDArray[np.int64]) -> Files:
        """The files at `indices`."""
        return replace(self, names=self.names[indices])


@dataclass(frozen=True)
class Stored:
    """Bytes [N, H, W, C] in memory, of another size than is asked for."""

    pixels: Tensor

    @property
    def channels(self) -> int:
        """Of the bytes."""
        return int(self.pixels.shape[3])

    def __len__(self) -> int:
        """How many images."""
        return len(self.pixels)

    def read(self, index: int, size: int) -> Tensor:
        """One of them."""
        return self.pixels[index]

    def take(self, indices: NDArray[np.int64]) -> Stored:
        """The images at `indices`."""
        return Stored(self.pixels[torch.from_numpy(indices)])


@dataclass
class _Held:
    pixels: Tensor | None = None


@dataclass(frozen=True)
class LazySet:
    """N images that are shown at `size` pixels, made by workers from their originals. Labels int64 [N]."""

    originals: Originals
    labels: Tensor
    class_names: tuple[str, ...]
    size: int
    sources: Sources = field(default_factory=Sources)
    held: _Held = field(default_factory=_Held, compare=False)

    @property
    def labelled(self) -> bool:
        """Whether there are classes."""
        return bool(self.class_names)

    def take(self, indices: Tensor) -> LazySet:
        """The images at `indices`, in that order."""
        held = _Held(None if self.held.pixels is None else self.held.pixels[indices])
        return replace(self, originals=self.originals.take(indices.numpy()), labels=self.labels[indices], held=held)

    def relabelled(self, labels: Tensor, class_names: tuple[str, ...]) -> LazySet:
        """The same images under other labels."""
        return replace(self, labels=labels, class_names=class_names)

    def prepared(self, chosen: NDArray[np.int64]) -> Tensor:
        """The images at `chosen`, unaugmented: uint8 [B, size, size, C]."""
        read = self.originals.read
        return torch.stack([prepare(read(int(index), self.size), self.size) for index in chosen])

    def in_memory(self) -> ImageSet | None:
        """All images as bytes, made at the first call; None where they are too many."""
        n, channels = len(self.labels), self.originals.channels
        if n * self.size**2 * channels > MEMORY_BYTES:
            return None
        if self.held.pixels is None:
            pixels = torch.empty((n, self.size, self.size, channels), dtype=torch.uint8)
            done = 0
            with closing(stream(Prepared(self, _CHUNK), range(-(-n // _CHUNK)), self.sources.n_workers)) as parts:
                for part in parts:
                    pixels[done : done + len(part)] = part
                    done += len(part)
                    self.sources.tell(Progress("decoding images", done, n))
            self.held.pixels = pixels
        return ImageSet(self.held.pixels, self.labels, self.class_names)


class Prepared(Dataset[Any]):
    """Task k: the k-th run of `batch` images, unaugmented: uint8 [B, S, S, C]."""

    def __init__(self, images: LazySet, batch: int) -> None:
        self.images, self.batch = images, batch

    def __getitem__(self, task: int) -> Tensor:
        stop = min((task + 1) * self.batch, len(self.images.labels))
        return self.images.prepared(np.arange(task * self.batch, stop))


def sized(images: Any, size: int | None, sources: Sources) -> Images:
    """The same images shown at `size` pixels; None leaves them as they are."""
    if isinstance(images, LazySet):
        if size is None or size == images.size:
            return replace(images, sources=sources)
        return replace(images, size=size, sources=sources, held=_Held())
    if not isinstance(images, ImageSet):  # objects on images of any size
        found: Images = images.sized(size, sources)
        return found
    if size is None or images.images.shape[1:3] == (size, size):
        return images
    return LazySet(Stored(images.images), images.labels, images.class_names, size, sources)
