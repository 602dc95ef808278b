"""How far a pruned network's outputs can be from the dense one's, from the layers' errors alone.

Every layer's error, measured on the dense network's inputs, is carried through what follows it, in the graph of the
network: by the norms of the pruned weights, the patches of convolutions, BatchNorm as a diagonal factor, pools by what
they read; where branches meet, bounds add.

It is a statement about the images that the errors were measured on, before BatchNorm is estimated anew or a weight is
trained, and, where positions were sampled, as exact as the sample. Errors that were measured on inputs from layers
pruned before do not belong here.

Source: Dong et al., theorem 3.2 with the index of equation 10 put right, ``sum_h root(E_h) prod_(k > h) ||W_k||``; the
paper has Frobenius norms, spectral ones are as valid and tighter. Convolutions, pools and branches are not in it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from ticketcli.criteria.layerwise import gains
from ticketcli.criteria.layerwise.report import LayerReport
from ticketcli.errors import MismatchError, UsageError
from ticketcli.tensors.modes import evaluating

Norm = Literal["spectral", "frobenius"]
OUTPUT = "output"
_LIPSCHITZ_1 = (nn.ReLU, nn.ReLU6, nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Tanh, nn.Hardtanh)
_SAME_LENGTH = {
    torch.relu, torch.relu_, F.relu, F.relu_, F.relu6, torch.tanh, F.dropout, torch.flatten, torch.reshape, torch.split,
    "relu", "relu_", "tanh", "flatten", "view", "reshape", "contiguous", "permute", "transpose", "squeeze", "unsqueeze",
    "float", "clone",
}  # fmt: skip
_SUMS = {operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub, "add", "add_", "sub", "sub_"}
_CONCATENATIONS = {torch.cat, torch.concat}
_MEANS = {torch.mean, "mean"}
_IN_PLACE = {operator.iadd, operator.isub, "add_", "sub_"}
_NO_TENSOR = {getattr, "size", "dim"}


@torch.no_grad()
def error_bound(
    model: nn.Module, reports: Mapping[str, LayerReport], example: Tensor, *, norm: Norm
) -> dict[str, float]:
    """Bounds on the root of the mean squared length of the difference between dense and pruned, an image.

    Args:
        model: with the pruned weights, its BatchNorms as in the dense network but for shifted means. It is run once,
            in eval mode.
        reports: of the layers that were pruned, by module name.
        example: an input; its size counts, its values do not.
        norm: of the weights.

    Returns:
        A bound for the output of each layer reported, before BatchNorm and activation, over all its positions and
        channels; and `output` for the network's.

    Raises:
        UsageError: the network cannot be traced, or does something of which no bound is known; it says where.
        MismatchError: a report is of no convolution or linear layer that runs exactly once.
    """
    with evaluating(model):
        try:
            traced = fx.symbolic_trace(model)
            ShapeProp(traced).propagate(example)
        except (fx.proxy.TraceError, TypeError, NotImplementedError) as error:
            raise UsageError(f"no bound: the network cannot be traced ({error})", where="error bound",
                             hint="go without it for this network") from error  # fmt: skip
        walk = _Walk(traced, reports, norm)
        for node in traced.graph.nodes:
            walk.visit(node)
    missed = sorted(set(reports) - set(walk.found))
    if missed:
        raise MismatchError(f"the network has no convolution or linear layer '{missed[0]}'", where="error bound")
    return walk.found


class _Walk:
    """Bounds, node by node in the order of the graph."""

    def __init__(self, traced: fx.GraphModule, reports: Mapping[str, LayerReport], norm: Norm) -> None:
        self.traced, self.reports, self.norm = traced, reports, norm
        self.found: dict[str, float] = {}
        self.bounds: dict[fx.Node, float] = {}
        self.pieces: dict[fx.Node, tuple[fx.Node, int, float]] = {}  # of a split: which, and what was added to it
        self.parts: dict[fx.Node, tuple[nn.Conv2d | nn.Linear, float, float]] = {}  # layer, of its patches, its own

    def visit(self, node: fx.Node) -> None:
        if node.op in ("placeholder", "get_attr"):
            self.bounds[node] = 0.0
        elif node.op == "call_module":
            self.bounds[node] = self._module(node, self.traced.get_submodule(str(node.target)))
        elif node.op == OUTPUT:
            self.found[OUTPUT] = self._of(node, node.args[0])
        elif node.target not in _NO_TENSOR:
            self.bounds[node] = self._call(node)
            if node.target in _IN_PLACE and isinstance(node.args[0], fx.Node):
                self.bounds[node.args[0]] = self.bounds[node]  # whoever reads it later finds it changed

    def _of(self, node: fx.Node, given: Any) -> float:
        """The bound of an argument."""
        if not isinstance(given, fx.Node) or given not in self.bounds:
            raise self._unknown(node, f"'{given}' is not one tensor")
        return self.bounds[given]

    def _unknown(self, node: fx.Node, why: str) -> UsageError:
        name = getattr(node.target, "__name__", node.target)
        return UsageError(f"no bound is known for '{name}': {why}", where=f"node {node.name}",
                          hint="go without the bound for this network")  # fmt: skip

    def _module(self, node: fx.Node, module: nn.Module) -> float:
        before = self._of(node, node.args[0])
        if isinstance(module, nn.Conv2d | nn.Linear):
            return self._layer(node, module, before)
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            return self._normalised(node, module, before)
        if isinstance(module, nn.LeakyReLU):
            return before * max(1.0, abs(module.negative_slope))
        if isinstance(module, nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d):
            return before * _pool(node, module)
        if isinstance(module, _LIPSCHITZ_1):
            return before
        raise self._unknown(node, f"a {type(module).__name__}")

    def _layer(self, node: fx.Node, layer: nn.Conv2d | nn.Linear, before: float) -> float:
        name, report = str(node.target), self.reports.get(str(node.target))
        if name in self.found:
            raise MismatchError(f"'{name}' runs more than once", where=f"node {node.name}",
                                hint="go without the bound for this network")  # fmt: skip
        own = math.sqrt(report.positions * report.error) if report is not None else 0.0
        cut = before * gains.patch_gain(layer, _size(node.args[0])) if isinstance(layer, nn.Conv2d) else before
        self.parts[node] = (layer, cut, own)
        groups = getattr(layer, "groups", 1)
        found = own + (cut * gains.operator_norm(layer.weight, groups, self.norm) if cut else 0.0)
        if report is not None:
            self.found[name] = found
        return found

    def _normalised(self, node: fx.Node, norm: nn.BatchNorm2d | nn.BatchNorm1d, before: float) -> float:
        """Each channel times a factor; joined with the layer before, where nobody else reads that."""
        scale, read = gains.bn_scale(norm), node.args[0]
        largest = float(scale.abs().max())
        if not isinstance(read, fx.Node) or read not in self.parts or len(read.users) > 1:
            return before * largest
        layer, cut, own = self.parts[read]
        groups = getattr(layer, "groups", 1)
        carried = cut * gains.operator_norm(layer.weight, groups, self.norm, scale) if cut else 0.0
        return min(carried + own * largest, before * largest)

    def _call(self, node: fx.Node) -> float:
        """A function or a method."""
        target: Any = node.target
        if target in _SUMS:
            return self._sum(node)
        if target in _CONCATENATIONS:
            return self._concatenation(node)
        if target in (operator.mul, torch.mul, "mul") and isinstance(node.args[1], int | float):
            return self._of(node, node.args[0]) * abs(node.args[1])
        before = self._of(node, node.args[0])
        if hasattr(target, "gain"):  # a network's own function, kept whole by `torch.fx.wrap`, says what it is
            return before * float(target.gain)
        if target is operator.getitem:
            self._require_slices(node)
            source = node.args[0]
            if isinstance(source, fx.Node) and source.target is torch.split and isinstance(node.args[1], int):
                self.pieces[node] = (source, node.args[1], 0.0)
            return before
        if target is F.dropout and _given(node, 2, "training", True):
            raise self._unknown(node, "it is on in eval mode")
        if target in _MEANS:  # of m numbers each
            return before * math.sqrt(_numel(node) / _numel(node.args[0]))
        if (target is F.pad and _given(node, 2, "mode", "constant") == "constant") or target in _SAME_LENGTH:
            return before
        pool = _functional_pool(node)
        if pool is not None:
            return before * _pool(node, pool)
        raise self._unknown(node, "its rule is missing")

    def _sum(self, node: fx.Node) -> float:
        """Of tensors bounds add, as often as one is repeated to fit; numbers change nothing."""
        if node.kwargs:
            raise self._unknown(node, "it has further arguments")
        found = 0.0
        if len(node.args) == 2 and isinstance(one := node.args[0], fx.Node) and one in self.pieces:
            source, place, added = self.pieces[one]
            if isinstance(other := node.args[1], fx.Node) and _size(other) == _size(one):
                self.pieces[node] = (source, place, added + self._of(node, other))
        for one in node.args:
            if isinstance(one, fx.Node):
                found += self._of(node, one) * math.sqrt(_numel(node) / _numel(one))
        return found

    def _concatenation(self, node: fx.Node) -> float:
        """Squares add; of pieces of one tensor, to which something was added, that tensor counts once.

        ``|[x_1 + f_1, x_2 + f_2]| <= |x| + |[f_1, f_2]|``, as in a layer that renews its segments one by one.
        """
        square = 0.0
        split: dict[fx.Node, dict[int, float]] = {}
        for one in _given(node, 0, "tensors"):
            source, place, added = self.pieces.get(one, (one, 0, 0.0))
            if one not in self.pieces or place in split.get(source, {}):
                square += self._of(node, one) ** 2
            else:
                split.setdefault(source, {})[place] = added
        for source, pieces in split.items():
            square += (self._of(node, source) + math.sqrt(sum(added**2 for added in pieces.values()))) ** 2
        return math.sqrt(square)

    def _require_slices(self, node: fx.Node) -> None:
        given = node.args[1]
        for one in given if isinstance(given, tuple) else (given,):
            if not (one is None or one is Ellipsis or isinstance(one, slice | int)):
                raise self._unknown(node, "an index may read a value more than once")


def _size(node: Any) -> tuple[int, ...]:
    """What the example had there."""
    return tuple(node.meta["tensor_meta"].shape)


def _numel(node: Any) -> int:
    return math.prod(_size(node))


def _given(node: fx.Node, place: int, name: str, default: Any = None) -> Any:
    """An argument, by place or by name."""
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _pair(given: Any) -> tuple[int, int]:
    return (given, given) if isinstance(given, int) else (int(given[0]), int(given[1]))


def _pool(node: fx.Node, module: nn.Module) -> float:
    size, out = _size(node.args[0]), _size(node)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return gains.adaptive_pool_gain(size, out)
    if isinstance(module, nn.AvgPool2d):
        if module.divisor_override is not None:
            raise UsageError("no bound is known for a pool with its own divisor", where=f"node {node.name}")
        return gains.average_pool_gain(
            size, out, _pair(module.kernel_size), _pair(module.stride), _pair(module.padding)
        )
    assert isinstance(module, nn.MaxPool2d)
    kernel, stride = _pair(module.kernel_size), _pair(module.stride)
    return gains.max_pool_gain(size, out, kernel, stride, _pair(module.padding), _pair(module.dilation))


def _functional_pool(node: fx.Node) -> nn.Module | None:
    """The module that does the same as a function."""
    target: Any = node.target
    makers: dict[Any, Callable[..., nn.Module]] = {
        F.max_pool2d: nn.MaxPool2d, torch.max_pool2d: nn.MaxPool2d,
        F.avg_pool2d: nn.AvgPool2d, F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    }  # fmt: skip
    if target not in makers:
        return None
    settings = {name: value for name, value in node.kwargs.items() if name != "input"}
    return makers[target](*node.args[1:], **settings)
