"""Which gates a gradient opens."""

from __future__ import annotations

from torch import Tensor


def opened(gradient: Tensor, ratio: float = 0.0) -> Tensor:
    """Open where the gradient is positive, and no smaller than `ratio` times its layer's mean of the positive ones.

    Args:
        gradient: float [N, ...]; each image has a mean of its own.
        ratio: 0 or more. At 0 everything positive opens, and nothing else; the authors' kernel opens all there.

    Returns:
        bool, as the gradient. An image without a positive entry has all gates closed.

    Source: the authors' code for localisation, per image where that takes the mean over the batch.
    """
    positive = gradient > 0
    if ratio == 0:
        return positive
    places = tuple(range(1, gradient.dim()))
    total = gradient.clamp(min=0).double().sum(places, keepdim=True)
    mean = total / positive.sum(places, keepdim=True).clamp(min=1)
    return positive & (gradient >= ratio * mean)


def without_border(values: Tensor) -> Tensor:
    """Maps [N, C, H, W] with zeros in their outermost pixels; what has no inside, or is no map, is left as it is."""
    if values.dim() != 4 or min(values.shape[2:]) < 3:
        return values
    inside = values.new_zeros(values.shape)
    inside[:, :, 1:-1, 1:-1] = values[:, :, 1:-1, 1:-1]
    return inside
