"""What each channel adds to the score, through the gates that feedback leaves open.

Source: our extension of the method; `I_c = mean over images of sum over the map of max(G, 0) x`, in logits an image.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, fx

from ticketcli.errors import UsageError
from ticketcli.explain.operations import adds, keeps_channels, only_asks_for_size
from ticketcli.explain.passes import Gates, forward, nodes_for
from ticketcli.explain.score import score_of
from ticketcli.explain.search import GatedNetwork
from ticketcli.explain.sweeps import require_scores
from ticketcli.explain.targets import Target
from ticketcli.explain.tracing import Traced


def contributions(
    gated: GatedNetwork, images: Tensor, target: Target, gates: Gates, parts: Collection[str],
    together: Collection[str] = (),
) -> dict[str, Tensor]:  # fmt: skip
    """Image by image, what each channel of some layers adds to the score: ``sum over the map of max(G x, 0)``.

    A channel is judged at the gate that reads it: x >= 0 is what the gate is given, G the score's gradient behind it.
    Where that reads a sum, as at the end of a residual block, all that enters the sum has the same worth. A channel
    that no gate reads first, or several do, is judged where it is, x with its sign.

    A channel that others write too, as a unit and the transition before it do in a GUNN layer, is judged by all that
    enters the sum at which they meet, ``sum over the map of max(sum over these of G x, 0)``: what the score loses, to
    first order, where the channel falls from all of them. One that readers before that sum live on counts so, too.

    Args:
        gated: the network.
        images: [N, 3, H, W].
        target: of each image.
        gates: that were found for it.
        parts: names of parts that return maps [N, C, h, w], such as a convolution's BatchNorm.
        together: those of them whose channels others write too.

    Returns:
        Part -> float64 [N, C] on the CPU, in the target's unit, such as logits.

    Raises:
        UsageError: no image reaches a part.
    """
    network, score = gated.traced, score_of(gated.traced, target, len(images))
    places = {part: _places(network, score.node, part, is_sum=part in together) for part in parts}
    given = {one.node.all_input_nodes[0]: one.node for one in network.gates if one.rectifies}
    wanted = {node for nodes in places.values() for node in nodes}
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
    worth = {
        node: torch.zeros_like(values[node]) if slope is None else slope * values[node]
        for node, slope in zip(behind, slopes, strict=True)
    }
    return {part: _summed([worth[node] for node in nodes]) for part, nodes in places.items()}


def _summed(worth: Sequence[Tensor]) -> Tensor:
    """G x of what is judged together, [N, C, ...] each -> [N, C], of their sum where that is positive."""
    return sum(worth[1:], worth[0]).clamp(min=0).flatten(2).sum(dim=2, dtype=torch.float64).cpu()


def _places(network: Traced, wanted: fx.Node, part: str, *, is_sum: bool) -> Sequence[fx.Node]:
    """The nodes at which a part's channels are judged: the gate's or the part's own, or what a sum is made of."""
    node = network.returned.get(part)
    if node is None or node not in set(nodes_for(network, wanted)):
        raise UsageError(f"the score does not go through '{part}'", where=part, hint="leave it out")
    if is_sum:
        return _summands(node)
    readers = reading_gates(network, node)
    return readers if readers is not None and len(readers) == 1 else [node]


def _summands(node: fx.Node) -> Sequence[fx.Node]:
    """What enters the last of the sums that a node goes into, one after the other, without another reader between."""
    found = [node]
    while True:
        readers = [reader for reader in node.users if not only_asks_for_size(reader)]
        if len(readers) != 1 or not adds(readers[0]):
            return found
        (node,) = readers
        found = node.all_input_nodes


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
