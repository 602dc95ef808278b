"""What trained sources have in common: a step a batch, with a state that can be saved between any two."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ticketcli.errors import DivergedError
from ticketcli.tensors.seeds import generator


class Learner(Protocol):
    """A source that is trained."""

    steps: int

    def step(self, x: Tensor, draw: torch.Generator) -> dict[str, float]:
        """Learn from a batch; the losses by name."""

    def state(self) -> dict[str, Any]:
        """Networks, optimisers and the number of steps: mappings, lists, tensors and numbers."""

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""


@dataclass(frozen=True)
class LearnedStep:
    """A step that is done: how many there were, and the losses by name."""

    done: int
    losses: dict[str, float]


def learn(learner: Learner, batches: Iterable[Tensor], *, seed: int) -> Iterator[LearnedStep]:
    """Train on one batch after another; between two of them the learner's state may be saved.

    What step k draws follows from the seed and k: a learner that was loaded goes on as if it had never stopped, if the
    batches do.

    Args:
        learner: as made, or loaded.
        batches: images or features [N, ...], from the batch of number `learner.steps` on.
        seed: of all draws.

    Raises:
        DivergedError: a loss is not finite.
    """
    for x in batches:
        losses = learner.step(x, generator(seed, "knockoff step", learner.steps))
        for name, value in losses.items():
            if not math.isfinite(value):
                raise DivergedError(
                    f"the loss '{name}' of the knockoffs is not finite", where=f"step {learner.steps}", hint="lower lr"
                )
        yield LearnedStep(learner.steps, losses)


def state_of(modules: dict[str, torch.nn.Module], optimizers: dict[str, torch.optim.Optimizer]) -> dict[str, Any]:
    """Values of networks and optimisers, cloned: later steps do not reach them."""
    return {
        "modules": {name: cloned(module.state_dict()) for name, module in modules.items()},
        "optimizers": {name: cloned(optimizer.state_dict()) for name, optimizer in optimizers.items()},
    }


def load_state_of(
    modules: dict[str, torch.nn.Module], optimizers: dict[str, torch.optim.Optimizer], state: dict[str, Any]
) -> None:
    """Put back what `state_of` took."""
    for name, module in modules.items():
        module.load_state_dict(state["modules"][name])
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])


def cloned(tree: Any) -> Any:
    """Mappings and lists of tensors and numbers, the tensors cloned."""
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if isinstance(tree, dict):
        return {key: cloned(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [cloned(value) for value in tree]
    return tree
