"""Feedback: for each image the gates that maximise a score, found by sweeps of one forward and one backward each.

Source: the Feedback CNN's two algorithms, Feedback Recovering (FR) and Feedback Selective Pruning (FSP). Deviations,
each for a reason: a gate may open again, since its gradient is taken behind it (the paper's equation 14 has the old
gate in it, 16 has not); what is active and the places of maxima stand still during a sweep, and overlapping max-pools
have gates of their own, for else a sweep of FR may lower the score; FSP as published may lower it in any case, which
`guard` mends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, fx, nn

from ticketcli.errors import UsageError, did_you_mean
from ticketcli.explain.maps import scaled
from ticketcli.explain.middle import ends_of_resolutions
from ticketcli.explain.passes import Gates, forward
from ticketcli.explain.pipeline import MOST_NEURONS, Selection, separate_maps
from ticketcli.explain.score import Score, score_of
from ticketcli.explain.sweeps import Guard, Pass, Rules, sweep_until_still
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
        ratio: float = 0.0, border: bool = False, guard: Guard = "backtrack", middle: str | None = None,
        fsp_ratio: float | None = None,
    ) -> Feedback:  # fmt: skip
        """Find the gates that maximise the target of each image.

        Args:
            images: float [N, 3, H, W], as the network takes them.
            target: what is maximised.
            mode: `fr`: top-down, a gate is open where its gradient is positive; with no ratio and no border no sweep
                lowers the score. `fsp`: gates only close. `fsp-fr`: FSP for the target, then FR for the neurons in the
                middle that FSP selects.
            max_sweeps: at most so many; of `fsp-fr` FR's, for FSP's two stages are one sweep each.
            tolerance: a score that moves no more stands still; relative to 1 + |score|.
            ratio: gates open from so many times the mean of the layer's positive gradients, image by image; with mode
                `fsp-fr` neurons are selected so, too. The authors of `fsp-fr` take 0.1 here and 1 for `fsp_ratio`, one
                sweep of FR, the border left out and no guard.
            border: the outermost pixels of maps take no part.
            guard: of FSP. `backtrack`: where a sweep lowers an image's score, its layers close one by one, and those
                that lower it stay as they were; `none`: as published.
            middle: `fsp-fr`: the gate in the middle, see `middle_of`, which chooses it by default.
            fsp_ratio: `fsp-fr`: the ratio of FSP's stages, where it is another than FR's.

        Raises:
            UsageError: the target does not fit, or a setting makes no sense.
            DivergedError: a score is not a finite number.
        """
        rules = Rules("fsp" if mode == "fsp" else "fr", max_sweeps, tolerance, ratio, border, guard)
        score = self._ready(images, target, rules, fsp_ratio)
        if mode == "fsp-fr":
            selection = Selection(self.traced, images, score, rules, middle, fsp_ratio)
            return self._fsp_then_fr(images, score, selection, rules)
        swept = sweep_until_still(self.traced, images, score, rules)
        share, gradient = self._concluded(swept.last)
        return Feedback(swept.scores, swept.gates, share, gradient, swept.still)

    def separate_map(
        self, images: Tensor, target: Target, *, most: int = MOST_NEURONS, batch: int = 16, max_sweeps: int = 10,
        tolerance: float = 1e-6, ratio: float = 1.0, border: bool = False, guard: Guard = "backtrack",
        middle: str | None = None,
    ) -> Tensor:  # fmt: skip
        """FSP, then FR for each neuron that it selects by itself: the largest of their energies, pixel by pixel.

        An image has at most `most` of them, those with the largest gradients, which is the authors' cap; `batch` are
        searched for together, which bounds the memory. All else is as in `search`; the ratio, of FSP's stages, of the
        selection and of FR, is the authors'.

        Returns:
            [N, H, W] in 0..1.

        Raises:
            UsageError, DivergedError: as `search`.
        """
        rules = Rules("fr", max_sweeps, tolerance, ratio, border, guard)
        score = self._ready(images, target, rules)
        selection = Selection(self.traced, images, score, rules, middle)
        return scaled(separate_maps(self.traced, images, selection, rules, most=most, batch=batch))

    @torch.no_grad()
    def activations(self, images: Tensor, target: Target, gates: Gates, names: Sequence[str] = ()) -> list[Tensor]:
        """What some gates let through, [N, C, h, w] each: what `summation_map` sums up.

        Args:
            images: [N, 3, H, W].
            target: says which layers count.
            gates: that were found for it.
            names: gates; by default those that end resolutions, see `ends_of_resolutions`.
        """
        score = score_of(self.traced, target, len(images))
        chosen = list(names) or ends_of_resolutions(self.traced, score.node, gates)
        by_node = {gate.node: gate.name for gate in self.traced.gates}
        found: dict[str, Tensor] = {}

        def see(node: fx.Node, value: Tensor) -> None:
            if by_node.get(node) in chosen:
                found[by_node[node]] = value

        if not chosen:
            raise UsageError("the network has no maps to sum up", where="the traced network")
        forward(self.traced, images, gates, score.node, see=see)
        if missing := [name for name in chosen if name not in found]:
            hint = did_you_mean(missing[0], by_node.values())
            raise UsageError(f"the target goes through no gate '{missing[0]}'", where="names", hint=hint)
        return [found[name] for name in chosen]

    def _ready(self, images: Tensor, target: Target, rules: Rules, fsp_ratio: float | None = None) -> Score:
        _require_sense(images, rules, fsp_ratio)
        score = score_of(self.traced, target, len(images))
        self.require_same(images)
        return score

    def _fsp_then_fr(self, images: Tensor, score: Score, selection: Selection, rules: Rules) -> Feedback:
        """FR's gates below the middle, FSP's from there on."""
        swept = sweep_until_still(self.traced, images, selection.score, rules)
        _, gradient = self._concluded(swept.last)
        gates = {**selection.gates, **swept.gates}
        both = Pass(self.traced, images, score, gates)
        share, _ = self._concluded(both)
        scores = torch.cat([selection.scores, both.scores[:, None]], dim=1)
        return Feedback(scores, gates, share, gradient, swept.still)

    def _concluded(self, last: Pass) -> tuple[dict[str, Tensor], Tensor]:
        """Back through gates that stay: shares of open ones, in their order, and the gradient of the images."""
        share: dict[str, Tensor] = {}

        def look(name: str, gradient: Tensor, is_open: Tensor, positive: Tensor) -> Tensor:
            share[name] = open_of(is_open, positive)
            return gradient * is_open

        gradient = last.back(look)
        return {name: share[name] for name in self.names if name in share}, gradient

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


def open_of(is_open: Tensor, positive: Tensor) -> Tensor:
    """Of the units with x > 0, bool [N, ...], the share that is open, [N]; 0 where there is none."""
    active = positive.flatten(1).sum(dim=1)
    return (is_open & positive).flatten(1).sum(dim=1) / active.clamp(min=1)


def _require_sense(images: Tensor, rules: Rules, fsp_ratio: float | None) -> None:
    if images.dim() != 4 or not images.is_floating_point() or not len(images):
        what = f"{tuple(images.shape)} of {images.dtype}"
        raise UsageError(f"images are floats [N, 3, H, W], these are {what}", where="images")
    ratios = [rules.ratio, *([] if fsp_ratio is None else [fsp_ratio])]
    if rules.max_sweeps < 1 or not rules.tolerance >= 0 or not all(0 <= ratio < float("inf") for ratio in ratios):
        told = " and ".join(f"{ratio:g}" for ratio in ratios)
        what = f"{rules.max_sweeps} sweeps, tolerance {rules.tolerance:g} and ratio {told} make no sense"
        raise UsageError(what, where="search", hint="one sweep at least; the others are 0 or more")
