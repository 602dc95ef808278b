"""SparseGPT: inputs in turn, one factor for all outputs; an error is made up for by the inputs that are still to come.

Source: Frantar and Alistarh, "SparseGPT", 2023, algorithm 1, with its mask chosen in blocks of 128 inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ticketcli.criteria.layerwise.ranking import Pattern, by_pattern, shares, smallest
from ticketcli.errors import DivergedError

_BLOCK = 128


def sparsegpt(
    weight: Tensor,
    alive: Tensor,
    inverse: Tensor,
    dead: Tensor,
    *,
    kept: int | None = None,
    epsilon: float | None = None,
    pattern: Pattern | None = None,
) -> tuple[Tensor, Tensor, float]:
    """The new weights, what is kept, and the sum of the roots of what each removal cost.

    One of the three says how much falls: of each block the same share of its living weights, so that `kept` are left
    in all; those whose removal costs at most ``epsilon**2``; all but n of each m neighbours. Scores are
    ``w^2 / U_cc^2`` at the block's start, with ``C^-1 = U^T U``.

    Args:
        weight: [g, o, d]; zeros where nothing lives.
        alive: [g, o, d].
        inverse: [g, d, d].
        dead: [g, d], inputs whose weights cost nothing.
        kept: weights left, of all groups together.
        epsilon: tolerable error of a removal.
        pattern: n of m inputs are kept.
    """
    d = weight.shape[2]
    factor = _upper(inverse)
    step = _BLOCK if pattern is None else max(1, _BLOCK // pattern[1]) * pattern[1]
    starts = range(0, d, step)
    sizes = torch.stack([alive[:, :, start : start + step].sum() for start in starts])
    quotas = shares(sizes, int(sizes.sum()) - kept) if kept is not None else [0] * len(sizes)
    moved, left, cost = weight.clone(), alive.clone(), 0.0
    for start, quota in zip(starts, quotas, strict=True):
        block = slice(start, min(d, start + step))
        scores = moved[:, :, block].square() / factor[:, block, block].diagonal(dim1=1, dim2=2).square()[:, None, :]
        scores = scores * ~dead[:, None, block]
        falls = _falls(scores, alive[:, :, block], quota, epsilon, pattern)
        left[:, :, block] &= ~falls
        cost += _eliminate(moved, left, factor, block)
    return torch.where(left, moved, torch.zeros_like(moved)), left, cost


def _upper(inverse: Tensor) -> Tensor:
    """U with ``C^-1 = U^T U``."""
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(inverse, upper=True)
    if bool(failed.any()):
        raise DivergedError("the inverse of the second moments lost its definiteness", where="calibration",
                            hint="give a larger damping")  # fmt: skip
    return factor


def _falls(scores: Tensor, alive: Tensor, quota: int, epsilon: float | None, pattern: Pattern | None) -> Tensor:
    if pattern is not None:
        return by_pattern(scores, alive, pattern)
    if epsilon is not None:
        return (scores <= epsilon**2) & alive
    return smallest(scores, alive, quota)


def _eliminate(moved: Tensor, left: Tensor, factor: Tensor, block: slice) -> float:
    """Take the block's inputs out in turn, in place; the later blocks follow at once at its end."""
    width, cost = block.stop - block.start, 0.0
    here = factor[:, block, block]  # [g, b, b]
    values, errors = moved[:, :, block].clone(), torch.zeros_like(moved[:, :, block])
    for column in range(width):
        gone = ~left[:, :, block.start + column]
        error = torch.where(gone, values[:, :, column] / here[:, None, column, column], 0.0)
        values[:, :, column:] -= error.unsqueeze(2) * here[:, None, column, column:]
        errors[:, :, column] = error
        cost += float(error.abs().sum())
    moved[:, :, block] = values
    moved[:, :, block.stop :] -= errors @ factor[:, block, block.stop :]
    return cost
