"""SCOP's Lemma 2: the noise that carries second-order knockoffs exactly through an affine layer; off by default.

For v' = W^T v + b and v~' = W^T v~ + b~, noise whose joint covariance is (S.1) makes the outputs second-order knockoffs
again, with s' in the place of s. Any diagonal s' >= M = W^T diag(s) W needs it, and with the choice of the paper the
noise is larger than the signal: three random layers of 64 channels have 1.3 to 2.9 times its variance added each. It
destroys a network; the released code adds none. The lemma is about affine maps at one position: ReLU, pooling and
overlapping windows break it, and a BatchNorm only makes means equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ticketcli.channels.knockoffs.roots import symmetric_root


@dataclass(frozen=True)
class BiasNoise:
    """The noise (b, b~) of a layer with q outputs; both parts have mean 0.

    Attributes:
        s: s', float64 [q].
        covariance: of b, and of b~, float64 [q, q].
        cross: between them, float64 [q, q].
    """

    s: Tensor
    covariance: Tensor
    cross: Tensor
    _common: Tensor
    _opposed: Tensor

    def draw(self, n: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Samples, n of b and b~, each float64 [n, q]: half the sum and half the difference are independent."""
        size = (n, len(self.s))
        plus = torch.randn(size, dtype=torch.float64, generator=draw) @ self._common
        minus = torch.randn(size, dtype=torch.float64, generator=draw) @ self._opposed
        return (plus + minus) / 2**0.5, (plus - minus) / 2**0.5


def bias_noise(
    m: Tensor, *, gamma: float = 1e-3, s: Tensor | None = None, covariance: Tensor | None = None
) -> BiasNoise:
    """The noise that a layer needs.

    Args:
        m: M = W^T diag(s) W, float64 [q, q]; see `spread`.
        gamma: small and positive, in the units of M.
        s: s', [q]; by default the largest eigenvalue of M, and gamma more, for all.
        covariance: of b, [q, q]; by default (diag s' - M) / 2, and gamma more on the diagonal.

    Raises:
        UsageError: no noise has the covariance (S.1): s' or `covariance` is too small (S.5).

    Source: SCOP, supplement, Lemma 2, S.1 and S.5, and the choice proposed behind it.
    """
    eye = torch.eye(len(m), dtype=torch.float64)
    s = (torch.linalg.eigvalsh(m)[-1] + gamma).expand(len(m)).clone() if s is None else s
    opposed = torch.diag(s) - m
    covariance = opposed / 2 + gamma * eye if covariance is None else covariance
    return BiasNoise(
        s,
        covariance,
        covariance - opposed,
        symmetric_root(2 * covariance - opposed, what="noise that both sides share"),
        symmetric_root(opposed, what="noise that tells the sides apart"),
    )


def spread(weight: Tensor, s: Tensor) -> Tensor:
    """M = W^T diag(s) W of a convolution or a linear layer: float64 [q, q].

    Args:
        weight: [q, p, ...], as torch has it; the taps of a kernel count as further inputs of the same s.
        s: [p].
    """
    rows = weight.detach().to("cpu", torch.float64).movedim(1, -1)
    scaled = (rows * s).flatten(1)
    return scaled @ rows.flatten(1).T


def apart(x: Tensor, control: Tensor) -> Tensor:
    """What s is as measured: each channel's variance less its covariance with its control, not below 0; float64 [p].

    Args:
        x: maps [N, p, h, w] or rows [N, p].
        control: of the same shape.
    """
    a, b = (part.detach().to("cpu", torch.float64).movedim(1, -1).flatten(0, -2) for part in (x, control))
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    return ((a * a + b * b) / 2 - a * b).mean(dim=0).clamp(min=0)
