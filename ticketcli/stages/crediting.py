"""Feedback as a criterion: what each channel adds to what the network says; a stop between batches loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ticketcli.channels.graph import ChannelGraph
from ticketcli.data.series import Series
from ticketcli.events import Progress
from ticketcli.explain.importance import contributions
from ticketcli.explain.search import Feedback, GatedNetwork
from ticketcli.explain.targets import ClassTarget
from ticketcli.models.encoder import Encoder
from ticketcli.tensors.modes import evaluating
from ticketcli.training.yields import Snapshot, State

STATE = "crediting"  # what a saved state calls this part of a unit


@dataclass
class Crediting:
    """The calibration images of one round, and what channels add to the logit of each.

    The target of an image is the class that the network itself gives it first, as it was finetuned: a label that the
    network does not see would make what it sees look useless, and so no labels are needed. A saved state holds what
    was finetuned and the sums so far.

    Attributes:
        what: for people, such as "round 1/2".
        model: as it was finetuned; it stands still.
        graph: of the model.
        images: that are looked at.
        base: what else a saved state holds; its `iteration` is the number of steps before.
        sums: BatchNorm -> float64 [C], logits, summed over the images.
        report: for metrics.
    """

    what: str
    model: Encoder
    graph: ChannelGraph
    images: Series[tuple[Tensor, Tensor]]
    base: State
    sums: dict[str, Tensor] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    _done: int = 0
    _seen: int = 0
    _before: float = 0.0
    _after: float = 0.0
    _converged: int = 0

    def load(self, state: State) -> None:
        """Go on from a saved state."""
        saved = state[STATE]
        self.sums = dict(saved["sums"])
        self._done, self._seen, self._converged = (int(saved[key]) for key in ("done", "seen", "converged"))
        self._before, self._after = float(saved["before"]), float(saved["after"])
        self.base = {**self.base, "iteration": int(state["iteration"]) - self._done}

    def run(self) -> Iterator[Progress | Snapshot]:
        """Fill `sums` and `report`. Several processes all see every batch, and so come to the same sums."""
        with evaluating(self.model):
            gated = GatedNetwork(self.model)
        for images, _ in self.images[self._done :]:
            self._add(gated, images)
            yield Progress(f"{self.what}, crediting", self._done, len(self.images))
            yield Snapshot(self._capture)
        yield Snapshot(self._capture, last=True)
        self.report = {
            "images": self._seen, "target": "top1", "score_before": self._before / self._seen,
            "score_after": self._after / self._seen, "converged": self._converged / self._seen,
            "dead": {one.conv: int((self.sums[one.norm] == 0).sum()) for one in self.graph.groups},
        }  # fmt: skip

    @property
    def importance(self) -> dict[str, Tensor]:
        """I_c by BatchNorm: float64 [C], logits an image."""
        return {name: total / self._seen for name, total in self.sums.items()}

    def _add(self, gated: GatedNetwork, images: Tensor) -> None:
        with torch.no_grad(), evaluating(self.model):
            target = ClassTarget(self.model(images).argmax(dim=1))
        found: Feedback = gated.search(images, target, mode="fr")
        parts = [one.norm for one in self.graph.groups]
        together = [one.norm for one in self.graph.groups if one.also]
        for name, added in contributions(gated, images, target, found.gates, parts, together).items():
            self.sums[name] = self.sums.get(name, 0.0) + added.sum(dim=0)
        self._done, self._seen = self._done + 1, self._seen + len(images)
        self._before += float(found.scores[:, 0].double().sum())
        self._after += float(found.scores[:, -1].double().sum())
        self._converged += int(found.converged.sum())

    def _capture(self) -> State:
        saved = {
            "sums": dict(self.sums), "done": self._done, "seen": self._seen, "before": self._before,
            "after": self._after, "converged": self._converged,
        }  # fmt: skip
        return {**self.base, "iteration": self.base["iteration"] + self._done, STATE: saved}
