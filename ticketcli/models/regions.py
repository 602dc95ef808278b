"""`Regions`: torchvision's RoIAlign over the levels of a pyramid, told its scales, and quicker backwards on a CPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.autograd.function import once_differentiable
from torchvision.ops import roi_align
from torchvision.ops.poolers import LevelMapper, MultiScaleRoIAlign

_SAMPLES = 2  # points a bin and axis that are averaged, as in torchvision's detectors


class Regions(MultiScaleRoIAlign):  # type: ignore[misc]
    """Levels of a pyramid and boxes -> what lies in the boxes, [n, C, side, side].

    Values are torchvision's to the bit, gradients to rounding. Told its scales: left alone, torchvision's guesses them
    from the first batch's sizes without padding, and keeps its guess.

    Args:
        strides: of the levels `0`, `1` ..., each twice the one before; further levels are not looked at.
        side: of what is cut out, in bins.
    """

    def __init__(self, strides: tuple[int, ...], side: int) -> None:
        super().__init__([str(place) for place in range(len(strides))], side, _SAMPLES)
        self.scales = [1 / stride for stride in strides]
        self.map_levels = LevelMapper(*(int(math.log2(stride)) for stride in (strides[0], strides[-1])))

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """See the class; boxes are in pixels of the images."""
        levels = [x[name] for name in self.featmap_names]
        plain = levels[0].device.type == "cpu" and levels[0].dtype == torch.float32
        if not (plain and torch.is_grad_enabled()):
            found: Tensor = super().forward(x, boxes, image_shapes)
            return found
        which = self.map_levels(boxes)
        images = torch.cat([torch.full_like(box[:, :1], place) for place, box in enumerate(boxes)])
        regions = torch.cat([images, torch.cat(boxes)], dim=1)
        cut: Tensor = _Cut.apply(regions, which, self.scales, self.output_size, *levels)
        return cut


class _Cut(torch.autograd.Function):
    """RoIAlign is linear in the features: backwards it is one product with a sparse matrix, all channels at once.

    torchvision's own way back works out the same sixteen weights of a bin anew for every channel.
    """

    @staticmethod
    def forward(
        ctx: Any, regions: Tensor, which: Tensor, scales: list[float], size: tuple[int, int], *levels: Tensor
    ) -> Tensor:
        """Regions [n, 5] (image, x0, y0, x1, y1), the level of each [n], levels [N, C, h_i, w_i] -> [n, C, *size]."""
        ctx.save_for_backward(regions, which)
        ctx.scales, ctx.shapes = scales, [level.shape for level in levels]
        cut = levels[0].new_zeros(len(regions), levels[0].shape[1], *size)
        for place, (level, scale) in enumerate(zip(levels, scales, strict=True)):
            rows = torch.where(which == place)[0]
            cut[rows] = roi_align(level, regions[rows], size, scale, _SAMPLES)
        return cut

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """The slopes of the levels."""
        regions, which = ctx.saved_tensors
        slopes = []
        for place, (shape, scale) in enumerate(zip(ctx.shapes, ctx.scales, strict=True)):
            rows = torch.where(which == place)[0]
            slopes.append(_back(slope[rows], regions[rows], scale, shape))
        return (None, None, None, None, *slopes)


def _back(slope: Tensor, regions: Tensor, scale: float, shape: torch.Size) -> Tensor:
    """Slopes of what was cut out, [n, C, p, q] -> slopes of one level, [N, C, h, w]."""
    n_images, channels, h, w = shape
    n, _, p, q = slope.shape
    boxes = regions[:, 1:] * scale
    y_at, y_share = _bins(boxes[:, 1], boxes[:, 3], p, h)
    x_at, x_share = _bins(boxes[:, 0], boxes[:, 2], q, w)
    rows = regions[:, 0].int()[:, None, None] * h + y_at
    at = rows[:, :, None, :, None] * w + x_at[:, None, :, None, :]  # [n, p, q, 2 * samples, 2 * samples]
    share = y_share[:, :, None, :, None] * x_share[:, None, :, None, :]
    starts = np.arange(n * p * q + 1, dtype=np.int32) * (2 * _SAMPLES) ** 2
    bins_to_pixels = sparse.csc_array(
        (share.flatten().numpy(), at.flatten().numpy(), starts), shape=(n_images * h * w, n * p * q)
    )
    found = bins_to_pixels @ slope.permute(0, 2, 3, 1).reshape(n * p * q, channels).numpy()
    return torch.from_numpy(found).view(n_images, h, w, channels).permute(0, 3, 1, 2).contiguous()


def _bins(start: Tensor, end: Tensor, n_bins: int, size: int) -> tuple[Tensor, Tensor]:
    """The pixels along one axis that each bin of each region reads, and their shares; both [n, n_bins, 2 * samples].

    As torchvision's RoIAlign without alignment by half a pixel: a region is at least a pixel long, a sample is read
    between the two pixels beside it, beyond the last pixel the last counts, and beyond one more nothing does.
    """
    step = (end - start).clamp(min=1.0)[:, None, None] / n_bins
    inside = (torch.arange(_SAMPLES) + 0.5) / _SAMPLES
    at = start[:, None, None] + (torch.arange(n_bins)[:, None] + inside) * step  # [n, n_bins, samples]
    read = (at >= -1.0) & (at <= size)
    at = at.clamp(0.0, size - 1)
    below = at.int()
    above = (below + 1).clamp(max=size - 1)
    rest = at - below
    shares = torch.cat([1 - rest, rest], dim=2) * torch.cat([read, read], dim=2) / _SAMPLES
    return torch.cat([below, above], dim=2), shares
