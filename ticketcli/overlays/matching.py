"""What a detector found beside what is there: right, wrong and missed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ticketcli.annotations.pictures import Picture
from ticketcli.tensors.shown import Found

MIN_SCORE = 0.5
_MIN_IOU = 0.5  # overlap of two boxes that makes them one object, as intersection over union


@dataclass(frozen=True)
class Match:
    """Every place is one in `Found` or in `Picture.instances`.

    Attributes:
        right: found, and there.
        wrong: found, but no object of that class is there which was not found already.
        ignored: found in a crowd region, where nobody knows.
        missed: there, but not found.
    """

    right: tuple[int, ...]
    wrong: tuple[int, ...]
    ignored: tuple[int, ...]
    missed: tuple[int, ...]

    @property
    def f1(self) -> float:
        """2 right / (2 right + wrong + missed), in [0, 1]; 1 where nothing is there and nothing was found."""
        mistakes = len(self.wrong) + len(self.missed)
        return 2 * len(self.right) / (2 * len(self.right) + mistakes) if self.right or mistakes else 1.0

    def __str__(self) -> str:
        return f"right {len(self.right)}, wrong {len(self.wrong)}, missed {len(self.missed)}"


def match(picture: Picture, found: Found, *, min_score: float = MIN_SCORE) -> Match:
    """Pair what was found with what is there, by class and box, the surest first.

    Each detection takes the object of its class that it overlaps most and that nobody took; ties go to the first. A
    detection without an object is ignored if at least half of its own area is in a crowd region of its class.

    Args:
        picture: the truth.
        found: in pixels of the original image.
        min_score: what is less sure is as if it were not found.
    """
    scores, labels = found.scores.cpu().numpy(), found.labels.cpu().numpy()
    sure = [int(place) for place in np.argsort(-scores, kind="stable") if scores[place] >= min_score]
    truth = np.asarray([one.box for one in picture.instances], dtype=np.float64).reshape(-1, 4)
    truth[:, 2:] += truth[:, :2]  # [n, 4] as corners
    classes = np.asarray([one.label for one in picture.instances], dtype=np.int64)
    crowd = np.asarray([one.crowd for one in picture.instances], dtype=bool)
    boxes = found.boxes.double().cpu().numpy()
    shared, union = _overlaps(boxes, truth)  # [m, n]
    free = ~crowd
    right: list[int] = []
    wrong: list[int] = []
    ignored: list[int] = []
    for place in sure:
        same = classes == labels[place]
        iou = np.where(same & free, _ratio(shared[place], union[place]), -1.0)
        if iou.size and iou.max() >= _MIN_IOU:
            free[int(iou.argmax())] = False
            right.append(place)
            continue
        inside = _ratio(shared[place], np.prod(boxes[place, 2:] - boxes[place, :2]))
        (ignored if (inside[same & crowd] >= _MIN_IOU).any() else wrong).append(place)
    return Match(tuple(right), tuple(wrong), tuple(ignored), tuple(np.flatnonzero(free).tolist()))


def _overlaps(
    ours: NDArray[np.float64], theirs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels in both and in either of each pair of boxes, [m, n]."""
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    shared = np.prod((high - low).clip(min=0), axis=2)
    areas = [np.prod((boxes[:, 2:] - boxes[:, :2]).clip(min=0), axis=1) for boxes in (ours, theirs)]
    return shared, areas[0][:, None] + areas[1][None, :] - shared


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    """Zero where the whole is: boxes without area are like nothing."""
    there = np.broadcast_to(whole, part.shape) > 0
    return np.divide(part, whole, out=np.zeros_like(part), where=there)
