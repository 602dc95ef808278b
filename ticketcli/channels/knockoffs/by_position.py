"""Trained controls of feature maps, position by position: each of them is a row of as many values as channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ticketcli.channels.knockoffs.deep import DeepKnockoffs
from ticketcli.channels.knockoffs.gaussian import positions


class ByPosition:
    """Knockoffs of rows, made of and trained on maps [N, C, h, w]; a `KnockoffSource` and a `Learner`.

    Args:
        source: of rows of C values.
        most: rows that a step learns from, drawn from all positions of its batch; the loss compares each with each.
    """

    def __init__(self, source: DeepKnockoffs, *, most: int = 512) -> None:
        self._source, self._most, self.steps = source, most, source.steps

    def __call__(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """Controls of maps."""
        found = self._source(positions(x), draw)
        return found.view(x.shape[0], *x.shape[2:], x.shape[1]).movedim(-1, 1)

    def step(self, x: Tensor, draw: torch.Generator) -> dict[str, float]:
        """Learn from some positions of a batch of maps."""
        found = self._source.step(some(positions(x), self._most, draw), draw)
        self.steps = self._source.steps
        return found

    def state(self) -> dict[str, Any]:
        """To be saved; see `load`."""
        return self._source.state()

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self._source.load(state)
        self.steps = self._source.steps


def some(rows: Tensor, most: int, draw: torch.Generator) -> Tensor:
    """At most so many of the rows, in random order."""
    return rows[torch.randperm(len(rows), generator=draw)[:most].to(rows.device)]
