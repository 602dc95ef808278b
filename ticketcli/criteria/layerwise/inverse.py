"""Inverses of second moments: damped, by Cholesky in float64. Never a pseudo-inverse.

In directions that inputs never took, a pseudo-inverse is zero, and a weight that does nothing gets an infinite score;
damping gives the inverse a large value there, and the weight the small score that it deserves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ticketcli.criteria.layerwise.gram import Gram
from ticketcli.errors import DivergedError, UsageError
from ticketcli.tensors.finite import is_finite

FEW, ENOUGH = 1e-2, 1e-4  # damping with fewer and with at least ten columns for each input
_COLUMNS = 10
_LEAST = 1e-8  # where no damping was asked for and the matrix turns out not to be definite
_TRIES = 6
SUPPORT_LIMIT = 10**12  # multiply-adds of inverting a matrix for each output, above which all share one
_CHUNK = 1 << 21  # numbers gathered at once, 16 MB: larger pieces of memory are fetched from the system each time


@dataclass(frozen=True)
class Damped:
    """Second moments made safely invertible.

    Attributes:
        matrix: C plus damping times the mean of the living diagonal: [g, d, d], positive definite.
        factor: its lower Cholesky factor.
        dead: [g, d]; inputs that never vary (or are never other than zero). Theirs is a place on the diagonal alone.
        damping: the largest that a group needed.
    """

    matrix: Tensor
    factor: Tensor
    dead: Tensor
    damping: float

    def inverse(self) -> Tensor:
        """[g, d, d], symmetric."""
        return torch.cholesky_inverse(
            self.factor
        ).mT.contiguous()  # LAPACK gives it column by column; rows are gathered

    def condition(self, inverse: Tensor) -> float:
        """In the 1-norm, exactly; of the worst group."""
        return float((self.matrix.abs().sum(dim=1).amax(dim=1) * inverse.abs().sum(dim=1).amax(dim=1)).max())


def default_damping(n: int, inputs: int) -> float:
    """1e-2 with fewer than ten columns for each input, as SparseGPT has it; 1e-4 otherwise."""
    return FEW if n < _COLUMNS * inputs else ENOUGH


def damped(gram: Gram, damping: float | None = None) -> Damped:
    """Damp and factor; where that fails, with ten times the damping, at most six times.

    An input whose second moment is zero is dead: it gets the mean of the others' in its place on the diagonal, which
    changes nothing but lets the factor exist; weights that read it cost nothing.

    Args:
        gram: the moments, centred or not.
        damping: share of the mean of the living diagonal; None is `default_damping`.

    Raises:
        UsageError: negative damping.
        DivergedError: moments that are not finite, or that no damping makes definite.
    """
    if damping is not None and not 0 <= damping < float("inf"):
        raise UsageError(
            f"damping is {damping}", where="damping", hint="a share of the mean second moment, such as 0.01"
        )
    require_finite(gram)
    share = default_damping(gram.n, gram.inputs) if damping is None else damping
    diagonal = gram.second.diagonal(dim1=1, dim2=2)  # [g, d]
    dead = diagonal <= 0
    mean = diagonal.clamp(min=0).sum(dim=1) / (~dead).sum(dim=1).clamp(min=1)  # [g]
    mean = torch.where(mean > 0, mean, torch.ones_like(mean))
    living = (~dead).to(gram.second)
    matrix = gram.second * living[:, :, None] * living[:, None, :] if bool(dead.any()) else gram.second.clone()
    places = matrix.diagonal(dim1=1, dim2=2)
    places += dead * mean[:, None]
    shares = torch.full_like(mean, share)
    places += (shares * mean)[:, None]
    for _ in range(_TRIES):
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if not bool(failed.any()):
            return Damped(matrix, factor, dead, float(shares.max()))
        more = torch.where(failed > 0, (10 * shares).clamp(min=_LEAST), shares)
        places += ((more - shares) * mean)[:, None]
        shares = more
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed.any()):
        raise DivergedError(
            f"the second moments are not positive definite, even with damping {float(shares.max()):g}",
            where="calibration",
            hint="give a larger damping, or look for inputs that are not finite",
        )
    return Damped(matrix, factor, dead, float(shares.max()))


def require_finite(gram: Gram) -> None:
    """Raise where a moment is infinite or not a number."""
    if not (is_finite(gram.second) and is_finite(gram.mean)):
        raise DivergedError("the second moments of the inputs are not finite", where="calibration",
                            hint="an activation overflowed: look at the weights and at the images")  # fmt: skip


def submatrices(matrix: Tensor, group: Tensor, index: Tensor, valid: Tensor) -> Tensor:
    """The rows and columns `index` of a group's matrix, for each of R outputs; ones on the diagonal where not `valid`.

    Args:
        matrix: [g, d, d].
        group: [R], which group's.
        index: [R, k], in whatever order; anything where not valid.
        valid: [R, k].

    Returns:
        [R, k, k].
    """
    d = matrix.shape[1]
    places = (group[:, None] * d + index).mul_(d).unsqueeze(2) + index.unsqueeze(1)  # in the flat matrices
    found = matrix.reshape(-1).index_select(0, places.flatten()).view(places.shape)
    if not bool(valid.all()):
        found *= valid[:, :, None]
        found *= valid[:, None, :]
        found.diagonal(dim1=1, dim2=2).add_((~valid).to(found))
    return found


def chunks(n_rows: int, size: int) -> Iterator[slice]:
    """Outputs in turn, as many at once as may hold `size` numbers each."""
    per = max(1, _CHUNK // max(1, size))
    for start in range(0, n_rows, per):
        yield slice(start, min(n_rows, start + per))


def packed(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The chosen places of each row [R, d], first and ascending: indices [R, k] and which of them count, [R, k]."""
    counts = chosen.sum(dim=1)
    most = int(counts.max()) if len(counts) else 0
    order = torch.sort((~chosen).to(torch.uint8), dim=1, stable=True).indices[:, :most]
    return order, torch.arange(most, device=chosen.device) < counts[:, None]


def support_affordable(alive: Tensor) -> bool:
    """Whether an inverse for each output, on what lives there, stays below `SUPPORT_LIMIT` multiply-adds."""
    return float(alive.sum(dim=-1).double().pow(3).sum()) <= SUPPORT_LIMIT


def woodbury(columns: Tensor, alpha: float) -> Tensor:
    """``(C + I / alpha)^-1`` by one rank-one update for each column: [n, d] -> [d, d].

    Costs n d^2 where a Cholesky factor costs d^3 / 3: for streams, and as a check. Its damping is absolute.

    Source: Dong et al., equation 4, and the Sherman-Morrison formula.
    """
    n, d = columns.shape
    found = alpha * torch.eye(d, dtype=columns.dtype, device=columns.device)
    for column in columns:
        moved = found @ column
        found -= torch.outer(moved, moved) / (n + column @ moved)
    return found
