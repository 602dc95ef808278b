"""Gaussian knockoffs: exact second-order controls of whatever has a known mean and covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ticketcli.channels.knockoffs.roots import symmetric_root
from ticketcli.errors import MismatchError, UsageError

_SINGULAR = 1e-12  # smallest eigenvalue of a correlation matrix, by feature, below which there is no room for noise


@dataclass(frozen=True)
class Moments:
    """Of n rows of p values: `mean` float64 [p], `covariance` float64 [p, p] (divided by n)."""

    mean: Tensor
    covariance: Tensor
    n: int


class MomentSums:
    """Mean and covariance of rows that come a batch at a time; may be saved in between."""

    def __init__(self, p: int) -> None:
        self._n, self._sum = 0, torch.zeros(p, dtype=torch.float64)
        self._squares = torch.zeros(p, p, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Take account of rows [n, p]."""
        values = rows.detach().to("cpu", torch.float64)
        self._n += len(values)
        self._sum += values.sum(dim=0)
        self._squares += values.T @ values

    def state(self) -> dict[str, Any]:
        """What has been added, to go on from; see `load`."""
        return {"n": self._n, "sum": self._sum, "squares": self._squares}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self._n, self._sum, self._squares = state["n"], state["sum"].clone(), state["squares"].clone()

    def moments(self) -> Moments:
        """Of all rows so far.

        Raises:
            UsageError: there are fewer than two.
        """
        if self._n < 2:
            raise UsageError("a covariance needs two rows", where="knockoff")
        mean = self._sum / self._n
        return Moments(mean, self._squares / self._n - torch.outer(mean, mean), self._n)


def positions(features: Tensor) -> Tensor:
    """A map [N, C, h, w] as rows [N h w, C]: each position is one."""
    return features.movedim(1, -1).flatten(0, -2)


class GaussianKnockoffs:
    """Equi-correlated second-order knockoffs, of single values or of groups; a `KnockoffSource`.

    ``X~ = X - (X - mu) Sigma^-1 D + N(0, 2 D - D Sigma^-1 D)`` for rows X, with D of blocks: ``share`` times the
    groups' own covariance, as large as it can be with one share for all. On natural images the smallest eigenvalue, and
    so the share, is nearly 0, and controls are copies: there use groups of pixels, or features position by position.

    Args:
        moments: of the rows.
        groups: int64 [p], the group of each value; values of a group are exchanged together. By default each is alone.
        tolerance: how far the share stays below its limit, in [0, 1); 0 makes the joint covariance singular.
        by_position: the rows are the positions of maps [N, p, h, w], rather than images of p values in all.

    Attributes:
        share: 1: a value says nothing about its control but through the others; 0: controls are copies.
        d: D, float64 [p, p]; diagonal without groups.

    Raises:
        MismatchError: shapes do not fit.

    Source: Barber and Candes, 2015, equi-correlated; Dai and Barber, 2016, groups; Candes et al., 2018, second order.
    """

    def __init__(
        self,
        moments: Moments,
        *,
        groups: Tensor | None = None,
        tolerance: float = 1e-3,
        by_position: bool = False,
    ) -> None:
        p = len(moments.mean)
        groups = torch.arange(p) if groups is None else groups
        if moments.covariance.shape != (p, p) or groups.shape != (p,):
            raise MismatchError(f"{p} means, a covariance {tuple(moments.covariance.shape)}, {len(groups)} groups")
        self.by_position, self._mean = by_position, moments.mean
        self._variances = moments.covariance.diagonal().clamp(min=0)
        sizes = self._variances.sqrt()
        alive = sizes > 0  # a value that never varies is its own control
        self.share, self.d = 0.0, torch.zeros(p, p, dtype=torch.float64)
        self._pull, self._root = self.d.clone(), self.d.clone()
        if bool(alive.any()):
            own = sizes[alive]
            correlation = moments.covariance[alive][:, alive] / torch.outer(own, own)
            within = groups[alive][:, None] == groups[alive][None, :]
            self.share = (1 - tolerance) * _room(correlation, within)
            if self.share > 0:
                d = torch.outer(own, own) * correlation * within * self.share
                self._set(alive, moments.covariance[alive][:, alive], d)

    def _set(self, alive: Tensor, covariance: Tensor, d: Tensor) -> None:
        pull = torch.linalg.solve(covariance, d)
        place = torch.nonzero(alive).flatten()
        root = symmetric_root(2 * d - d @ pull, what="Gaussian knockoffs")
        for whole, part in ((self.d, d), (self._pull, pull), (self._root, root)):
            whole[place[:, None], place] = part

    @property
    def s(self) -> Tensor:
        """The diagonal of D, float64 [p]: variance of a value less its covariance with its control."""
        return self.d.diagonal()

    @property
    def noise(self) -> Tensor:
        """V, the covariance of what is random, float64 [p, p]."""
        return self._root @ self._root

    @property
    def correlations(self) -> Tensor:
        """What a value's correlation with its control is, float64 [p]: 1 - s / variance."""
        return torch.where(self._variances > 0, 1 - self.s / self._variances, 1.0)

    @torch.no_grad()
    def __call__(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """Controls of images [N, ...] of p values each, or of maps [N, p, h, w] position by position.

        Raises:
            MismatchError: there are not p values.
        """
        rows = positions(x) if self.by_position else x.flatten(1)
        if rows.shape[1] != len(self._mean):
            raise MismatchError(
                f"made for rows of {len(self._mean)} values, got {rows.shape[1]}",
                where="knockoff",
                hint="fit the knockoffs on what they are to be made of",
            )
        values, noise = rows.double(), torch.randn(rows.shape, dtype=torch.float64, generator=draw)
        mean, pull, root = (part.to(x.device) for part in (self._mean, self._pull, self._root))
        found = (values - (values - mean) @ pull + noise.to(x.device) @ root).to(x.dtype)
        if not self.by_position:
            return found.view(x.shape)
        return found.view(x.shape[0], *x.shape[2:], x.shape[1]).movedim(-1, 1)


def _room(correlation: Tensor, within: Tensor) -> float:
    """The largest share that leaves the joint covariance positive semi-definite, at most 1."""
    if float(torch.linalg.eigvalsh(correlation)[0]) <= _SINGULAR * len(correlation):
        return 0.0
    values, vectors = torch.linalg.eigh(correlation * within)
    inverse_root = vectors * values.rsqrt() @ vectors.T
    return min(1.0, 2 * float(torch.linalg.eigvalsh(inverse_root @ correlation @ inverse_root)[0]))
