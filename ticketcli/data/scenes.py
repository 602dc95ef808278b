"""`scenes`, `scenes:SET`: real images of a classification set, composed on textured canvases with exact outlines.

One to six objects a scene, of a quarter to six tenths of its side, may hide parts of each other. Scene k of a part is a
function of (split seed, part, k) and the part's images; scenes for training, validation and testing are made of
training, validation and test images. Nothing is stored: scenes are made when they are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticketcli.annotations.pictures import Picture
from ticketcli.data.composition import picture, place, render
from ticketcli.data.cutouts import Cutter, even_background
from ticketcli.data.images import Images, Normalization
from ticketcli.data.instances import InstanceSet
from ticketcli.data.sources import Wanted
from ticketcli.data.splitting import Whole
from ticketcli.errors import UsageError
from ticketcli.tensors.seeds import derive, permutation

SIDE = 64  # pixels
COUNTS = {"train": 800, "validation": 100, "test": 200}
NORMALIZATION = Normalization((0.42, 0.42, 0.42), (0.21, 0.21, 0.21))  # of scenes of digits; of photographs about so
_SMALLEST = 32  # pixels; a quarter of it still shows what an object is
_POOL = 6_000  # images of a part that scenes are made of: 18 MB at 32 pixels
_REMEMBERED = 4_096  # pictures


@dataclass(frozen=True)
class Scenes:
    """The scenes of one part, as `Originals`.

    Attributes:
        cutter: cuts objects out of the part's images.
        members: by label, the images of each class.
        part: train, validation or test.
        side: of the canvas in pixels.
        split_seed: fixes all scenes.
        numbers: which scenes, int64 [N].
    """

    cutter: Cutter
    members: tuple[NDArray[np.int64], ...]
    part: str
    side: int
    split_seed: int
    numbers: NDArray[np.int64]

    @property
    def channels(self) -> int:
        """Scenes have colours."""
        return 3

    def __len__(self) -> int:
        """How many."""
        return len(self.numbers)

    def read(self, index: int, size: int) -> Tensor:
        """The pixels of one scene, uint8 [side, side, 3]; `size` changes nothing.

        Raises:
            CorruptError: an image that it is made of cannot be decoded.
        """
        key = self._key(index)
        placed = place(key, self.side, self.cutter, self.members)
        return torch.from_numpy(render(key, self.side, self.cutter, placed))

    def take(self, indices: NDArray[np.int64]) -> Scenes:
        """The scenes at `indices`."""
        return replace(self, numbers=self.numbers[indices])

    def picture(self, index: int) -> Picture:
        """What is on one scene."""
        placed = place(self._key(index), self.side, self.cutter, self.members)
        return picture(int(self.numbers[index]), self.side, placed)

    def _key(self, index: int) -> int:
        return derive(self.split_seed, f"scenes/{self.part}", int(self.numbers[index]))


@dataclass(frozen=True)
class ScenePictures(Sequence[Picture]):
    """What is on each scene, found out when somebody asks; the first few thousand are remembered."""

    scenes: Scenes
    known: dict[int, Picture] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.scenes)

    @overload
    def __getitem__(self, index: int) -> Picture: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Picture, ...]: ...

    def __getitem__(self, index: int | slice) -> Picture | tuple[Picture, ...]:
        if isinstance(index, slice):
            return tuple(self[place] for place in range(*index.indices(len(self))))
        place = range(len(self))[index]
        found = self.known.get(place)
        if found is None:
            found = self.scenes.picture(place)
            if len(self.known) < _REMEMBERED:
                self.known[place] = found
        return found

    def __iter__(self) -> Iterator[Picture]:
        return (self[index] for index in range(len(self)))


def load_scenes(wanted: Wanted) -> Whole:
    """Scenes of the images of `wanted.inner`.

    Raises:
        UsageError: those have no classes, or there are too few; or the canvas is too small.
        CorruptError: an image that is looked at cannot be decoded.
    """
    inner = wanted.inner
    assert inner is not None
    side = wanted.size or SIDE
    if side < _SMALLEST:
        raise UsageError(f"scenes need {_SMALLEST} pixels or more", where="image_size", hint=f"{SIDE}, the usual side")
    counts = COUNTS | ({"train": wanted.images} if wanted.images is not None else {})
    images = {"train": inner.train, "validation": inner.validation, "test": inner.test}
    pools = {part: _pool(part, images[part], wanted.split_seed) for part in COUNTS}
    background = even_background(pools["train"], side)
    sets = {}
    for part, pool in pools.items():
        members = tuple(np.flatnonzero(pool.labels.numpy() == label) for label in range(len(pool.class_names)))
        scenes = Scenes(Cutter(pool, background), members, part, side, wanted.split_seed, np.arange(counts[part]))
        sets[part] = InstanceSet(
            scenes,
            ScenePictures(scenes),
            pool.class_names,
            tuple(range(1, len(pool.class_names) + 1)),
            side,
            wanted.sources,
            extent=(side, side),
        )
    return Whole(
        sets["train"], sets["test"], NORMALIZATION, sets["validation"], skipped=inner.skipped, files=inner.files
    )


def _pool(part: str, images: Images, seed: int) -> Images:
    """As many of a part's images, of each class by seed, as may be kept in memory."""
    if not images.labelled:
        raise UsageError(
            "scenes are made of images with classes", where="data.name", hint="scenes, or scenes:folder:PATH"
        )
    labels, chosen = images.labels.numpy(), []
    for label, name in enumerate(images.class_names):
        members = np.flatnonzero(labels == label)
        if not len(members):
            raise UsageError(
                f"class '{name}' has no {part} images to make scenes of",
                where="data.name",
                hint="3 images of each class are needed: for training, validation and testing",
            )
        order = permutation(derive(seed, f"scenes/{part}/pool", label), len(members))
        chosen.append(members[order[: max(1, _POOL // len(images.class_names))]])
    return images.take(torch.from_numpy(np.sort(np.concatenate(chosen))))
