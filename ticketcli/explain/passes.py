"""One forward of a network through its gates, and one backward that says what each gate is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.autograd.function import once_differentiable

from ticketcli.explain.operations import INPLACE
from ticketcli.explain.tracing import GateNode, Traced, sources

Gates = Mapping[str, Tensor]  # name -> bool, of the shape of what the gate reads; one that is missing is open
Receive = Callable[[str, Tensor, Tensor, Tensor], Tensor]
"""Given a gate's name, the gradient G of what it lets through, which of its units are open, and which are positive
(x > 0), all of one shape: returns the gradient of what it reads."""


def held(_name: str, gradient: Tensor, is_open: Tensor, _positive: Tensor) -> Tensor:
    """The ordinary way back, through gates that stay."""
    return gradient * is_open


class _Gated(torch.autograd.Function):
    """``z relu(pre)``, or ``z x`` where what is read is nowhere negative; backwards, somebody else decides."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, is_open: Tensor | None, gate: GateNode, receive: Receive | None) -> Tensor:
        """What is read [N, ...], and which units are open, of the same shape; None: all of them."""
        is_open = torch.ones_like(x, dtype=torch.bool) if is_open is None else is_open
        ctx.save_for_backward(is_open, x > 0)
        ctx.gate, ctx.receive = gate, receive
        return (torch.relu(x) if gate.rectifies else x) * is_open

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of what was read."""
        is_open, positive = ctx.saved_tensors
        receive = ctx.receive or held
        passed = receive(ctx.gate.name, gradient, is_open, positive)
        return (passed * positive if ctx.gate.rectifies else passed), None, None, None


def forward(
    traced: Traced,
    images: Tensor,
    gates: Gates,
    wanted: fx.Node,
    receive: Receive | None = None,
    see: Callable[[fx.Node, Tensor], None] | None = None,
) -> Tensor:
    """The value of a node, [N, ...], with the given gates; as gradients go back, `receive` is asked at every gate.

    Args:
        traced: the network.
        images: [N, 3, H, W].
        gates: which units are open.
        wanted: a node; nothing runs that it does not need.
        receive: is given each gate's gradient; by default gates stay.
        see: shown each node and its value as it is computed; behind a gate, what the gate lets through.
    """
    gated = {gate.node: gate for gate in traced.gates}
    nodes = nodes_for(traced, wanted)
    last = {read: node for node in nodes for read in node.all_input_nodes}
    values: dict[fx.Node, Any] = {}
    for node in nodes:
        if node in gated:
            gate = gated[node]
            read = _first(node, values) if gate.rectifies else _run(traced, node, values, images)
            values[node] = _Gated.apply(read, gates.get(gate.name), gate, receive)
        else:
            values[node] = _run(traced, node, values, images)
        if see is not None and isinstance(values[node], Tensor):
            see(node, values[node])
        for read_node in node.all_input_nodes:
            if last[read_node] is node:
                del values[read_node]
    found: Tensor = values[wanted]
    return found


def nodes_for(traced: Traced, wanted: fx.Node) -> list[fx.Node]:
    """Those that a node's value depends on, itself included, in their order."""
    before = sources(wanted)
    return [node for node in traced.nodes if node in before]


def gates_for(traced: Traced, wanted: fx.Node) -> tuple[GateNode, ...]:
    """The gates that a node's value goes through, in their order."""
    needed = set(nodes_for(traced, wanted))
    return tuple(gate for gate in traced.gates if gate.node in needed)


def _first(node: fx.Node, values: Mapping[fx.Node, Any]) -> Tensor:
    given = node.args[0] if node.args else node.kwargs["input"]
    assert isinstance(given, fx.Node)
    found: Tensor = values[given]
    return found


def _run(traced: Traced, node: fx.Node, values: Mapping[fx.Node, Any], images: Tensor) -> Any:
    """What a node computes; an operation that would overwrite what it reads does not."""
    if node.op == "placeholder":
        return images if node is traced.image else node.args[0] if node.args else None
    if node.op == "get_attr":
        return _attribute(traced.module, str(node.target).split("."))
    args: Any = fx.node.map_arg(node.args, values.__getitem__)
    kwargs: Any = fx.node.map_arg(node.kwargs, values.__getitem__)
    target: Any = INPLACE.get(node.target, node.target)
    if node.op == "call_module":
        return traced.module.get_submodule(str(target))(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], target)(*args[1:], **kwargs)
    return target(*args, **kwargs)


def _attribute(module: Any, names: Iterable[str]) -> Any:
    for name in names:
        module = getattr(module, name)
    return module
