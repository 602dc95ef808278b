"""How good controls are: do they have the data's moments, and can a value be exchanged with its control unnoticed?"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ticketcli.channels.knockoffs.mmd import mmd2
from ticketcli.channels.knockoffs.source import swapped
from ticketcli.errors import UsageError


@dataclass(frozen=True)
class Diagnostics:
    """0 is perfect in all but `diagonal_correlation`.

    Attributes:
        mean_gap: |mean difference| over the root of the total variance.
        covariance_gap: |Sigma~ - Sigma| / |Sigma|, Frobenius.
        off_diagonal_gap: |Sigma_x~ - Sigma| / |Sigma| of the covariance between values and controls, but for values of
            one group, whose covariance is free.
        diagonal_correlation: of a value with its control, mean over those that vary, in [-1, 1]; 1 has no power.
        mmd_full, mmd_partial: squared discrepancy of (x, x~) and the pair exchanged whole, or in random groups; without
            bias, so a good one scatters about 0.
    """

    mean_gap: float
    covariance_gap: float
    off_diagonal_gap: float
    diagonal_correlation: float
    mmd_full: float
    mmd_partial: float

    def as_dict(self) -> dict[str, float]:
        """By name, for a report."""
        return asdict(self)


@torch.no_grad()
def diagnose(x: Tensor, control: Tensor, draw: torch.Generator, *, groups: Tensor | None = None) -> Diagnostics:
    """Measure controls against the data they were made of.

    Args:
        x: rows [n, ...] of p values, n at least 4; the discrepancies compare the first half with the second.
        control: of the same shape.
        draw: which groups are exchanged.
        groups: int64 [p]; by default each value is alone.

    Raises:
        UsageError: fewer than 4 rows, or all are equal.
    """
    a, b = (part.flatten(1).to("cpu", torch.float64) for part in (x, control))
    n, p = a.shape
    if n < 4 or not float(a.var(dim=0).sum()) > 0:
        raise UsageError("controls are measured on four different rows at least", where="knockoff")
    groups = torch.arange(p) if groups is None else groups
    mean_a, mean_b = a.mean(dim=0), b.mean(dim=0)
    own, theirs = (a - mean_a) / n**0.5, (b - mean_b) / n**0.5
    sigma, sigma_b, cross = own.T @ own, theirs.T @ theirs, own.T @ theirs
    size = sigma.norm()
    scale = (sigma.diagonal() * sigma_b.diagonal()).sqrt()
    varying = scale > 0
    correlation = (cross.diagonal()[varying] / scale[varying]).mean() if bool(varying.any()) else torch.tensor(0.0)
    free = groups[:, None] == groups[None, :]
    return Diagnostics(
        float((mean_a - mean_b).norm() / sigma.trace().sqrt()),
        float((sigma_b - sigma).norm() / size),
        float(((cross - sigma) * ~free).norm() / size),
        float(correlation),
        *_exchanged(a, b, groups, draw),
    )


def _exchanged(a: Tensor, b: Tensor, groups: Tensor, draw: torch.Generator) -> tuple[float, float]:
    half = len(a) // 2
    pairs = torch.cat([a[:half], b[:half]], dim=1)
    _, number = torch.unique(groups, return_inverse=True)
    chosen = torch.rand(int(number.max()) + 1, generator=draw) < 0.5
    full = torch.cat([b[half:], a[half:]], dim=1)
    partial = torch.cat(swapped(a[half:], b[half:], chosen[number]), dim=1)
    return float(mmd2(pairs, full)), float(mmd2(pairs, partial))
