"""Feedback: for each image the gates that maximise a score, found by sweeps of one forward and one backward each.

Source: the Feedback CNN's two algorithms, Feedback Recovering (FR) and Feedback Selective Pruning (FSP). Deviations,
each for a reason: a gate may open again, since its gradient is taken behind it (the paper's equation 14 has the old
gate in it, 16 has not); what is active and the places of maxima stand still during a sweep, and overlapping max-pools
have gates of their own, for else a sweep of FR may lower the score; FSP as published may lower it in any case, which
`guard` mends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ticketcli.errors import UsageError
from ticketcli.explain.passes import forward
from ticketcli.explain.score import Score, score_of
from ticketcli.explain.sweeps import Guard, Pass, Rules, Swept, sweep_until_still
from ticketcli.explain.targets import Target
from ticketcli.explain.tracing import Traced, traced

Mode = Literal["fr", "fsp", "fsp-fr"]


@dataclass(frozen=True)
class Feedback:
    """What a search found, image by image.

    Attributes:
        scores: float [N, T + 1], the target before the first sweep and after each of T; an image that is finished
            repeats its last. With mode `fsp-fr` T is 3: after each stage of FSP, and with FR's gates below the middle.
        gates: gate -> bool, of the shape of what it reads, [N, C, H, W] or [N, C]; those that the target goes through.
        open_share: gate -> [N]: of its units with x > 0, the share that is open; 0 where there is none.
        input_gradient: [N, 3, H, W], of the target with these gates; with mode `fsp-fr`, of the selected neurons' sum.
        converged: bool [N]: the last sweep moved no gate, or the target by no more than the tolerance.
    """

    scores: Tensor
    gates: dict[str, Tensor]
    open_share: dict[str, Tensor]
    input_gradient: Tensor
    converged: Tensor


class GatedNetwork:
    """A network with a gate behind every ReLU and max-pool; made once, for many batches.

    The network is left as it is: gates stand in a graph of our own that shares its weights. Memory is that of one
    forward and backward of a batch, and two or three bytes for each gate of each image.

    Args:
        network: any that torch.fx can trace, in eval mode, that returns logits [N, n_classes].
        gate_maxpool: gates behind max-pools. Without them a sweep of FR may lower the score.

    Raises:
        UsageError: as `traced`; names the operation that gates do not allow, and what to do.
    """

    def __init__(self, network: nn.Module, *, gate_maxpool: bool = True) -> None:
        self.traced: Traced = traced(network, gate_maxpool=gate_maxpool)
        self._is_compared = False

    @property
    def names(self) -> tuple[str, ...]:
        """Of the gates, in the order in which they run: the ReLU's or pool's name, or the part's that calls it."""
        return tuple(gate.name for gate in self.traced.gates)

    def search(
        self, images: Tensor, target: Target, *, mode: Mode, max_sweeps: int = 10, tolerance: float = 1e-6,
        ratio: float = 0.0, border: bool = False, guard: Guard = "backtrack",
    ) -> Feedback:  # fmt: skip
        """Find the gates that maximise the target of each image.

        Args:
            images: float [N, 3, H, W], as the network takes them.
            target: what is maximised.
            mode: `fr`: top-down, a gate is open where its gradient is positive; with no ratio and no border no sweep
                lowers the score. `fsp`: gates only close. `fsp-fr`: FSP for the target, then FR for the neurons in the
                middle that FSP selects.
            max_sweeps: at most so many.
            tolerance: a score that moves no more stands still; relative to 1 + |score|.
            ratio: gates open from so many times the mean of the layer's positive gradients, image by image; the
                authors take 1 for FSP and 0.1 for FR.
            border: the outermost pixels of maps take no part.
            guard: of FSP. `backtrack`: where a sweep lowers an image's score, its layers close one by one, and those
                that lower it stay as they were; `none`: as published.

        Raises:
            UsageError: the target does not fit, or a setting makes no sense.
            DivergedError: a score is not a finite number.
        """
        _require_sense(images, max_sweeps, tolerance, ratio)
        score = score_of(self.traced, target, len(images))
        self.require_same(images)
        rules = Rules("fsp" if mode == "fsp" else "fr", max_sweeps, tolerance, ratio, border, guard)
        return concluded(self.traced, images, score, sweep_until_still(self.traced, images, score, rules))

    @torch.no_grad()
    def require_same(self, images: Tensor) -> None:
        """Once, on one image: whether the graph is the network; hooks, and views that are overwritten, are not in it.

        Raises:
            UsageError: it is not.
        """
        if self._is_compared:
            return
        expected = self.traced.module(images[:1].clone())
        found = forward(self.traced, images[:1], {}, self.traced.output)
        if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-3, atol=1e-4, equal_nan=True):
            raise UsageError(
                "the operations that were followed do not compute what the network does", where="the traced network",
                hint="a hook changes values, a view is overwritten in place, or images of another size go another way",
            )  # fmt: skip
        self._is_compared = True


def concluded(network: Traced, images: Tensor, score: Score, swept: Swept) -> Feedback:
    """One more forward and backward with the gates that were found."""
    share: dict[str, Tensor] = {}

    def look(name: str, gradient: Tensor, is_open: Tensor, positive: Tensor) -> Tensor:
        share[name] = open_of(is_open, positive)
        return gradient * is_open

    gradient = Pass(network, images, score, swept.gates).back(look)
    ordered = {gate.name: share[gate.name] for gate in network.gates if gate.name in share}
    gates = {name: swept.gates[name] for name in ordered}
    return Feedback(swept.scores, gates, ordered, gradient, swept.still)


def open_of(is_open: Tensor, positive: Tensor) -> Tensor:
    """Of the units with x > 0, bool [N, ...], the share that is open, [N]; 0 where there is none."""
    active = positive.flatten(1).sum(dim=1)
    return (is_open & positive).flatten(1).sum(dim=1) / active.clamp(min=1)


def _require_sense(images: Tensor, max_sweeps: int, tolerance: float, ratio: float) -> None:
    if images.dim() != 4 or not images.is_floating_point() or not len(images):
        what = f"{tuple(images.shape)} of {images.dtype}"
        raise UsageError(f"images are floats [N, 3, H, W], these are {what}", where="images")
    if max_sweeps < 1 or not tolerance >= 0 or not 0 <= ratio < float("inf"):
        what = f"max_sweeps {max_sweeps}, tolerance {tolerance:g} and ratio {ratio:g} make no sense"
        raise UsageError(what, where="search", hint="one sweep at least; the others are 0 or more")
