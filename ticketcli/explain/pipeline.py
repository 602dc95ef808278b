"""FSP, then FR: which neurons in the middle a class needs, and what of the image those see.

Source: the authors' code for localisation; its order, its middle layer and its cap of 200 neurons.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ticketcli.explain.middle import Middle, middle_of
from ticketcli.explain.passes import held
from ticketcli.explain.score import ChosenScore, Score
from ticketcli.explain.sweeps import Pass, Rules, Swept, sweep_until_still
from ticketcli.explain.thresholds import opened, without_border
from ticketcli.explain.tracing import Traced

MOST_NEURONS = 200


class Selection:
    """FSP's two stages, and the neurons in the middle that they leave.

    Stage 1 moves the gates from just before the middle to the score, stage 2, after a new forward, all of them; one
    sweep each. A neuron is selected where the gradient of the pruned network before its ReLU passes the threshold.

    Args:
        network: with its gates.
        images: [N, 3, H, W].
        target: of each image.
        rules: of FR's sweeps; their threshold selects the neurons, too.
        middle: the gate in the middle; see `middle_of`, which chooses it where none is named.
        fsp_ratio: the threshold of FSP's stages, where it is another.

    Attributes:
        middle: where.
        gates: FSP's.
        scores: [N, 3], before, between and after the stages.
        score: the sum of the selected neurons, before their ReLUs, image by image.
        strengths: their gradients, of the middle's shape; 0 elsewhere.
    """

    def __init__(
        self, network: Traced, images: Tensor, target: Score, rules: Rules, middle: str | None = None,
        fsp_ratio: float | None = None,
    ) -> None:  # fmt: skip
        ratio = rules.ratio if fsp_ratio is None else fsp_ratio
        one_sweep = replace(rules, algorithm="fsp", max_sweeps=1, ratio=ratio)
        first = target.only(torch.zeros(1, dtype=torch.int64))
        shapes = sweep_until_still(network, images[:1], first, one_sweep).gates
        self.middle: Middle = middle_of(network, target.node, shapes, middle)
        gates, upper = _gates_and_scores(
            sweep_until_still(network, images, target, one_sweep, movable=self.middle.upper)
        )
        self.gates, every = _gates_and_scores(sweep_until_still(network, images, target, one_sweep, start=gates))
        self.scores = torch.cat([upper, every[:, 1:]], dim=1)
        self.strengths = self._strengths(network, images, target, rules)
        before_relu = self.middle.gate.node.all_input_nodes[0]
        self.score = ChosenScore(before_relu, self.strengths > 0)

    def _strengths(self, network: Traced, images: Tensor, target: Score, rules: Rules) -> Tensor:
        found: dict[str, Tensor] = {}

        def look(name: str, gradient: Tensor, is_open: Tensor, positive: Tensor) -> Tensor:
            if name == self.middle.gate.name:
                found[name] = gradient * is_open * positive
            return gradient * is_open

        Pass(network, images, target, self.gates).back(look)
        gradient = found[self.middle.gate.name]
        gradient = without_border(gradient) if rules.border else gradient
        return gradient * opened(gradient, rules.ratio)


def _gates_and_scores(swept: Swept) -> tuple[dict[str, Tensor], Tensor]:
    """Without the graph, whose memory the next search needs."""
    return swept.gates, swept.scores


def separate_maps(
    network: Traced, images: Tensor, selection: Selection, rules: Rules, *, most: int, batch: int
) -> Tensor:
    """FR for every selected neuron by itself: ``sqrt(sum over colours (dS/dI)^2)``, its largest over the neurons.

    Args:
        network: with its gates.
        images: [N, 3, H, W].
        selection: FSP's neurons; of an image's those with the largest gradients, at most so many.
        rules: of FR's sweeps.
        most: neurons of an image.
        batch: neurons that are searched for together.

    Returns:
        [N, H, W], not scaled.
    """
    found = images.new_zeros(len(images), *images.shape[2:])
    for row, image in enumerate(images):
        for chosen in _one_by_one(selection.strengths[row], most, batch):
            copies = image.expand(len(chosen), *image.shape)
            score = ChosenScore(selection.score.node, chosen)
            swept = sweep_until_still(network, copies, score, replace(rules, algorithm="fr"))
            gradient = swept.last.back(held)
            found[row] = torch.maximum(found[row], torch.linalg.vector_norm(gradient, dim=1).amax(dim=0))
    return found


def _one_by_one(strengths: Tensor, most: int, batch: int) -> Iterator[Tensor]:
    """An image's neurons, the strongest first, as bool [n, ...] of one neuron each, n at most `batch`."""
    flat = strengths.flatten()
    order = torch.sort(flat, descending=True, stable=True).indices[: min(most, int((flat > 0).sum()))]
    for first in range(0, len(order), batch):
        places = order[first : first + batch]
        chosen = torch.zeros(len(places), flat.numel(), dtype=torch.bool, device=flat.device)
        chosen[torch.arange(len(places), device=flat.device), places] = True
        yield chosen.view(len(places), *strengths.shape)
