"""OBC: exact greedy OBS in each output, the inverse brought down after every removal; outputs merged by what they paid.

Source: Frantar and Alistarh, "Optimal Brain Compression", 2022, algorithms 1 and 2. What a removal costs mostly grows
from one to the next, but not always, so that taking the cheapest removals of all outputs is a heuristic; an output
keeps as many of its first removals as it has among them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ticketcli.criteria.layerwise.inverse import Damped, chunks, packed, submatrices
from ticketcli.criteria.layerwise.ranking import smallest
from ticketcli.errors import UsageError

MOST_INPUTS = 1152


def require_size(inputs: int) -> None:
    """Raise where it would take days: its cost is outputs times inputs cubed, bound by memory."""
    if inputs > MOST_INPUTS:
        raise UsageError(
            f"obc on a layer of {inputs} inputs: above {MOST_INPUTS} it takes hours or days",
            where="criterion: obc",
            hint="use lobs_refit, or let it stand in for the layers that are too large",
        )


def traces(weight: Tensor, alive: Tensor, damped: Damped) -> tuple[Tensor, Tensor]:
    """Remove every living weight, one after the other: what each cost, and its place in its output's order.

    Returns:
        costs [g, o, d], in units of E, zeros where nothing lived; places int64 [g, o, d], d where nothing lived.
    """
    g, o, d = weight.shape
    support, valid = packed(alive.reshape(g * o, d))
    group = torch.arange(g, device=weight.device).repeat_interleave(o)
    costs, places = weight.new_zeros(g * o, d), torch.full((g * o, d), d, device=weight.device)
    for rows in chunks(g * o, 3 * max(1, support.shape[1]) ** 2):
        here, counts = support[rows], valid[rows]
        part = submatrices(damped.matrix, group[rows], here, counts)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(part))
        free = damped.dead[group[rows]].gather(1, here)
        cost, place = _greedy(weight.reshape(g * o, d)[rows].gather(1, here), counts, free, inverse)
        # a row's unused entries point at places that live elsewhere in it: add nothing there
        costs[rows] = costs[rows].scatter_add(1, here, torch.where(counts, cost, 0.0))
        places[rows] = places[rows].scatter_add(1, here, torch.where(counts, place - d, 0))
    return costs.view(g, o, d), places.view(g, o, d)


def _greedy(weight: Tensor, valid: Tensor, free: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """All removals of R outputs at once: costs and places [R, k].

    `inverse` [R, k, k] is brought down, and made smaller each time that half of its inputs are gone.
    """
    n_rows, k = weight.shape
    rows = torch.arange(n_rows, device=weight.device)
    costs, places = weight.new_zeros(n_rows, k), torch.full((n_rows, k), k, device=weight.device)
    names = torch.arange(k, device=weight.device).expand(n_rows, k)
    present, weight, free = valid.clone(), weight.clone(), free.clone()
    for step in range(k):
        score = torch.where(free, 0.0, weight.square() / inverse.diagonal(dim1=1, dim2=2))
        pick = torch.where(present, score, float("inf")).argmin(dim=1)  # the first of equals
        on = present[rows, pick]
        name = names[rows, pick]
        costs[rows, name] = torch.where(on, score[rows, pick], costs[rows, name])
        places[rows, name] = torch.where(on, step, places[rows, name])
        column = inverse[rows, :, pick]  # [R, k]
        pivot = column[rows, pick]
        scaled = torch.where(on, 1 / pivot, 0.0).unsqueeze(1) * column
        weight -= weight[rows, pick].unsqueeze(1) * scaled
        inverse.baddbmm_(column.unsqueeze(2), scaled.unsqueeze(1), alpha=-1)
        present[rows, pick] = False
        weight[rows, pick] = 0.0
        inverse[rows, pick, pick] = 1.0  # its row and column are zero but for rounding, and are never read again
        left = k - step - 1
        if left and left * 2 <= weight.shape[1]:
            index, counts = packed(present)
            if index.shape[1] * 2 > weight.shape[1]:
                continue
            inverse = submatrices(inverse, rows, index, counts)
            weight, free, names = (value.gather(1, index) for value in (weight, free, names))
            present, weight = counts, weight * counts
    return costs, places


def chosen(costs: Tensor, places: Tensor, alive: Tensor, count: int) -> Tensor:
    """What falls: of each output its first removals, as many as it has among the `count` cheapest of the layer."""
    counts = smallest(costs, alive, count).sum(dim=2, keepdim=True)
    return (places < counts) & alive
