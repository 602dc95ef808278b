"""SCOP's selection training: only the control gates learn, from the true labels of the images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ticketcli.channels.controls import Controls
from ticketcli.channels.knockoffs.learning import cloned
from ticketcli.channels.knockoffs.source import KnockoffSource
from ticketcli.errors import DivergedError
from ticketcli.tensors.seeds import generator


@dataclass(frozen=True)
class ControlSettings:
    """How the gates learn; the defaults are SCOP's, whose batches have 512 images, for 20 epochs.

    Attributes:
        lr, momenta: of Adam.
        lemma2_noise: carry controls exactly through affine layers, at a price; see `lemma2`.
    """

    lr: float = 0.004
    momenta: tuple[float, float] = (0.5, 0.9)
    lemma2_noise: bool = False


@dataclass(frozen=True)
class ControlStep:
    """A step that is done.

    Attributes:
        done: steps so far.
        loss: of its batch.
        at_one, at_zero: shares of the betas at the ends of their range, in [0, 1].
    """

    done: int
    loss: float
    at_one: float
    at_zero: float


class ControlTraining:
    """The gates, their optimiser, and how many steps were done; may be saved between any two.

    Args:
        controls: of a network, inside `controlled`.
        source: of the controls; sees no labels.
        settings: how they learn.
        seed: of what the source draws: step k draws by (seed, k), so a loaded training goes on as an unbroken one.
    """

    def __init__(self, controls: Controls, source: KnockoffSource, settings: ControlSettings, *, seed: int) -> None:
        self.controls, self.steps = controls, 0
        self._source, self._settings, self._seed = source, settings, seed
        self._optimizer = torch.optim.Adam(controls.betas.values(), lr=settings.lr, betas=settings.momenta)

    def step(self, images: Tensor, labels: Tensor) -> ControlStep:
        """Learn from a batch of images [m, 3, H, W] and their labels; only the images' own logits count.

        Raises:
            DivergedError: the loss is not finite.
        """
        draw = generator(self._seed, "controls", self.steps)
        logits = self.controls.logits(images, self._source, draw, lemma2_noise=self._settings.lemma2_noise)
        loss = F.cross_entropy(logits, labels)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(
                "the loss of the controls is not finite",
                where=f"step {self.steps}",
                hint="look at the knockoffs: their values may be far outside those of the images",
            )
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.controls.clamp()
        self.steps += 1
        return ControlStep(self.steps, value, self.controls.at_one, self.controls.at_zero)

    def state(self) -> dict[str, Any]:
        """Betas, optimiser and steps, cloned: mappings, lists, tensors and numbers."""
        return {"betas": self.controls.values(), "optimizer": cloned(self._optimizer.state_dict()), "steps": self.steps}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`.

        Raises:
            MismatchError: its betas belong to other layers.
        """
        self.controls.load(state["betas"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]


def train_controls(training: ControlTraining, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[ControlStep]:
    """Train the gates on one batch after another; between two of them `training.state()` may be saved.

    Args:
        training: as made, or loaded.
        batches: images [m, 3, H, W] and labels [m], from the batch of number `training.steps` on.

    Raises:
        DivergedError: the loss is not finite.
    """
    for images, labels in batches:
        yield training.step(images, labels)
