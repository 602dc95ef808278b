"""Where a map says that an object is, against where it is: boxes, points and masks, with intervals over images.

A row is an image and a class of which it shows an object. A map of the row, thresholded at a share of its maximum,
gives a box and a region; the share is chosen on images on which it is not judged.

Source: O. Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015 (localisation error); R. R.
Selvaraju et al., "Grad-CAM", 2017 (box of the largest part above 15 % of the maximum); J. Zhang et al., "Top-down
neural attention by excitation backprop", 2016 (the pointing game).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticketcli.metrics.resampling import Estimate, estimate

THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 13))  # shares of a map's maximum
USUAL = 0.15
MIN_IOU = 0.5
TOLERANCE = 15 / 500  # of the longer side: 15 pixels of PASCAL VOC's 500
MEASURES = ("gt_error", "top1_error", "pointing", "iou")
Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]
Values = NDArray[np.float64]


def overlap(boxes: Tensor, truth: Tensor) -> Tensor:
    """For each box the greatest IoU with any true one, in [0, 1]; 0 of a box without area.

    Args:
        boxes: float [T, 4], x0, y0, x1, y1.
        truth: float [m, 4], m at least 1.

    Returns:
        float64 [T].
    """
    boxes, truth = boxes.double(), truth.double()
    low = torch.maximum(boxes[:, None, :2], truth[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], truth[None, :, 2:])
    shared = (high - low).clamp_min(0).prod(dim=2)  # [T, m]
    areas = [(one[:, 2:] - one[:, :2]).clamp_min(0).prod(dim=1) for one in (boxes, truth)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    found: Tensor = torch.where(union > 0, shared / union.clamp_min(1e-300), 0.0).max(dim=1).values
    return found


def point_of(map_: Tensor) -> tuple[float, float] | None:
    """Where the map [H, W] is greatest: x and y of that pixel's centre; None of a map that is 0 everywhere.

    Of several such pixels the one nearest to the centre of the image, so that a flat map points there.
    """
    highest = map_.max()
    if not bool(highest > 0):
        return None
    rows, columns = torch.nonzero(map_ == highest, as_tuple=True)
    height, width = map_.shape
    away = (rows + 0.5 - height / 2).square() + (columns + 0.5 - width / 2).square()
    nearest = int(away.argmin())
    return float(columns[nearest]) + 0.5, float(rows[nearest]) + 0.5


def points_at(point: tuple[float, float] | None, truth: Tensor, tolerance: float) -> bool:
    """Whether a point lies in one of the boxes float [m, 4], or at most `tolerance` pixels from one."""
    if point is None:
        return False
    at = torch.tensor(point, dtype=torch.float64)
    boxes = truth.double()
    away = torch.maximum(boxes[:, :2] - at, at - boxes[:, 2:]).clamp_min(0)
    return bool((away.square().sum(dim=1) <= tolerance**2).any())


def mask_overlap(map_: Tensor, mask: Tensor, thresholds: Sequence[float] = THRESHOLDS) -> Tensor:
    """The IoU of the map [H, W] binarised at each share of its maximum with a mask of 0 and 1, float64 [T].

    0 of a map that is 0 everywhere: it says nothing.
    """
    highest = map_.max()
    if not bool(highest > 0):
        return torch.zeros(len(thresholds), dtype=torch.float64)
    inside = mask.bool()
    regions = torch.stack([map_ >= share * highest for share in thresholds])  # [T, H, W]
    shared = (regions & inside).sum(dim=(1, 2))
    return shared.double() / (regions | inside).sum(dim=(1, 2)).clamp_min(1)


@dataclass(frozen=True)
class Sightings:
    """What one method made of R rows.

    Attributes:
        overlaps: float64 [R, T], by threshold, of the box with the best of the class's true ones.
        pointed: bool [R], whether the maximum is at one of them.
        ious: float64 [R, T], of the region with the class's mask; None where the set has no masks.
    """

    overlaps: Values
    pointed: Flags
    ious: Values | None = None


@dataclass(frozen=True)
class Judged:
    """The rows of one method, each at a threshold that was chosen without its image.

    Attributes:
        values: measure -> float64, an entry a row; of top1_error an entry an image.
        images: measure -> int64, the image of each entry.
        at: box, and where there are masks mask -> float64 [R], the share of the maximum at which each row was judged.
        thresholds: the same kinds -> those of the two halves, or the one of all.
    """

    values: Mapping[str, Values]
    images: Mapping[str, Numbers]
    at: Mapping[str, Values]
    thresholds: Mapping[str, tuple[float, ...]]

    def estimates(self, seed: int) -> dict[str, Estimate]:
        """Measure -> its mean, with an interval over images."""
        return {
            name: estimate(values, self.images[name], least=0.0, greatest=1.0, seed=seed)
            for name, values in self.values.items()
        }

    def less(self, other: Judged, seed: int) -> dict[str, Estimate]:
        """Measure -> the mean difference from another network's, row by row, with an interval over images."""
        return {
            name: estimate(values - other.values[name], self.images[name], least=-1.0, greatest=1.0, seed=seed)
            for name, values in self.values.items()
            if name in other.values
        }


def halves(images: Numbers) -> Flags:
    """Bool [R], which half each row belongs to: every second image, in the order of their numbers."""
    _, place = np.unique(images, return_inverse=True)
    found: Flags = place % 2 == 1
    return found


def judged(seen: Sightings, images: Numbers, taken: Flags, thresholds: Sequence[float] = THRESHOLDS) -> Judged:
    """Judge every row, at a threshold that the other half of the images has chosen.

    Boxes and regions have thresholds of their own: the least error, or the greatest IoU. Of thresholds that are alike
    the one whose boxes lie better on average, then the smallest. One image alone is judged at the usual threshold, and
    where there is but one threshold all are judged at that.

    Args:
        seen: what a method made of the R rows.
        images: int64 [R].
        taken: bool [R], whether the network takes the row's image for the row's class: for the top-1 error, in which an
            image counts once, and is right if its class is one that is there, and the box is right.
        thresholds: T of them, that the rows were looked at with; with the usual one, unless it is alone.
    """
    right = seen.overlaps >= MIN_IOU  # [R, T]
    shares = np.asarray(thresholds, dtype=np.float64)
    places, used = _places(right.astype(np.float64), seen.overlaps, images, thresholds)
    row = np.arange(len(images))
    fits = right[row, places]
    each = np.unique(images)
    hits = np.isin(each, images[taken & fits])
    values: dict[str, Values] = {
        "gt_error": (~fits).astype(np.float64),
        "top1_error": (~hits).astype(np.float64),
        "pointing": seen.pointed.astype(np.float64),
    }
    of = {"gt_error": images, "top1_error": each, "pointing": images}
    at, both = {"box": shares[places]}, {"box": used}
    if seen.ious is not None:
        places, both["mask"] = _places(seen.ious, seen.ious, images, thresholds)
        at["mask"] = shares[places]
        values["iou"], of["iou"] = seen.ious[row, places], images
    return Judged(values, of, at, both)


def _places(
    gains: Values, finer: Values, images: Numbers, thresholds: Sequence[float]
) -> tuple[Numbers, tuple[float, ...]]:
    """For each row the place of its threshold, int64 [R]; and the thresholds of the two halves, or that of all."""
    half = halves(images)
    if len(thresholds) == 1 or not half.any():
        place = 0 if len(thresholds) == 1 else list(thresholds).index(USUAL)
        return np.full(len(images), place, dtype=np.int64), (thresholds[place],)
    chosen = [_best(gains[half != own], finer[half != own]) for own in (False, True)]
    return np.where(half, chosen[1], chosen[0]), tuple(thresholds[place] for place in chosen)


def _best(gains: Values, finer: Values) -> int:
    """The threshold of the greatest mean gain; then of the greatest mean of the finer measure; then the first."""
    totals = [(round(gain, 9), round(fine, 9)) for gain, fine in zip(gains.mean(0), finer.mean(0), strict=True)]
    return totals.index(max(totals))
