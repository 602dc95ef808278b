"""The exact least-squares weights on a support: the best that what is kept can do."""

from __future__ import annotations

import torch
from torch import Tensor

from ticketcli.criteria.layerwise.inverse import Damped, chunks, packed, submatrices


def refit(weight: Tensor, kept: Tensor, damped: Damped, inverse: Tensor) -> Tensor:
    """Each output's weights that change what it gives least, with zeros where nothing is kept: [g, o, d].

    Of the kept K and the others P the smaller side is solved: ``w_K + C_KK^-1 C_KP w_P``, or
    ``w - C^-1[:, P] (C^-1[P, P])^-1 w_P``.

    Source: the normal equations; and Hassibi and Stork's formula for a set.
    """
    g, o, d = weight.shape
    flat, support = weight.reshape(g * o, d), kept.reshape(g * o, d)
    group = torch.arange(g, device=weight.device).repeat_interleave(o)
    few = support.sum(dim=1) * 2 <= d  # rows that keep the smaller half
    found = flat.clone()
    for rows in (few.nonzero().squeeze(1), (~few).nonzero().squeeze(1)):
        if len(rows) == 0:
            continue
        solve = _on_kept if bool(few[rows[0]]) else _on_fallen
        matrix = damped.matrix if solve is _on_kept else inverse
        side = support[rows] if solve is _on_kept else ~support[rows]
        order = torch.argsort(side.sum(dim=1), stable=True)  # outputs of about equal size together
        rows, side = rows[order], side[order]
        for part in _even(side.sum(dim=1), 0 if g == 1 else d):
            found[rows[part]] = solve(flat[rows[part]], side[part], matrix, group[rows[part]])
    return (torch.where(support, found, torch.zeros_like(found))).view(g, o, d)


def _even(sizes: Tensor, least: int) -> list[slice]:
    """Slices of ascending sizes that fit into memory, the largest of each at most a quarter above its smallest.

    Args:
        sizes: of the systems, ascending.
        least: side of a matrix that each row holds anyway.
    """
    found, start = [], 0
    values = sizes.tolist()
    while start < len(values):
        end = start
        while end < len(values) and values[end] <= 1.25 * values[start] + 8:
            end += 1
        for part in chunks(end - start, 2 * max(values[end - 1], least) ** 2):
            found.append(slice(start + part.start, start + part.stop))
        start = end
    return found


def _on_kept(weight: Tensor, kept: Tensor, matrix: Tensor, group: Tensor) -> Tensor:
    index, valid = packed(kept)
    if index.shape[1] == 0:
        return torch.zeros_like(weight)
    fallen = torch.where(kept, torch.zeros_like(weight), weight)
    change = _solved(matrix, group, index, valid, _times(fallen, matrix, group))
    return torch.where(kept, weight, torch.zeros_like(weight)).scatter_add(1, index, change)


def _on_fallen(weight: Tensor, fallen: Tensor, inverse: Tensor, group: Tensor) -> Tensor:
    index, valid = packed(fallen)
    if index.shape[1] == 0:
        return weight
    removed = torch.zeros_like(weight).scatter_add(1, index, _solved(inverse, group, index, valid, weight))
    return weight - _times(removed, inverse, group)


def _times(rows: Tensor, matrix: Tensor, group: Tensor) -> Tensor:
    """Each row [R, d] times its group's matrix."""
    return rows @ matrix[0] if len(matrix) == 1 else torch.bmm(rows.unsqueeze(1), matrix[group]).squeeze(1)


def _solved(matrix: Tensor, group: Tensor, index: Tensor, valid: Tensor, right: Tensor) -> Tensor:
    """The solutions [R, k] of each output's own system, zeros where not valid."""
    factor = torch.linalg.cholesky(submatrices(matrix, group, index, valid))
    side = (right.gather(1, index) * valid).unsqueeze(2)
    return torch.cholesky_solve(side, factor).squeeze(2) * valid
