"""What an operation of a traced network does to the channels that it reads: keeps them apart, or mixes them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.nn import functional as F

Layout = Literal["map", "vector"]  # [N, C, h, w]; or [N, C k], where channel c has the columns c k to (c + 1) k

POINTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.SiLU, nn.GELU, nn.Mish, nn.Hardtanh, nn.Hardswish,
    nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Identity, nn.Dropout,
)  # fmt: skip
OVER_SPACE = (
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample, nn.ZeroPad2d, nn.Dropout2d,
)  # fmt: skip
_POINTWISE_CALLS: frozenset[Any] = frozenset({
    torch.relu, torch.relu_, torch.sigmoid, torch.tanh, F.relu, F.relu_, F.relu6, F.leaky_relu, F.elu, F.silu, F.gelu,
    F.mish, F.hardtanh, F.hardswish, F.hardsigmoid, F.sigmoid, F.tanh, F.softplus, F.dropout,
})  # fmt: skip
_OVER_SPACE_CALLS: frozenset[Any] = frozenset({
    F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.interpolate, F.dropout2d, F.max_pool2d,
    torch.max_pool2d,
})  # fmt: skip
_POINTWISE_METHODS = frozenset({"relu", "relu_", "sigmoid", "sigmoid_", "tanh", "tanh_", "contiguous", "clone"})
_SUMS: frozenset[Any] = frozenset({operator.add, operator.iadd, torch.add, "add", "add_"})


def only_asks_for_size(node: fx.Node) -> bool:
    """Whether an operation reads a tensor's shape and none of its values."""
    if node.op == "call_method":
        return node.target in ("size", "dim")
    return (
        node.op == "call_function" and node.target is getattr and node.args[1] in ("shape", "ndim", "dtype", "device")
    )


def reads_first(reader: fx.Node, node: fx.Node) -> bool:
    """Whether it reads the tensor once, as its first argument or as `input`."""
    given = reader.args[0] if reader.args else reader.kwargs.get("input")
    return given is node and [*reader.args, *reader.kwargs.values()].count(node) == 1


def is_sum(node: fx.Node) -> bool:
    """Whether it adds two tensors, as the end of a residual block does."""
    is_call = node.op in ("call_function", "call_method") and node.target in _SUMS
    return is_call and len(node.all_input_nodes) == 2


def layout_after(node: fx.Node, modules: Mapping[str, nn.Module], layout: Layout) -> Layout | None:
    """How channels lie in what the operation returns; None where it does not keep them apart, or is not known to.

    Args:
        node: an operation that reads the channels as its first argument.
        modules: of the network, by name.
        layout: how they lie in what it reads.
    """
    if node.op == "call_module":
        return _after_module(modules[str(node.target)], layout)
    if node.op == "call_function":
        if node.target in _POINTWISE_CALLS:
            return layout
        if node.target in _OVER_SPACE_CALLS:
            return layout if layout == "map" else None
    if node.op == "call_method" and node.target in _POINTWISE_METHODS:
        return layout
    known: dict[Any, Callable[[fx.Node, Layout], Layout | None]] = {
        torch.flatten: _after_flatten, "flatten": _after_flatten, torch.mean: _after_mean, "mean": _after_mean,
        "view": _after_view, "reshape": _after_view,
    }  # fmt: skip
    rule = known.get(node.target)
    return rule(node, layout) if rule is not None else None


def _after_module(module: nn.Module, layout: Layout) -> Layout | None:
    if isinstance(module, POINTWISE) or (isinstance(module, nn.PReLU) and module.num_parameters == 1):
        return layout
    if isinstance(module, nn.Flatten):
        return "vector" if (module.start_dim, module.end_dim) == (1, -1) else None
    return "map" if isinstance(module, OVER_SPACE) and layout == "map" else None


def argument(node: fx.Node, place: int, name: str, default: Any) -> Any:
    """What an operation is given, by place or by name."""
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _after_flatten(node: fx.Node, _layout: Layout) -> Layout | None:
    ends = (argument(node, 1, "start_dim", 0), argument(node, 2, "end_dim", -1))
    return "vector" if ends == (1, -1) else None


def _after_mean(node: fx.Node, layout: Layout) -> Layout | None:
    dims = argument(node, 1, "dim", ())
    is_over_space = isinstance(dims, (tuple, list)) and len(dims) == 2 and {int(dim) % 4 for dim in dims} == {2, 3}
    if layout != "map" or not is_over_space:
        return None
    return "map" if argument(node, 2, "keepdim", False) else "vector"


def _after_view(node: fx.Node, _layout: Layout) -> Layout | None:
    """`view(n, -1)`: each image in one row."""
    sizes = node.args[1:] if not isinstance(node.args[1], (tuple, list)) else tuple(node.args[1])
    return "vector" if len(sizes) == 2 and sizes[1] == -1 and _is_batch_size(sizes[0]) else None


def _is_batch_size(value: Any) -> bool:
    if not isinstance(value, fx.Node):
        return False
    if value.target == "size":
        return value.args[1:] == (0,)
    whole = value.args[0] if value.target is operator.getitem and value.args[1] == 0 else None
    return isinstance(whole, fx.Node) and (whole.target == "size" or whole.args[1:] == ("shape",))
