"""Knockoffs from a trained network that sees the data and noise, judged by what an exchange changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ticketcli.channels.knockoffs.gaussian import Moments
from ticketcli.channels.knockoffs.learning import load_state_of, state_of
from ticketcli.channels.knockoffs.mmd import mmd2
from ticketcli.channels.knockoffs.source import swapped
from ticketcli.errors import MismatchError
from ticketcli.tensors.global_draws import global_draws
from ticketcli.tensors.seeds import derive

_CONSTANT = 1e-10  # of the largest variance: what is below is the rounding of a difference


@dataclass(frozen=True)
class DeepSettings:
    """How it is built and what it is trained for.

    Attributes:
        width: units of both hidden layers.
        gamma: weight of the discrepancies under a full and under a random exchange.
        lam: weight of the gaps of mean and covariances.
        delta: weight of the distance to the wanted correlation of values with their controls.
        lr: of Adam.
    """

    width: int = 128
    gamma: float = 1.0
    lam: float = 1.0
    delta: float = 1.0
    lr: float = 1e-3


class DeepKnockoffs:
    """A network from p values and as many of noise to p controls; a `KnockoffSource` and a `Learner`.

    Args:
        moments: of the data; values are standardised with them.
        target: wanted correlation of each value with its control, [p]; of Gaussian knockoffs, `correlations`.
        settings: sizes and weights.
        seed: of the first weights.
        device: where it works.

    Source: Romano, Sesia and Candes, "Deep knockoffs", 2020, the loss; the kernels' widths follow the batch.
    """

    def __init__(
        self,
        moments: Moments,
        target: Tensor,
        settings: DeepSettings,
        *,
        seed: int,
        device: torch.device | None = None,
    ) -> None:
        device, p, width = device or torch.device("cpu"), len(moments.mean), settings.width
        self.settings, self.steps = settings, 0
        self._mean, variances = moments.mean.float().to(device), moments.covariance.diagonal().float().to(device)
        varies = variances > _CONSTANT * variances.max()
        self._scale = torch.where(varies, variances.clamp(min=0).sqrt(), 1.0)
        self._target = target.float().to(device)
        with global_draws(derive(seed, "deep knockoffs"), torch.device("cpu")):
            layers = [nn.Linear(2 * p, width), nn.PReLU(), nn.Linear(width, width), nn.PReLU(), nn.Linear(width, p)]
            self._network = nn.Sequential(*layers).to(device)
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=settings.lr)

    def _controls(self, standard: Tensor, draw: torch.Generator) -> Tensor:
        noise = torch.randn(standard.shape, generator=draw).to(standard.device)
        found: Tensor = self._network(torch.cat([standard, noise], dim=1))
        return found

    def _standard(self, x: Tensor) -> Tensor:
        rows = x.flatten(1)
        if rows.shape[1] != len(self._mean):
            raise MismatchError(f"made for {len(self._mean)} values, got {rows.shape[1]}", where="knockoff")
        return (rows.to(self._mean) - self._mean) / self._scale

    @torch.no_grad()
    def __call__(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """Controls of [N, ...], p values each."""
        found = self._controls(self._standard(x), draw) * self._scale + self._mean
        return found.view(x.shape).to(x)

    def step(self, x: Tensor, draw: torch.Generator) -> dict[str, float]:
        """Learn from a batch of four or more."""
        rows = self._standard(x)
        controls = self._controls(rows, draw)
        parts = {
            "exchange": self._exchange(rows, controls, draw),
            "moments": _moment_gap(rows, controls),
            "correlation": (_correlations(rows, controls) - self._target).square().mean(),
        }
        weights = (self.settings.gamma, self.settings.lam, self.settings.delta)
        loss = sum((weight * part for weight, part in zip(weights, parts.values(), strict=True)), torch.zeros(()))
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.steps += 1
        return {name: float(part.detach()) for name, part in parts.items()}

    def _exchange(self, rows: Tensor, controls: Tensor, draw: torch.Generator) -> Tensor:
        """Discrepancies between the pairs of one half and the exchanged pairs of the other."""
        half = len(rows) // 2
        pairs = torch.cat([rows[:half], controls[:half]], dim=1)
        full = torch.cat([controls[half:], rows[half:]], dim=1)
        which = (torch.rand(rows.shape[1], generator=draw) < 0.5).to(rows.device)
        partial = torch.cat(swapped(rows[half:], controls[half:], which), dim=1)
        return mmd2(pairs, full) + mmd2(pairs, partial)

    def state(self) -> dict[str, Any]:
        """To be saved; see `load`."""
        return {"steps": self.steps, **state_of({"network": self._network}, {"network": self._optimizer})}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.steps = state["steps"]
        load_state_of({"network": self._network}, {"network": self._optimizer}, state)


def _moment_gap(x: Tensor, control: Tensor) -> Tensor:
    """Squared gaps of the means, of the covariances, and of the covariance between the two off its diagonal."""
    a, b = x - x.mean(dim=0), control - control.mean(dim=0)
    sigma, sigma_b, cross = (left.T @ right / len(x) for left, right in ((a, a), (b, b), (a, b)))
    off = 1 - torch.eye(len(sigma), device=x.device)
    gaps = (sigma - sigma_b).square().sum() + ((sigma - cross) * off).square().sum()
    means = (x.mean(dim=0) - control.mean(dim=0)).square().sum() / x.shape[1]
    return means + gaps / sigma.square().sum().clamp(min=1e-12)


def _correlations(x: Tensor, control: Tensor) -> Tensor:
    a, b = x - x.mean(dim=0), control - control.mean(dim=0)
    return (a * b).mean(dim=0) / (a.square().mean(dim=0) * b.square().mean(dim=0)).clamp(min=1e-12).sqrt()
