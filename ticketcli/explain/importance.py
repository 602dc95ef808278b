"""What each channel adds to the score, through the gates that feedback leaves open.

Source: our extension of the method; `I_c = mean over images of sum over the map of max(G, 0) x`, in logits an image.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, fx

from ticketcli.errors import UsageError
from ticketcli.explain.operations import keeps_channels, only_asks_for_size
from ticketcli.explain.passes import Gates, forward, nodes_for
from ticketcli.explain.score import score_of
from ticketcli.explain.search import GatedNetwork
from ticketcli.explain.sweeps import require_scores
from ticketcli.explain.targets import Target
from ticketcli.explain.tracing import Traced


def contributions(
    gated: GatedNetwork, images: Tensor, target: Target, gates: Gates, parts: Collection[str]
) -> dict[str, Tensor]:
    """Image by image, what each channel of some layers adds to the score: ``sum over the map of max(G x, 0)``.

    A channel is judged at the gate that reads it: x >= 0 is what the gate is given, G the score's gradient behind it.
    Where that reads a sum, as at the end of a residual block, all that enters the sum has the same worth. A channel
    that no gate reads first, or several do, is judged where it is, x with its sign.

    Args:
        gated: the network.
        images: [N, 3, H, W].
        target: of each image.
        gates: that were found for it.
        parts: names of parts that return maps [N, C, h, w], such as a convolution's BatchNorm.

    Returns:
        Part -> float64 [N, C] on the CPU, in the target's unit, such as logits.

    Raises:
        UsageError: no image reaches a part.
    """
    network, score = gated.traced, score_of(gated.traced, target, len(images))
    places = {part: _place(network, score.node, part) for part in parts}
    given = {one.node.all_input_nodes[0]: one.node for one in network.gates if one.rectifies}
    wanted = set(places.values())
    values: dict[fx.Node, Tensor] = {}  # x
    behind: dict[fx.Node, Tensor] = {}

    def see(node: fx.Node, value: Tensor) -> None:
        if given.get(node) in wanted:
            values[given[node]] = torch.relu(value.detach())
        if node in wanted:
            behind[node] = value
            values.setdefault(node, value.detach())

    with torch.enable_grad():
        leaf = images.detach().clone().requires_grad_()
        scores = score.of(forward(network, leaf, gates, score.node, see=see))
    require_scores(scores.detach())
    slopes = torch.autograd.grad(scores.sum(), list(behind.values()), allow_unused=True)
    worth = {node: _summed(slope, values[node]) for node, slope in zip(behind, slopes, strict=True)}
    return {part: worth[node] for part, node in places.items()}


def _summed(slope: Tensor | None, values: Tensor) -> Tensor:
    """[N, C, ...] -> [N, C], of max(G x, 0)."""
    worth = torch.zeros_like(values) if slope is None else (slope * values).clamp(min=0)
    return worth.flatten(2).sum(dim=2, dtype=torch.float64).cpu()


def _place(network: Traced, wanted: fx.Node, part: str) -> fx.Node:
    """The gate's node at which a part's channels are judged, or the part's own."""
    node = network.returned.get(part)
    if node is None or node not in set(nodes_for(network, wanted)):
        raise UsageError(f"the score does not go through '{part}'", where=part, hint="leave it out")
    readers = reading_gates(network, node)
    return readers[0] if readers is not None and len(readers) == 1 else node


def reading_gates(network: Traced, node: fx.Node) -> Sequence[fx.Node] | None:
    """The gates that are the next to read a node's channels, one by one; None where something else reads them first."""
    gated = {gate.node for gate in network.gates}
    modules = dict(network.module.named_modules())
    if node in gated:
        return [node]
    found: list[fx.Node] = []
    waiting = [node]
    seen: set[fx.Node] = set()
    while waiting:
        for reader in waiting.pop().users:
            if reader in seen or only_asks_for_size(reader):
                continue
            seen.add(reader)
            if reader in gated:
                found.append(reader)
            elif keeps_channels(reader, modules):
                waiting.append(reader)
            else:
                return None
    return found
