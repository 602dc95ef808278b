"""A network as a graph of operations, on modules of its own that share its values: nothing reaches the network."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from ticketcli.errors import UsageError
from ticketcli.explain.operations import Kind, called_as, keeps_sign, kind_of, only_asks_for_size, overwrites
from ticketcli.tensors.following import Follower


@dataclass(frozen=True)
class GateNode:
    """An operation with a gate behind it.

    Attributes:
        name: of the gate.
        node: a ReLU, or a max-pool of what is nowhere negative.
        rectifies: whether it is a ReLU.
    """

    name: str
    node: fx.Node
    rectifies: bool


@dataclass(frozen=True)
class Traced:
    """A network whose every way from the image to its output is affine, a ReLU or a max-pool.

    Attributes:
        module: the network's modules, copied; its tensors are the network's own, and need no gradient.
        nodes: that the output depends on, in the order in which they run.
        image, output: the first of them, and what the network returns.
        dependent: those whose values come from the image.
        kinds: of these, all but the image: what they are to the gates.
        gates: in the order in which they run.
        returned: part of the network -> the node that it returns, where it returns one tensor; of the last call.
    """

    module: nn.Module
    nodes: tuple[fx.Node, ...]
    image: fx.Node
    output: fx.Node
    dependent: frozenset[fx.Node]
    kinds: dict[fx.Node, Kind]
    gates: tuple[GateNode, ...]
    returned: dict[str, fx.Node]


def traced(network: nn.Module, *, gate_maxpool: bool) -> Traced:
    """Trace a network's `forward`, and find where gates go: behind every call of a ReLU and every max-pool.

    A max-pool of signed values that ReLUs alone read has none of its own: theirs do for it.

    Args:
        network: in eval mode; it stays as it is.
        gate_maxpool: whether max-pools have gates. Without them a sweep may lower the score.

    Raises:
        UsageError: the network trains, cannot be traced, returns no logits, or computes what gates do not allow; names
            the part.
    """
    _require_still(network)
    module = _shared(network)
    tracer = _Tracer()
    graph = tracer.follow(module, "operations")
    modules = dict(module.named_modules())
    _order_writes(graph, modules)
    output = _returned(graph)
    needed = sources(output)
    nodes = tuple(node for node in graph.nodes if node in needed)
    image = next(node for node in graph.nodes if node.op == "placeholder")
    dependent = _dependent(nodes, image)
    if output not in dependent:
        raise UsageError("what the network returns does not depend on the image", where=type(network).__name__)
    kinds = {node: kind_of(node, modules, dependent) for node in nodes if node in dependent and node is not image}
    gates = tuple(_gates(kinds, modules, gate_maxpool))
    if not gates:
        raise UsageError("the network has no ReLU to put a gate behind", where=type(network).__name__)
    return Traced(module, nodes, image, output, dependent, kinds, gates, tracer.returned)


def _require_still(network: nn.Module) -> None:
    for name, part in network.named_modules():
        if part.training:
            raise UsageError(
                "gates are searched for in eval mode, and this trains", where=name or type(network).__name__,
                hint="call network.eval() first",
            )  # fmt: skip


def _shared(network: nn.Module) -> nn.Module:
    """Modules of our own around the same memory: not a byte of values is copied, and no gradient goes there."""
    memo: dict[int, Any] = {id(one): nn.Parameter(one.detach(), requires_grad=False) for one in network.parameters()}
    memo |= {id(one): one.detach() for one in network.buffers()}
    return copy.deepcopy(network, memo)


class _Tracer(Follower):
    """Remembers what each part returned."""

    def __init__(self) -> None:
        super().__init__()
        self.returned: dict[str, fx.Node] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Besides torch's own, those that say that they are affine."""
        return getattr(m, "is_affine", False) is True or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        found = super().call_module(m, forward, args, kwargs)
        if isinstance(found, fx.Proxy):
            self.returned[self.path_of_module(m)] = found.node
        return found


def _order_writes(graph: fx.Graph, modules: dict[str, nn.Module]) -> None:
    """Whoever reads a tensor after it was overwritten reads the operation that did so: then none has to overwrite."""
    place = {node: number for number, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.op in ("call_module", "call_function", "call_method") and overwrites(node, modules):
            written = node.args[0]
            for reader in list(written.users) if isinstance(written, fx.Node) else ():
                if place[reader] > place[node]:
                    reader.replace_input_with(written, node)


def _returned(graph: fx.Graph) -> fx.Node:
    (output,) = (node for node in graph.nodes if node.op == "output")
    (found,) = output.args
    if not isinstance(found, fx.Node):
        raise UsageError(
            "the network returns no single tensor", where="its output", hint="gates need logits [N, n_classes]"
        )
    return found


def sources(output: fx.Node) -> set[fx.Node]:
    """The nodes that a node's value depends on, itself included."""
    found: set[fx.Node] = set()
    waiting = [output]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.all_input_nodes)
    return found


def _dependent(nodes: tuple[fx.Node, ...], image: fx.Node) -> frozenset[fx.Node]:
    found = {image}
    for node in nodes:
        if not only_asks_for_size(node) and any(one in found for one in node.all_input_nodes):
            found.add(node)
    return frozenset(found)


def _gates(kinds: dict[fx.Node, Kind], modules: dict[str, nn.Module], gate_maxpool: bool) -> Iterator[GateNode]:
    calls: Counter[str] = Counter()
    not_negative: set[fx.Node] = set()
    for node, kind in kinds.items():
        reads = [one for one in node.all_input_nodes if not only_asks_for_size(one)]
        keeps = kind == "pool" or (kind == "affine" and keeps_sign(node, modules))
        if kind == "relu" or (keeps and all(one in not_negative for one in reads)):
            not_negative.add(node)
        if kind == "relu" or (kind == "pool" and gate_maxpool and _needs_gate(node, kinds, node in not_negative)):
            base = _base(node, kind)
            calls[base] += 1
            yield GateNode(base if calls[base] == 1 else f"{base}#{calls[base]}", node, kind == "relu")


def _needs_gate(pool: fx.Node, kinds: dict[fx.Node, Kind], not_negative: bool) -> bool:
    if not_negative:
        return True
    if all(kinds.get(reader) == "relu" for reader in pool.users):
        return False
    raise UsageError(
        "this max-pool reads signed values, and others than ReLUs read it: no gate can stand there",
        where=f"{pool.target if pool.op == 'call_module' else pool.name} of the traced network",
        hint="put a ReLU before the max-pool; gradient, guided and gradcam need no gates, nor do other criteria",
    )


def _base(node: fx.Node, kind: Kind) -> str:
    """The module's own name; or that of the part in which the function is called, and the function's."""
    if node.op == "call_module":
        return str(node.target)
    stack = list(node.meta.get("nn_module_stack", {}).values())
    word = "relu" if kind == "relu" else called_as(node.target)
    return f"{stack[-1][0]}.{word}" if stack and stack[-1][0] else word
