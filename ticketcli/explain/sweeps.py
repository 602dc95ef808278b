"""Sweeps of FR and FSP: a forward that scores, a backward that says which gates should be open, until nothing moves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ticketcli.errors import DivergedError
from ticketcli.explain.passes import Gates, Receive, forward, gates_for, held
from ticketcli.explain.score import Score
from ticketcli.explain.thresholds import opened, without_border
from ticketcli.explain.tracing import Traced
from ticketcli.tensors.finite import is_finite

Guard = Literal["backtrack", "none"]


@dataclass(frozen=True)
class Rules:
    """How sweeps are done.

    Attributes:
        algorithm: `fr`: a gate is open where the gradient behind it is positive, gates above it already moved; `fsp`:
            where that times gate and slope of the ReLU is, gates above it as they were: so gates only close.
        max_sweeps, tolerance: where they end, image by image: when no gate moves, or the score by no more than
            tolerance (1 + |score|).
        ratio, border: the threshold of `opened`; whether the outermost pixels of maps take no part.
        guard: what FSP does where a sweep lowers a score.
    """

    algorithm: Literal["fr", "fsp"] = "fr"
    max_sweeps: int = 10
    tolerance: float = 1e-6
    ratio: float = 0.0
    border: bool = False
    guard: Guard = "backtrack"


@dataclass(frozen=True)
class Swept:
    """Where sweeps ended.

    Attributes:
        gates: name -> bool, of the shape of what the gate reads.
        scores: [N, T + 1], before and after each sweep.
        still: bool [N], which images stand still.
        last: the forward with these gates, which nothing has gone back from.
    """

    gates: dict[str, Tensor]
    scores: Tensor
    still: Tensor
    last: Pass


class Pass:
    """One forward through the gates, and what goes back from it, once.

    Attributes:
        scores: [N].
    """

    def __init__(self, network: Traced, images: Tensor, score: Score, gates: Gates) -> None:
        self._images = images.detach().clone().requires_grad_()
        self._asked = _Asked()
        with torch.enable_grad():
            self._scores = score.of(forward(network, self._images, gates, score.node, self._asked))
        self.scores = self._scores.detach()
        require_scores(self.scores)

    def back(self, receive: Receive) -> Tensor:
        """The gradient of the images, [N, 3, H, W], each gate's gradient given to `receive`."""
        self._asked.receive = receive
        (found,) = torch.autograd.grad(self._scores.sum(), self._images)
        return found


class _Asked:
    """What gates call on the way back. The graph holds it, so it must not hold the graph: that would never be freed."""

    receive: Receive = staticmethod(held)

    def __call__(self, name: str, gradient: Tensor, is_open: Tensor, positive: Tensor) -> Tensor:
        return self.receive(name, gradient, is_open, positive)


def require_scores(scores: Tensor) -> None:
    """Refuse scores that are no finite numbers.

    Raises:
        DivergedError: at least one is not.
    """
    if not is_finite(scores):
        raise DivergedError(
            "a score is not a finite number",
            where="the network's output",
            hint="look at the images and the weights; scores that only grow too large are finite in float64",
        )


def proposals(rules: Rules, found: dict[str, Tensor]) -> Receive:
    """A sweep's way back: fills `found` with which gates should be open, by name.

    Sums of the batch go back, and no image reaches another's: so one way back is one of each image.
    """

    def fr(name: str, gradient: Tensor, _is_open: Tensor, _positive: Tensor) -> Tensor:
        gradient = without_border(gradient) if rules.border else gradient
        found[name] = opened(gradient, rules.ratio)
        return gradient * found[name]

    def fsp(name: str, gradient: Tensor, is_open: Tensor, positive: Tensor) -> Tensor:
        passed = gradient * is_open
        before = passed * positive
        found[name] = opened(without_border(before) if rules.border else before, rules.ratio)
        return passed

    return fr if rules.algorithm == "fr" else fsp


def sweep_until_still(
    network: Traced, images: Tensor, score: Score, rules: Rules, *, start: Gates | None = None,
    movable: Collection[str] | None = None,
) -> Swept:  # fmt: skip
    """Sweep until no image moves: one forward and one backward of the whole batch each, and a last forward.

    An image that stands still keeps its gates and its score.

    Args:
        network: with its gates.
        images: [N, 3, H, W].
        score: of each image.
        rules: of the sweeps.
        start: gates to begin with; those that are missing are open.
        movable: the gates that may move; by default all that the score goes through.
    """
    may_move = {gate.name for gate in gates_for(network, score.node) if movable is None or gate.name in movable}
    gates: dict[str, Tensor] = dict(start or {})
    current = Pass(network, images, score, gates)
    scores = [current.scores]
    moving = torch.ones(len(images), dtype=torch.bool, device=images.device)
    for _ in range(rules.max_sweeps):
        proposed: dict[str, Tensor] = {}
        current.back(proposals(rules, proposed))
        proposed = {gate.name: proposed[gate.name] for gate in network.gates if gate.name in proposed}
        gates = {name: gates.get(name, torch.ones_like(one)) for name, one in proposed.items()}
        new = {
            name: torch.where(_rows(moving, one), one, gates[name]) if name in may_move else gates[name]
            for name, one in proposed.items()
        }
        current = Pass(network, images, score, new)
        worse = moving & (current.scores < scores[-1])
        if rules.algorithm == "fsp" and rules.guard == "backtrack" and bool(worse.any()):
            del current  # two graphs at once would be twice the memory
            new = backtracked(network, images, score, gates, new, scores[-1], torch.where(worse)[0])
            current = Pass(network, images, score, new)
        after = torch.where(moving, current.scores, scores[-1])
        moving = moving & ~_stands_still(gates, new, scores[-1], after, rules.tolerance)
        gates = new
        scores.append(after)
        if not bool(moving.any()):
            break
    return Swept(gates, torch.stack(scores, dim=1), ~moving, current)


@torch.no_grad()
def backtracked(
    network: Traced, images: Tensor, score: Score, old: Gates, new: Gates, before: Tensor, rows: Tensor
) -> dict[str, Tensor]:
    """The new gates; for the images `rows` only of layers which, one after the other from the image on, lower no score.

    It costs as many forwards of these images as there are gates. Where all layers together lower nothing there is
    nothing to take back: so a sweep that does no harm costs none.
    """
    some, part = images[rows], score.only(rows)
    gates = {name: one[rows] for name, one in old.items()}
    best = before[rows]
    for name in gates:
        tried = {**gates, name: new[name][rows]}
        reached = part.of(forward(network, some, tried, part.node))
        accepted = reached >= best
        best = torch.where(accepted, reached, best)
        gates[name] = torch.where(_rows(accepted, gates[name]), tried[name], gates[name])
    found = {}
    for name, one in new.items():
        found[name] = one.clone()
        found[name][rows] = gates[name]
    return found


def _rows(which: Tensor, like: Tensor) -> Tensor:
    """Which images, bool [N] -> [N, 1, ...], to choose whole images."""
    return which.view(-1, *(1,) * (like.dim() - 1))


def _stands_still(
    old: Mapping[str, Tensor], new: Mapping[str, Tensor], before: Tensor, after: Tensor, tolerance: float
) -> Tensor:
    found = torch.ones_like(before, dtype=torch.bool)
    for name, one in new.items():
        found &= (one == old[name]).flatten(1).all(dim=1)
    return found | ((after - before).abs() <= tolerance * (1 + before.abs()))
