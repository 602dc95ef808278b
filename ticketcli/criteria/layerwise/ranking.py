"""Which weights of one layer are smallest by score: exact counts, ties decided by the flat index."""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor

from ticketcli.errors import UsageError

Pattern = tuple[int, int]


def smallest(scores: Tensor, among: Tensor, count: int) -> Tensor:
    """The `count` smallest scores among some weights, in the order (score, flat index): bool, in their shape."""
    flat, allowed = scores.reshape(-1).cpu().numpy(), among.reshape(-1).cpu().numpy()
    fallen = np.zeros(flat.shape, dtype=np.bool_)
    if count > 0:
        places = np.flatnonzero(allowed)
        values = flat[places]
        bound = np.partition(values, count - 1)[count - 1]
        below = values < bound
        ties = np.flatnonzero(values == bound)[: count - int(below.sum())]
        fallen[places[below]] = True
        fallen[places[ties]] = True
    return torch.from_numpy(fallen).view(scores.shape).to(scores.device)


def shares(sizes: Tensor, count: int) -> list[int]:
    """`count` divided in proportion to the sizes, exactly, by rounding their running sum: never more than a size."""
    ends = [0, *accumulate(int(size) for size in sizes.tolist())]
    marks = [(2 * end * count + ends[-1]) // max(1, 2 * ends[-1]) for end in ends]  # halves up, in whole numbers
    return [mark - before for before, mark in pairwise(marks)]


def smallest_by_row(scores: Tensor, among: Tensor, count: int) -> Tensor:
    """`count` in all, the same share of each row, and there the smallest: [R, d]."""
    quotas = torch.tensor(shares(among.sum(dim=1), count), device=scores.device)
    ranks = row_ranks(scores, among)
    return (ranks < quotas[:, None]) & among


def row_ranks(scores: Tensor, among: Tensor) -> Tensor:
    """Each weight's place in its row's order (score, index) among those allowed; the others come after: [R, d]."""
    keyed = torch.where(among, scores, torch.full_like(scores, float("inf")))
    order = torch.sort(keyed, dim=1, stable=True).indices
    places = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def by_pattern(scores: Tensor, among: Tensor, pattern: Pattern) -> Tensor:
    """All but the n largest of each m neighbours: [..., d], d divisible by m. Dead ones count as fallen already."""
    kept, of = pattern
    grouped = torch.where(among, scores, torch.full_like(scores, -1.0)).reshape(-1, of)
    order = torch.sort(grouped, dim=1, stable=True).indices
    fallen = torch.zeros_like(grouped, dtype=torch.bool).scatter_(1, order[:, : of - kept], True)
    return fallen.view(scores.shape) & among


def require_pattern(pattern: Pattern, inputs: int) -> None:
    """Raise where n of m cannot be kept, or m does not divide the inputs."""
    kept, of = pattern
    words = f"{kept}:{of}"
    if not 1 <= kept < of:
        raise UsageError(f"pattern {words}", where="pattern", hint="n of m neighbours are kept, n below m: 2:4")
    if inputs % of:
        raise UsageError(f"pattern {words} where a weight has {inputs} inputs", where="pattern",
                         hint=f"leave out layers whose inputs {of} does not divide, such as the first")  # fmt: skip
