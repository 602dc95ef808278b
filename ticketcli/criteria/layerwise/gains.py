"""How much a linear or a pooling operation can lengthen a difference: bounds that are never below the truth.

Lengths are Euclidean, over all of a sample's channels and positions. Per axis of an image it is counted, for the sizes
at hand, how often a pixel is read: at most ``ceil(kernel / stride)`` times without dilation and with padding by zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.criteria.layerwise.report import spectral_norm
from ticketcli.errors import UsageError

Pair = tuple[int, int]


def operator_norm(weight: Tensor, groups: int, norm: str, scale: Tensor | None = None) -> float:
    """The norm of a weight as a matrix [o, i], of the worst of its groups; each output times its `scale` [o]."""
    matrices = weight.detach().double().cpu().reshape(groups, len(weight) // groups, -1)
    if scale is not None:
        matrices = matrices * scale.detach().double().cpu().view(groups, -1, 1)
    if norm == "frobenius":
        return float(matrices.square().sum(dim=(1, 2)).max().sqrt())
    return spectral_norm(matrices)


def bn_scale(norm: nn.BatchNorm2d | nn.BatchNorm1d) -> Tensor:
    """``gamma / sigma`` of each channel, with the running statistics."""
    if norm.running_var is None:
        raise UsageError("a BatchNorm without running statistics mixes a batch's samples", where="error bound")
    scale = torch.rsqrt(norm.running_var.detach().double().cpu() + norm.eps)
    return scale if norm.weight is None else scale * norm.weight.detach().double().cpu()


def patch_gain(layer: nn.Conv2d, size: Sequence[int]) -> float:
    """What cutting a convolution's patches from [N, C, H, W] = `size` does to a length.

    Source: the appendix of Dong et al. has fully connected layers only, and leaves this factor out.
    """
    padding = layer._reversed_padding_repeated_twice  # left, right, top, bottom
    counts = []
    for axis, (side, low, high) in enumerate(((size[2], *padding[2:]), (size[3], *padding[:2]))):
        pixels = torch.arange(1.0, side + 1)[None, None]
        mode = layer.padding_mode
        padded = F.pad(pixels, (low, high), mode="constant" if mode == "zeros" else mode)[0, 0]  # 0: no pixel
        windows = padded.unfold(0, layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1, layer.stride[axis])
        read = windows[:, :: layer.dilation[axis]].flatten().long()
        counts.append(int(torch.bincount(read, minlength=side + 1)[1:].max()))
    return math.sqrt(counts[0] * counts[1])


def max_pool_gain(
    size: Sequence[int], out: Sequence[int], kernel: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> float:
    """A maximum changes by no more than the largest change it reads, so at most by all that it reads."""
    found = 1.0
    for axis in (0, 1):
        windows = _windows(size[axis + 2], out[axis + 2], kernel[axis], stride[axis], padding[axis], dilation[axis])
        found *= _most(windows, size[axis + 2], averaged=False)
    return math.sqrt(found)


def average_pool_gain(size: Sequence[int], out: Sequence[int], kernel: Pair, stride: Pair, padding: Pair) -> float:
    """The squared mean of m numbers is at most one m-th of their squares' sum.

    A window over the edge counts as a mean of what it reads; where padding counts, it divides by more, and gives less.
    """
    found = 1.0
    for axis in (0, 1):
        windows = _windows(size[axis + 2], out[axis + 2], kernel[axis], stride[axis], padding[axis], 1)
        found *= _most(windows, size[axis + 2], averaged=True)
    return math.sqrt(found)


def adaptive_pool_gain(size: Sequence[int], out: Sequence[int]) -> float:
    """The same for pools that are given by the size they make."""
    found = 1.0
    for axis in (2, 3):
        n, m = size[axis], out[axis]
        windows = [list(range(place * n // m, -((place + 1) * n // -m))) for place in range(m)]
        found *= _most(windows, n, averaged=True)
    return math.sqrt(found)


def _windows(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> list[list[int]]:
    """The pixels that each output reads along an axis."""
    taps = range(0, kernel * dilation, dilation)
    starts = (place * stride - padding for place in range(out))
    return [[start + tap for tap in taps if 0 <= start + tap < size] for start in starts]


def _most(windows: list[list[int]], size: int, *, averaged: bool) -> float:
    """The largest sum, over the windows that read a pixel, of 1, or of one over what the window reads."""
    totals = [0.0] * size
    for window in windows:
        for pixel in window:
            totals[pixel] += 1 / len(window) if averaged else 1.0
    return max(totals)
