"""L-OBS: weights fall in the order of their scores, each at its present value, and the others make up for it.

Every removal uses the inverse of all inputs, never brought down to those that are left. So an output's removals P, in
their order, are one Gauss-Seidel sweep over ``C^-1[P, P] a = w[P]``, the system of removing them all at once, and its
new weights are ``w - C^-1[:, P] a``, then zeros at P. More sweeps come closer to that exact removal.

Source: Dong et al., algorithm 1. The closed form is solved in blocks of the order: within a block the triangular
system, between blocks one product for all outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ticketcli.criteria.layerwise.inverse import Damped, chunks, packed, submatrices, support_affordable

_LEAST_BLOCK, _MOST_BLOCK = 32, 1024
_BLOCKS = 10  # of an output's inputs: gathering triangles and multiplying blocks then cost about the same


def lobs(
    weight: Tensor, fallen: Tensor, scores: Tensor, alive: Tensor, damped: Damped, inverse: Tensor, sweeps: int
) -> tuple[Tensor, float]:
    """The weights after the removals, and the sum over them of the root of what each cost.

    Where weights were gone before, each output is solved on what lives in it, up to `SUPPORT_LIMIT` multiply-adds;
    above, the shared inverse is used and what is gone is removed again after the new removals.

    Args:
        weight: [g, o, d]; zeros where nothing lives.
        fallen: [g, o, d], what falls now.
        scores: [g, o, d], the order: ascending, ties by index.
        alive: [g, o, d], what lived before.
        damped: the moments.
        inverse: theirs, [g, d, d].
        sweeps: 1 is L-OBS.
    """
    if bool(alive.all()):
        moved, cost = _swept(weight, *_order(fallen, scores), inverse, sweeps)
    elif support_affordable(alive):
        moved, cost = _on_supports(weight, fallen, scores, alive, damped, sweeps)
    else:
        later = torch.where(alive, scores, torch.full_like(scores, torch.finfo(scores.dtype).max))
        moved, cost = _swept(weight, *_order(fallen | ~alive, later), inverse, sweeps)
    return torch.where(alive & ~fallen, moved, torch.zeros_like(moved)), cost


def _order(fallen: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Each output's removals in their order: indices [g, o, k], and which of them count."""
    counts = fallen.sum(dim=2)
    most = int(counts.max())
    keyed = torch.where(fallen, scores, torch.full_like(scores, float("inf")))
    index = torch.sort(keyed, dim=2, stable=True).indices[:, :, :most]
    return index, torch.arange(most, device=scores.device) < counts[:, :, None]


def _swept(weight: Tensor, index: Tensor, valid: Tensor, inverse: Tensor, sweeps: int) -> tuple[Tensor, float]:
    """Gauss-Seidel, block by block: what is left of the right side is the weight itself."""
    g, o, d = weight.shape
    moved = weight.clone()
    roots = inverse.diagonal(dim1=1, dim2=2).sqrt()  # [g, d]
    per, cost = min(_MOST_BLOCK, max(_LEAST_BLOCK, d // _BLOCKS)), 0.0
    group = torch.arange(g, device=weight.device).repeat_interleave(o)
    for _ in range(sweeps):
        for start in range(0, index.shape[2], per):
            places, counts = index[:, :, start : start + per], valid[:, :, start : start + per]
            right = moved.gather(2, places) * counts
            solved = _triangular(inverse, group, places.flatten(0, 1), counts.flatten(0, 1), right.flatten(0, 1))
            solved = solved.view_as(right)
            cost += float((solved.abs() * roots[:, None, :].expand(g, o, d).gather(2, places)).sum())
            moved -= torch.zeros_like(weight).scatter_(2, places, solved) @ inverse
    return moved, cost


def _triangular(inverse: Tensor, group: Tensor, index: Tensor, valid: Tensor, right: Tensor) -> Tensor:
    """Solve the lower triangle of each output's block of the inverse: [R, k] -> [R, k]."""
    found = torch.empty_like(right)
    for rows in chunks(len(right), index.shape[1] ** 2):
        part = submatrices(inverse, group[rows], index[rows], valid[rows])
        found[rows] = torch.linalg.solve_triangular(part, right[rows].unsqueeze(2), upper=False).squeeze(2)
    return found * valid


def _on_supports(
    weight: Tensor, fallen: Tensor, scores: Tensor, alive: Tensor, damped: Damped, sweeps: int
) -> tuple[Tensor, float]:
    """The same with an inverse for each output, of what lives in it."""
    g, o, d = weight.shape
    support, valid = packed(alive.reshape(g * o, d))
    group = torch.arange(g, device=weight.device).repeat_interleave(o)
    moved, cost = weight.reshape(g * o, d).clone(), 0.0
    for rows in chunks(g * o, 3 * support.shape[1] ** 2):
        places, counts = support[rows], valid[rows]
        part = submatrices(damped.matrix, group[rows], places, counts)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(part))
        here, falling, order = (
            value.reshape(g * o, d)[rows].gather(1, places).unsqueeze(1) for value in (weight, fallen, scores)
        )
        after, spent = _swept(
            here * counts.unsqueeze(1), *_order(falling & counts.unsqueeze(1), order), inverse, sweeps
        )
        kept = torch.zeros_like(moved[rows]).scatter_add(1, places, after.squeeze(1) * counts)
        moved[rows], cost = kept, cost + spent
    return moved.view(g, o, d), cost
