"""What a classifier is to find: the objects of its own classes on the images of a set, shown as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ticketcli.annotations.pictures import Picture
from ticketcli.data.images import Normalization, Splits
from ticketcli.data.instances import InstanceSet, Objects, Shown
from ticketcli.data.series import Series
from ticketcli.data.views import views_in_order
from ticketcli.errors import UsageError, did_you_mean
from ticketcli.recipe.evaluate_config import Localize
from ticketcli.stages.job import Job, splits_of

AT_ONCE = 16  # rows that are looked at together
_ANY = 2**20  # pixels: the longer side has no limit
_NAMED = 12  # classes that an error names


@dataclass(frozen=True)
class Row:
    """An image and a class of the network that it shows an object of.

    Attributes:
        image: its number among all that are looked at.
        label: the network's class.
        boxes: float [m, 4], x0, y0, x1, y1 in pixels as shown, of that class's objects.
        mask: bool [h, w], what they cover; None where the set has no outlines.
    """

    image: int
    label: int
    boxes: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class Sought:
    """The images to look at, and the classes to look for.

    Attributes:
        parts: of the set, those images alone that show a class of the network's.
        labels: the set's class -> the network's.
        class_names: the network's.
        normalization: the network's.
        side: in pixels, the shorter one of the images as shown.
        masks: whether every object has an outline.
    """

    parts: tuple[InstanceSet, ...]
    labels: Mapping[int, int]
    class_names: tuple[str, ...]
    normalization: Normalization
    side: int
    masks: bool
    counts: Mapping[str, Any] = field(default_factory=dict)

    def batches(self, part: InstanceSet, batch: int, device: torch.device) -> Series[Shown]:
        """Every image of a part once."""
        return views_in_order(
            part, self.normalization, short_side=self.side, long_side=_ANY, batch=batch, masks=self.masks, device=device
        )

    def numbered(self) -> Iterator[tuple[int, InstanceSet]]:
        """Each part, and the number of its first image among those of all."""
        first = 0
        for part in self.parts:
            yield first, part
            first += len(part.pictures)

    def rows(self, first: int, shown: Shown) -> Iterator[tuple[Tensor, list[Row]]]:
        """The rows of a batch, `AT_ONCE` at most together: images [r, 3, h, w] without anything around them.

        Args:
            first: the number of the first image of the part that the batch is of.
            shown: the batch.
        """
        for size in dict.fromkeys(shown.sizes):
            found = [
                (place, row)
                for place, own in enumerate(shown.sizes)
                if own == size
                for row in self._rows_of(first + shown.indices[place], shown.objects[place])
            ]
            for start in range(0, len(found), AT_ONCE):
                some = found[start : start + AT_ONCE]
                images = shown.images[[place for place, _ in some], :, : size[0], : size[1]]
                yield images, [row for _, row in some]

    def row(self, image: int, label: int, device: torch.device) -> tuple[Tensor, Row]:
        """One row again, with its image [1, 3, h, w]."""
        first, part = next((first, part) for first, part in self.numbered() if image < first + len(part.pictures))
        for shown in self.batches(part.take(torch.tensor([image - first])), 1, device):
            for images, rows in self.rows(image, shown):
                for place, row in enumerate(rows):
                    if row.label == label:
                        return images[place : place + 1], row
        raise KeyError((image, label))

    def picture(self, image: int) -> Picture:
        """What the set says of an image."""
        first, part = next((first, part) for first, part in self.numbered() if image < first + len(part.pictures))
        found: Picture = part.pictures[image - first]
        return found

    def _rows_of(self, number: int, objects: Objects) -> Iterator[Row]:
        known = torch.tensor([self.labels.get(int(label), -1) for label in objects.labels])
        known = torch.where(objects.crowd.cpu(), -1, known)
        for label in sorted(set(known.tolist()) - {-1}):
            own = known == label
            mask = objects.masks.cpu()[own].any(dim=0) if self.masks else None
            yield Row(number, label, objects.boxes.cpu()[own], mask)


def sought(job: Job[Any], config: Localize, about: Mapping[str, Any]) -> Sought:
    """Read the set, and match its classes with those of a checkpoint's network.

    Raises:
        UsageError: nothing is outlined, or no class of the network is on any image.
    """
    splits = splits_of(job, config, config.side, encoder=about, outlined=True)
    if not isinstance(splits.test, InstanceSet) or splits.test.folder is not None:
        hint = "scenes, scenes:SET or coco:PATH"
        raise UsageError("there are no outlined objects on these images", where="localize.name", hint=hint)
    labels = matched(splits.test.class_names, about["class_names"], config.names or {})
    parts = tuple(_showing(part, labels) for part in _parts(splits, config.part))
    n = sum(len(part.pictures) for part in parts)
    if not n:
        what = f"no object of {_listed([splits.test.class_names[label] for label in labels])} is on the images"
        raise UsageError(what, where="localize.part", hint="part: all, or another set")
    if config.count is not None and config.count < n:
        parts = _spread(parts, config.count, n)
    outlined = all(one.segmentation for part in parts for picture in part.pictures for one in picture.instances)
    return Sought(
        parts, labels, tuple(about["class_names"]), splits.normalization, parts[0].size, outlined, splits.counts()
    )


def matched(theirs: Sequence[str], ours: Sequence[str], names: Mapping[str, str]) -> dict[int, int]:
    """The set's class -> the network's, of those that have the same name, or that `names` calls the same.

    Raises:
        UsageError: `names` names a class that is not there, or no class is common.
    """
    for name, other in names.items():
        for word, known, of in ((name, theirs, "the set"), (other, ours, "the network")):
            if word not in known:
                raise UsageError(f"{of} has no class '{word}'", where="localize.names", hint=did_you_mean(word, known))
    place = {name: number for number, name in enumerate(ours)}
    found = {label: place[names.get(name, name)] for label, name in enumerate(theirs) if names.get(name, name) in place}
    if not found:
        what = f"the network knows none of the set's classes; it knows {_listed(ours)}, the set has {_listed(theirs)}"
        raise UsageError(what, where="localize", hint="name what is the same: names: {car: automobile}")
    return found


def _parts(splits: Splits, part: str) -> list[InstanceSet]:
    chosen = {
        "test": [splits.test],
        "validation": [splits.validation],
        "all": [splits.train, splits.validation, splits.test],
    }[part]
    return [one for one in chosen if isinstance(one, InstanceSet)]


def _showing(images: InstanceSet, labels: Mapping[int, int]) -> InstanceSet:
    """The images on which there is an object of one of the classes; crowds are none."""

    def shows(picture: Picture) -> bool:
        return any(one.label in labels and not one.crowd for one in picture.instances)

    return images.take(torch.tensor([k for k, one in enumerate(images.pictures) if shows(one)], dtype=torch.int64))


def _spread(parts: Sequence[InstanceSet], count: int, n: int) -> tuple[InstanceSet, ...]:
    """`count` of all `n` images, at equal distances."""
    chosen = torch.tensor([k * n // count for k in range(count)])
    found, start = [], 0
    for part in parts:
        end = start + len(part.pictures)
        found.append(part.take(chosen[(chosen >= start) & (chosen < end)] - start))
        start = end
    return tuple(found)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
