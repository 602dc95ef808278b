"""Maximum mean discrepancy: how far two samples are from one distribution, seen through Gaussian kernels."""

from __future__ import annotations

import torch
from torch import Tensor

_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # kernels, in units of the samples' own mean squared distance


def mmd2(a: Tensor, b: Tensor) -> Tensor:
    """The squared discrepancy, without bias: 0 in the mean where the distributions are equal, so also below 0.

    Averaged over the kernels ``exp(-|u - v|^2 / (w mean))``, w in `_WIDTHS`.

    Args:
        a: rows [n, p], n at least 2.
        b: rows [m, p], m at least 2, independent of the others.

    Returns:
        A scalar in a's type, in [-1, 2]; gradients flow, but not through the mean distance.

    Source: Gretton et al., "A kernel two-sample test", 2012, equation 3.
    """
    both = torch.cat([a, b])
    squares = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist").square()
    n, m = len(a), len(b)
    mean = squares.detach().sum() / max(1, (n + m) * (n + m - 1))
    mean = torch.where(mean > 0, mean, torch.ones_like(mean))
    kernel = torch.stack([torch.exp(-squares / (width * mean)) for width in _WIDTHS]).mean(dim=0)
    within_a = (kernel[:n, :n].sum() - n) / (n * (n - 1))
    within_b = (kernel[n:, n:].sum() - m) / (m * (m - 1))
    return within_a + within_b - 2 * kernel[:n, n:].mean()
