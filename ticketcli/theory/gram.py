"""The data of theorem 3.2 and its Gram matrix in the limit of infinite width, in closed form.

Source: the paper, appendix B, equations 48 and 52 and proposition B.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ticketcli.tensors.seeds import generator


@dataclass(frozen=True)
class Sample:
    """What is learnt.

    Attributes:
        patches: phi_k(x_i), [n, positions, d], each of norm 1; d = channels times taps.
        labels: [n], -1 or 1.
    """

    patches: Tensor
    labels: Tensor

    @property
    def flat(self) -> Tensor:
        """All patches, [n positions, d]."""
        return self.patches.flatten(0, 1)


def drawn(n: int, channels: int, s: int, length: int, seed: int) -> Sample:
    """Random inputs on a circle, and labels from coin flips.

    A position's channels have norm 1 / sqrt(2 s + 1), so that every patch has norm 1, as proposition B.3 asks.
    """
    taps = 2 * s + 1
    draw = generator(seed, "theory orcnn input")
    x = torch.randn((n, channels, length), dtype=torch.float64, generator=draw)
    x = x / (x.norm(dim=1, keepdim=True) * math.sqrt(taps))
    shifted = torch.stack([x.roll(-tap, dims=2) for tap in range(-s, s + 1)], dim=3)  # [n, channels, length, taps]
    return Sample(shifted.permute(0, 2, 1, 3).flatten(2), signs(n, seed, "theory orcnn labels"))


def signs(n: int, seed: int, purpose: str, *numbers: int) -> Tensor:
    """N coin flips: -1.0 or 1.0."""
    return torch.randint(0, 2, (n,), generator=generator(seed, purpose, *numbers)).double() * 2 - 1


def limit_gram(sample: Sample) -> Tensor:
    """G-infinity of a network that nothing was pruned from: [n, n], positive definite.

    ``G_ij = sum_kl <phi_k(x_i), phi_l(x_j)> P(both are on the positive side of a Gaussian filter) / positions^2``; for
    unit vectors at an angle t that probability is (pi - t) / (2 pi). Where the share q of filters is left, equation
    52 has q times this.

    Source: the probability is Sheppard's, 1899.
    """
    n, positions, _ = sample.patches.shape
    cosines = (sample.flat @ sample.flat.T).clamp(-1, 1)
    both = (math.pi - torch.arccos(cosines)) / (2 * math.pi)
    return (cosines * both).view(n, positions, n, positions).sum(dim=(1, 3)) / positions**2
