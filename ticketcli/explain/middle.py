"""The layers at which the search hands over: where all ways from the image to the score meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, fx

from ticketcli.errors import UsageError, did_you_mean
from ticketcli.explain.passes import gates_for, nodes_for
from ticketcli.explain.tracing import GateNode, Traced


@dataclass(frozen=True)
class Middle:
    """Where FSP ends and FR begins.

    Attributes:
        gate: a ReLU's, whose units FSP selects and FR recovers; VGG-16: of conv5_1; ResNet-50: of the block `layer4.0`.
        upper: gates that FSP moves first: from the ReLU before the middle where all ways meet to the score; VGG-16: of
            conv4_3; ResNet-50: of the block `layer3.5`.
    """

    gate: GateNode
    upper: frozenset[str]


def middle_of(network: Traced, wanted: fx.Node, gates: Mapping[str, Tensor], name: str | None = None) -> Middle:
    """The middle layer: the first ReLU of the smallest maps at which all ways to the score meet.

    In a network without maps it is the first such ReLU after the first.

    Args:
        network: with its gates.
        wanted: the node that the score reads.
        gates: of any search; they say how large the maps are.
        name: another gate of a ReLU instead.

    Raises:
        UsageError: no such gate, or none at all that fits.

    Source: the authors' choice for VGG-16 as a rule; in a ResNet it ends blocks.
    """
    order = list(gates_for(network, wanted))
    meeting = meeting_gates(network, wanted)
    maps = [one for one in meeting if gates[one.name].dim() == 4]
    if name is not None:
        chosen = next((one for one in order if one.name == name and one.rectifies), None)
        if chosen is None:
            known = [one.name for one in order if one.rectifies]
            raise UsageError(f"no ReLU '{name}' before the target", where="middle", hint=did_you_mean(name, known))
    elif maps:
        last = gates[maps[-1].name].shape[2:]
        chosen = next(one for one in maps if gates[one.name].shape[2:] == last)
    elif meeting:
        chosen = meeting[min(1, len(meeting) - 1)]
    else:
        raise UsageError(
            "no ReLU at which all ways to the target meet",
            where="middle",
            hint="name one: --middle, or localize's middle; or mode fr",
        )
    before = [one for one in meeting if order.index(one) < order.index(chosen)]
    first = order.index(before[-1] if before else chosen)
    return Middle(chosen, frozenset(one.name for one in order[first:]))


def meeting_gates(network: Traced, wanted: fx.Node) -> list[GateNode]:
    """The ReLUs' gates that every way from the image to a node goes through, in their order."""
    nodes = [node for node in nodes_for(network, wanted) if node in network.dependent]
    return [one for one in gates_for(network, wanted) if one.rectifies and not _has_way_around(one.node, nodes)]


def _has_way_around(gate: fx.Node, nodes: Sequence[fx.Node]) -> bool:
    """Whether the last node is reached from the first, the image, without the gate."""
    reached = {nodes[0]}
    for node in nodes[1:]:
        if node is not gate and any(one in reached for one in node.all_input_nodes):
            reached.add(node)
    return nodes[-1] in reached


def ends_of_resolutions(network: Traced, wanted: fx.Node, gates: Mapping[str, Tensor]) -> list[str]:
    """The last gate at which all ways meet, at every resolution but the last and at that of the first ReLU.

    ResNet-50: the blocks that end layer1 to layer3; VGG-16: conv2_2, conv3_3 and conv4_3. Our choice; of a network with
    fewer resolutions what there is, the last at least.
    """
    last: dict[tuple[int, ...], str] = {}
    for one in meeting_gates(network, wanted):
        if gates[one.name].dim() == 4:
            last[tuple(gates[one.name].shape[2:])] = one.name
    names = list(last.values())
    return names[1:-1] or names[-1:]
