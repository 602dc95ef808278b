"""What there is to say of a layer that was pruned."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_EXACT = 1024  # side of a matrix whose eigenvalues are computed
_SQUARINGS = 6
_ROUNDING = 1e-9  # of an eigenvalue, relative to the largest
_BINS = 24


@dataclass(frozen=True)
class Histogram:
    """How many living weights have a log10 sensitivity between neighbouring edges; exact zeros are counted apart."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    zeros: int


@dataclass(frozen=True)
class LayerReport:
    """One layer's account. "Mean squared" is over all columns: images times output positions.

    Attributes:
        method: what pruned it.
        error: E, the mean squared change of what the layer gives, by the moments as measured, undamped.
        relative: E over the mean squared output; centred, both without the mean, where the bias is free.
        root: the root of E.
        sum_root: the sum of the roots of what each removal cost by the method's own account.
        damping: share of the mean second moment that was added; 0 where nothing was inverted.
        condition: of the damped moments in the 1-norm; None where nothing was inverted.
        n: columns that the moments are made of.
        positions: output positions of an image.
        d: inputs of each output.
        kept: weights left.
        alive: weights that lived before.
        total: weights.
        frobenius: norm of the pruned weights.
        spectral: the largest of its groups' spectral norms; never less than the truth.
        dead_inputs: inputs that never vary, over all groups.
        centred: whether means were left to the bias.
        sensitivities: of the living weights before, log10, in units of E.
    """

    method: str
    error: float
    relative: float
    root: float
    sum_root: float
    damping: float
    condition: float | None
    n: int
    positions: int
    d: int
    kept: int
    alive: int
    total: int
    frobenius: float
    spectral: float
    dead_inputs: int
    centred: bool
    sensitivities: Histogram

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def histogram(scores: Tensor, alive: Tensor) -> Histogram:
    """Of the scores [g, o, d] of what lives."""
    values = scores[alive].cpu().numpy()
    positive = values[values > 0]
    if not len(positive):
        return Histogram((), (), len(values))
    counts, edges = np.histogram(np.log10(positive), bins=_BINS)
    return Histogram(tuple(map(float, edges)), tuple(map(int, counts)), len(values) - len(positive))


def quadratic(weight: Tensor, second: Tensor) -> float:
    """``sum over outputs of w^T C w``: [g, o, d], [g, d, d]; never negative."""
    return max(0.0, float(((weight @ second) * weight).sum()))


def spectral_norm(matrices: Tensor) -> float:
    """The largest spectral norm of [g, o, d] matrices, never less than the truth.

    Up to 1024 on the smaller side by eigenvalues; above, by ``trace(G^64)^(1/128)`` of G = W W^T, at most 7 % too large
    on a side of 4096.
    """
    found = matrices.double()
    gram = found @ found.transpose(1, 2) if found.shape[1] <= found.shape[2] else found.transpose(1, 2) @ found
    scale = float(gram.diagonal(dim1=1, dim2=2).sum(dim=1).max()) if gram.numel() else 0.0
    if scale == 0.0:
        return 0.0
    gram = gram / scale
    if gram.shape[1] <= _EXACT:
        largest = float(torch.linalg.eigvalsh(gram).max())
    else:
        largest = _by_squaring(gram)
    return float(np.sqrt(scale * (largest + _ROUNDING)))


def _by_squaring(gram: Tensor) -> float:
    """``trace(G^64)^(1/64)``, of each and the largest; G is divided by its trace each time, which keeps it in range."""
    logarithm = torch.zeros(len(gram), dtype=gram.dtype, device=gram.device)
    power = 1
    for _ in range(_SQUARINGS):
        trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1).clamp(min=torch.finfo(gram.dtype).tiny)
        gram = gram / trace[:, None, None]
        logarithm += trace.log() / power
        gram, power = gram @ gram, 2 * power
    trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1).clamp(min=torch.finfo(gram.dtype).tiny)
    return float((logarithm + trace.log() / power).exp().max())
