"""What an operation of a traced network is to the gates: affine, a ReLU, a max-pool, or nothing that they allow."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ticketcli.errors import UsageError

Kind = Literal["affine", "relu", "pool"]
Modules = Mapping[str, nn.Module]

_RELUS: frozenset[Any] = frozenset({torch.relu, torch.relu_, F.relu, F.relu_, "relu", "relu_"})
_POOLS: frozenset[Any] = frozenset({F.max_pool2d, torch.max_pool2d, F.adaptive_max_pool2d})
_AFFINE_MODULES = (
    nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Identity, nn.Flatten, nn.Unflatten, nn.AvgPool2d,
    nn.AdaptiveAvgPool2d, nn.Upsample, nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d,
    nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.Unfold, nn.Fold,
)  # fmt: skip
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)
# affine in their first argument, or all that depends on the image stands in a list there
_AFFINE: frozenset[Any] = frozenset({
    F.conv1d, F.conv2d, F.linear, F.avg_pool2d, F.adaptive_avg_pool2d, F.interpolate, F.pad, F.pixel_shuffle, F.unfold,
    torch.conv2d, torch.flatten, torch.mean, torch.sum, torch.neg, operator.neg, torch.reshape, torch.transpose,
    torch.permute, torch.movedim, torch.squeeze, torch.unsqueeze, torch.roll, torch.flip, torch.chunk, torch.split,
    torch.narrow, torch.select, torch.index_select, torch.clone, torch.cat, torch.concat, torch.stack,
    operator.getitem,
    "flatten", "mean", "sum", "neg", "reshape", "view", "transpose", "permute", "movedim", "squeeze", "unsqueeze",
    "roll", "flip", "chunk", "split", "narrow", "select", "index_select", "clone", "contiguous", "expand", "to",
    "float", "double", "type_as", "view_as", "expand_as", "repeat",
})  # fmt: skip
_SUMS: frozenset[Any] = frozenset({
    operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub, "add", "add_", "sub", "sub_",
})  # fmt: skip
# affine where one factor alone comes from the image
_PRODUCTS: frozenset[Any] = frozenset({
    operator.mul, operator.imul, torch.mul, operator.matmul, torch.matmul, torch.bmm, "mul", "mul_", "matmul", "bmm",
})  # fmt: skip
_QUOTIENTS: frozenset[Any] = frozenset({operator.truediv, operator.itruediv, torch.div, "div", "div_"})
_DROPPED: frozenset[Any] = frozenset({F.dropout, F.dropout1d, F.dropout2d, F.alpha_dropout})
# keep values that are not negative so, if all that they read are
_KEEP_SIGN: frozenset[Any] = frozenset({
    F.avg_pool2d, F.adaptive_avg_pool2d, F.dropout, F.dropout2d, torch.flatten, torch.mean, torch.sum, torch.reshape,
    torch.clone, torch.cat, operator.getitem, operator.add, operator.iadd, torch.add,
    "flatten", "mean", "sum", "reshape", "view", "clone", "contiguous", "permute", "transpose", "add", "add_",
})  # fmt: skip
_KEEP_SIGN_MODULES = (nn.Identity, nn.Flatten, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.ZeroPad2d, *_DROPOUTS)
_ADDITIONS: frozenset[Any] = frozenset({operator.add, operator.iadd, torch.add, "add", "add_"})
# map each channel of a map to the same channel of another
_KEEP_CHANNELS: frozenset[Any] = frozenset({
    F.max_pool2d, torch.max_pool2d, F.avg_pool2d, F.batch_norm, F.dropout, F.dropout2d, F.interpolate, torch.clone,
    "clone", "contiguous", *_ADDITIONS,
})  # fmt: skip
_KEEP_CHANNELS_MODULES = (
    nn.BatchNorm2d, nn.Identity, nn.MaxPool2d, nn.AvgPool2d, nn.Upsample, nn.ZeroPad2d, *_DROPOUTS,
)  # fmt: skip
INPLACE: Mapping[Any, Any] = {
    operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul,
    operator.itruediv: operator.truediv, "add_": "add", "sub_": "sub", "mul_": "mul", "div_": "div",
}  # fmt: skip
_ENDS = ("softmax", "sigmoid", "loss", "entropy", "nll", "argmax", "topk")  # of a network that returns no logits


def only_asks_for_size(node: fx.Node) -> bool:
    """Whether it reads a tensor's shape, kind or place, and none of its values."""
    if node.op == "call_method":
        return node.target in ("size", "dim", "numel")
    return node.target is getattr and node.args[1] in ("shape", "ndim", "dtype", "device")


def overwrites(node: fx.Node, modules: Modules) -> bool:
    """Whether it changes its first argument where that lies."""
    if node.op == "call_module":
        return bool(getattr(modules[str(node.target)], "inplace", False)) and _is_relu(node, modules)
    in_place: Any = node.kwargs.get("inplace", len(node.args) > 1 and node.target is F.relu and node.args[1])
    return node.target in INPLACE or node.target in (torch.relu_, F.relu_, "relu_") or bool(in_place)


def kind_of(node: fx.Node, modules: Modules, dependent: Collection[fx.Node]) -> Kind:
    """What a node is to the gates.

    Args:
        node: calls something with what comes from the image.
        modules: of the network, by name.
        dependent: the nodes whose values come from the image.

    Raises:
        UsageError: the node is neither affine, nor a ReLU, nor a max-pool of two dimensions; names it.
    """
    if _is_relu(node, modules):
        return "relu"
    module = modules[str(node.target)] if node.op == "call_module" else None
    if isinstance(module, (nn.MaxPool2d, nn.AdaptiveMaxPool2d)) or node.target in _POOLS:
        if getattr(module, "return_indices", False) or node.kwargs.get("return_indices"):
            raise _refused(node, "returns the places of its maxima", "pool without return_indices")
        return "pool"
    reason = _reason_against(module) if module is not None else _reason_against_call(node, dependent)
    if reason is not None:
        raise _refused(node, *reason, module=module)
    return "affine"


def keeps_sign(node: fx.Node, modules: Modules) -> bool:
    """Whether what it returns is nowhere negative if nothing that it reads is."""
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], _KEEP_SIGN_MODULES)
    return node.target in _KEEP_SIGN and not any(isinstance(one, (int, float)) and one < 0 for one in node.args[1:2])


def keeps_channels(node: fx.Node, modules: Modules) -> bool:
    """Whether channel c of what it returns comes from channel c of each map that it reads, and from no other."""
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], _KEEP_CHANNELS_MODULES)
    return node.target in _KEEP_CHANNELS


def adds(node: fx.Node) -> bool:
    """Whether it is the sum of two nodes."""
    return node.op != "call_module" and node.target in _ADDITIONS and len(node.all_input_nodes) == 2


def _is_relu(node: fx.Node, modules: Modules) -> bool:
    if node.op == "call_module":
        return type(modules[str(node.target)]) is nn.ReLU
    return node.op in ("call_function", "call_method") and node.target in _RELUS


Reason = tuple[str, str]  # what is wrong, and what to do


def _reason_against(module: nn.Module) -> Reason | None:
    if isinstance(module, _BatchNorm) and not _says_affine(module):
        if module.running_mean is None or module.running_var is None:
            return "normalises by the batch that it is given", "give it running statistics (track_running_stats)"
        return None
    if isinstance(module, (*_AFFINE_MODULES, *_DROPOUTS)) or _says_affine(module):
        return None
    return _WRONG


def _says_affine(thing: object) -> bool:
    """A network's own module or function that torch.fx keeps whole says so of itself: `is_affine = True`."""
    return getattr(thing, "is_affine", False) is True


_WRONG = ("is neither affine nor a ReLU", "feedback is for networks of affine layers, ReLUs and max-pools")


def _reason_against_call(node: fx.Node, dependent: Collection[fx.Node]) -> Reason | None:
    target: Any = node.target
    from_image = [one for one in _flat(node) if one in dependent]
    if target in _SUMS or _says_affine(target):
        return None
    if target in _PRODUCTS or target in _QUOTIENTS:
        if len(from_image) > 1 or (target in _QUOTIENTS and node.args[0] is not from_image[0]):
            return "multiplies or divides by what comes from the image, as attention and SE gates do", _WRONG[1]
        return None
    if target in _DROPPED:
        return ("drops at random", "call network.eval()") if _given(node, 2, "training", True) else None
    if target is F.batch_norm:
        is_still = not _given(node, 5, "training", False) and _given(node, 1, "running_mean", None) is not None
        return None if is_still else ("normalises by the batch that it is given", "give it running statistics")
    if target in _AFFINE:
        others = [one for one in from_image if not _reads_first(node, one)]
        return ("computes with two things of the image", _WRONG[1]) if others else None
    return _WRONG


def _flat(node: fx.Node) -> list[fx.Node]:
    """Every node that it reads, as often as it is read."""
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), found.append)
    return found


def _reads_first(node: fx.Node, read: fx.Node) -> bool:
    first = node.args[0] if node.args else node.kwargs.get("input", node.kwargs.get("tensors"))
    return first is read or (isinstance(first, (list, tuple)) and read in first)


def _given(node: fx.Node, place: int, name: str, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _refused(node: fx.Node, what: str, hint: str, *, module: nn.Module | None = None) -> UsageError:
    called = type(module).__name__ if module is not None else called_as(node.target)
    if any(word in called.lower() for word in _ENDS) and what is _WRONG[0]:
        what, hint = "is not affine, so that nothing behind it can be a target", "let the network return its logits"
    where = str(node.target) if module is not None else node.name
    return UsageError(f"'{called}' {what}", where=f"{where} of the traced network", hint=hint)


def called_as(target: str | Callable[..., Any]) -> str:
    """The word for what is called."""
    return target if isinstance(target, str) else str(getattr(target, "__name__", target))
