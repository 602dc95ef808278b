"""What losing each weight would cost, in units of E: the scores by which weights are ranked."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ticketcli.criteria.layerwise.gram import Gram
from ticketcli.criteria.layerwise.inverse import Damped, chunks, packed, submatrices, support_affordable
from ticketcli.tensors.seeds import derive, uniforms


def magnitude(weight: Tensor) -> Tensor:
    """``w^2``: what it costs where inputs are alike and independent."""
    return weight.square()


def random(weight: Tensor, seed: int) -> Tensor:
    """A fixed uniform draw for each weight, by seed and flat index, so that rounds are nested."""
    draws = uniforms(derive(seed, "layerwise/random"), np.arange(weight.numel(), dtype=np.uint64))
    return torch.from_numpy(draws).view(weight.shape).to(weight.device)


def diagonal(weight: Tensor, gram: Gram) -> Tensor:
    """``w^2 C_qq``: the cost of the weight without compensation.

    Source: LeCun et al., "Optimal Brain Damage", 1990; and, compared within each output, Sun et al., "A Simple and
    Effective Pruning Approach for Large Language Models" (Wanda), 2023, whose score is the root of it.
    """
    return weight.square() * gram.second.diagonal(dim1=1, dim2=2)[:, None, :]


def average_product(weight: Tensor, mean: Tensor) -> Tensor:
    """``(mean(y) w)^2``: the square of what the weight adds on average.

    Source: Dong et al., appendix, ApoZW: the absolute mean of input times weight.
    """
    return (weight * mean[:, None, :]).square()


def surgeon(weight: Tensor, damped: Damped, inverse: Tensor, alive: Tensor) -> Tensor:
    """``w^2 / [C^-1]_qq``: the cost of the weight when all others that live in its output make up for it.

    Where weights are gone already, the inverse is that of C on what lives, output by output, up to `SUPPORT_LIMIT`
    multiply-adds; above it all outputs share the inverse of the whole C, which is too kind to weights whose place the
    dead ones could have taken. Inputs that are dead cost nothing.

    Source: Dong et al., equation 3, without its factor 1/2; Hassibi and Stork, "Optimal Brain Surgeon", 1993.
    """
    if bool(alive.all()) or not support_affordable(alive):
        diagonals = inverse.diagonal(dim1=1, dim2=2)[:, None, :].expand_as(weight)
    else:
        diagonals = _support_diagonals(damped, alive)
    return (weight.square() / diagonals) * ~damped.dead[:, None, :]


def _support_diagonals(damped: Damped, alive: Tensor) -> Tensor:
    """The diagonal of each output's own inverse, [g, o, d]; ones where nothing lives."""
    g, o, d = alive.shape
    flat = alive.reshape(g * o, d)
    index, valid = packed(flat)
    group = torch.arange(g, device=alive.device).repeat_interleave(o)
    found = damped.matrix.new_ones(g * o, d)
    for rows in chunks(g * o, 2 * index.shape[1] ** 2):
        part = submatrices(damped.matrix, group[rows], index[rows], valid[rows])
        inverses = torch.cholesky_inverse(torch.linalg.cholesky(part))
        values = torch.where(valid[rows], inverses.diagonal(dim1=1, dim2=2), 1.0)
        found[rows] = found[rows].scatter(1, index[rows], values)
    return found.view(g, o, d)
