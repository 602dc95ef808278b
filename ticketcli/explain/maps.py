"""Maps in the image's pixels of where a score comes from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def energy_map(input_gradient: Tensor) -> Tensor:
    """``sqrt(sum over colours of (dS/dI)^2)``, divided by its largest value.

    Args:
        input_gradient: float [N, 3, H, W].

    Returns:
        [N, H, W] in 0..1; zero everywhere in an image whose gradient is zero.

    Source: the authors' demo.
    """
    return scaled(torch.linalg.vector_norm(input_gradient, dim=1))


def summation_map(activations: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Gated activations of several layers, one weight each: where pathways to the target lie.

    Args:
        activations: [N, C_i, h_i, w_i] of each layer, nowhere negative.
        size: height and width of the image.

    Returns:
        [N, H, W] in 0..1: each layer is summed over its channels, divided by its largest value and resized to the image
        (bilinear); the sum of the layers is divided by its largest value.

    Source: the authors' demo, for seven layers of VGG-16.
    """
    total = torch.zeros(len(activations[0]), *size, dtype=activations[0].dtype, device=activations[0].device)
    for one in activations:
        total += F.interpolate(scaled(one.sum(dim=1))[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    return scaled(total)


def scaled(maps: Tensor) -> Tensor:
    """[N, H, W], nowhere negative, each divided by its largest value; zero stays zero."""
    largest = maps.amax(dim=(1, 2), keepdim=True)
    return maps / torch.where(largest > 0, largest, 1)
