"""How far two tensors of filters are from each other, in the sense of theorem 3.2, and in others that say more."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Distances:
    """Each is ``|Q A - B| / sqrt(|A| |B|)``.

    Attributes:
        rotated: the least over all rotations Q of the tensor as one vector, which is what the theorem bounds: it sees
            nothing but the two norms.
        mixed: the least over the orthogonal Q that mix filters, the same for all their entries.
        plain: Q is the identity.
        rescaled: `mixed`, after A was given the norm of B.
    """

    rotated: float
    mixed: float
    plain: float
    rescaled: float


def distances(a: Tensor, b: Tensor) -> Distances:
    """Of two tensors [m, d], m at least d, neither of them 0.

    Source: the paper, equations 1 and 8; for `mixed` the orthogonal Procrustes problem, Schoenemann, 1966:
    ``|a|^2 + |b|^2 - 2 (sum of the singular values of b a^T)``.
    """
    norm_a, norm_b = float(a.norm()), float(b.norm())
    scale = math.sqrt(norm_a * norm_b)
    between = float(torch.linalg.matrix_norm(_triangle(b) @ _triangle(a).T, "nuc"))
    mixed = max(0.0, norm_a**2 + norm_b**2 - 2 * between)
    rescaled = max(0.0, 2 * norm_b**2 - 2 * between * norm_b / norm_a)
    return Distances(
        abs(norm_a - norm_b) / scale, math.sqrt(mixed) / scale, float((a - b).norm()) / scale,
        math.sqrt(rescaled) / norm_b,
    )  # fmt: skip


def _triangle(filters: Tensor) -> Tensor:
    """R of a QR decomposition, [d, d]: what an orthogonal mix of the filters leaves of them."""
    triangle: Tensor = torch.linalg.qr(filters, mode="r").R
    return triangle
