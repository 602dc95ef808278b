"""Which channels can fall, and what falls with them: convolutions, their BatchNorms, and who reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ticketcli.channels.coupling import coupled_groups
from ticketcli.channels.group import ChannelGroup, Consumer
from ticketcli.channels.operations import Layout, is_sum, layout_after, only_asks_for_size, reads_first
from ticketcli.tensors.following import Follower

__all__ = ["ChannelGraph", "ChannelGroup", "Consumer", "LeftOut", "channel_graph"]

_TAPPED = "taps_and_logits"


@dataclass(frozen=True)
class LeftOut:
    """A convolution whose channels do not fall, and why, in words."""

    conv: str
    reason: str


@dataclass(frozen=True)
class ChannelGraph:
    """All convolutions of a network, in the order in which they run."""

    groups: tuple[ChannelGroup, ...]
    left_out: tuple[LeftOut, ...]

    def __getitem__(self, conv: str) -> ChannelGroup:
        """The group of a convolution, by its name."""
        return next(group for group in self.groups if group.conv == conv)

    @property
    def channels(self) -> dict[str, int]:
        """Convolution -> its output channels."""
        return {group.conv: group.channels for group in self.groups}


def channel_graph(model: nn.Module, *, method: str | None = None, residual: bool = False) -> ChannelGraph:
    """Find the convolutions whose channels can fall, by tracing the network; nothing is computed, nothing changes.

    Left out are the stem, projection shortcuts, convolutions in groups (depthwise among them), those that are called
    more than once, and those without a BatchNorm of their own. Channels that several convolutions write together, as
    those of a GUNN layer's state, make one group, which is called as one of these.

    Args:
        model: any network that torch.fx can trace, in any mode.
        method: what is traced. By default `taps_and_logits` where there is such a method, so that taps keep their
            width, and `forward` elsewhere.
        residual: whether the channels of residual sums fall, too: one group is what the last convolutions of a stage's
            blocks and its projection shortcut write together, under the name of the last of them. A sum that the stem
            enters keeps its width, and so does one whose shortcut is padded with zeros.

    Raises:
        UsageError: the network cannot be traced; names the part where that ended.

    Source: SCOP's rule of what is pruned; pairs come from the trace, not from the order of modules.
    """
    nodes = list(_traced(model, method).nodes)
    finder = _Finder(nodes, dict(model.named_modules()))
    coupled = coupled_groups(nodes, finder.modules, finder.may_fall, finder.is_apart, residual=residual)
    groups: list[ChannelGroup] = []
    left_out: list[LeftOut] = []
    for node in nodes:
        if isinstance(finder.module_of(node), nn.Conv2d):
            name = str(node.target)
            if name in coupled:
                groups += [coupled[name]] if coupled[name].conv == name else []
                continue
            reason = finder.reason_against(node)
            if reason is None:
                groups.append(finder.group_of(node))
            elif all(one.conv != name for one in left_out):
                left_out.append(LeftOut(name, reason))
    return ChannelGraph(tuple(groups), tuple(left_out))


class _Tracer(Follower):
    """Layers that do more than normalise, such as timm's BatchNorms or those that scatter, stay whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        is_whole = isinstance(m, (_BatchNorm, nn.Conv2d)) or getattr(m, "keeps_width", False)
        return is_whole or super().is_leaf_module(m, module_qualified_name)


def _traced(model: nn.Module, method: str | None) -> fx.Graph:
    tracer = _Tracer()
    tracer.traced_func_name = method or (_TAPPED if hasattr(model, _TAPPED) else "forward")
    return tracer.follow(model, "channels", instead="weights can be pruned one by one")


class _Finder:
    """The nodes of a trace, and questions about them."""

    def __init__(self, nodes: list[fx.Node], modules: dict[str, nn.Module]) -> None:
        self.nodes, self.modules = nodes, modules
        self._calls = Counter(id(self.module_of(node)) for node in nodes if node.op == "call_module")
        self._place = {node: place for place, node in enumerate(nodes)}
        self._above = _ancestors(nodes)
        self._shortcuts = {conv for node in nodes if is_sum(node) for conv in self._shortcut_into(node)}

    def module_of(self, node: fx.Node) -> nn.Module | None:
        return self.modules[str(node.target)] if node.op == "call_module" else None

    def may_fall(self, node: fx.Node) -> bool:
        """Whether a convolution's channels can fall, whatever becomes of them."""
        return self._reason_against_conv(node) is None

    def is_apart(self, node: fx.Node) -> bool:
        """Whether a layer is called once, with a weight of its own."""
        return not self._is_shared(node) and _has_own_weight(self.modules[str(node.target)])

    def reason_against(self, node: fx.Node) -> str | None:
        """Why the channels of a convolution stay; None where they can fall."""
        reason = self._reason_against_conv(node)
        if reason is None and node in self._shortcuts:
            return "it is the projection shortcut of a residual block"
        return reason or self._reason_against_norm(node)

    def _reason_against_conv(self, node: fx.Node) -> str | None:
        conv = self.module_of(node)
        assert isinstance(conv, nn.Conv2d)
        if self._is_shared(node):
            return "it is called more than once"
        if not _has_own_weight(conv):
            return "its weight is computed from other parameters"
        if conv.groups > 1:
            kind = "depthwise" if conv.groups == conv.in_channels else f"in {conv.groups} groups"
            return f"it is {kind}: its outputs are tied to its inputs"
        if not any(self._is_weighty(other) for other in self._above[node]):
            return "it is the stem, which reads the image"
        return None

    def _reason_against_norm(self, node: fx.Node) -> str | None:
        readers = [reader for reader in node.users if not only_asks_for_size(reader)]
        norm = self.module_of(readers[0]) if len(readers) == 1 else None
        if not isinstance(norm, nn.BatchNorm2d):
            return "no BatchNorm alone reads it"
        if not norm.affine or not norm.track_running_stats or self._is_shared(readers[0]):
            return "its BatchNorm has no scale, no statistics, or is called more than once"
        if type(norm) is not nn.BatchNorm2d and self._consumers_of(readers[0], norm.num_features) is None:
            return f"its {type(norm).__name__} does more than normalise, and all its channels are needed behind it"
        return None

    def group_of(self, node: fx.Node) -> ChannelGroup:
        (norm,) = (reader for reader in node.users if not only_asks_for_size(reader))
        conv = self.module_of(node)
        assert isinstance(conv, nn.Conv2d)
        consumers = self._consumers_of(norm, conv.out_channels)
        return ChannelGroup(
            str(node.target), str(norm.target), conv.out_channels, consumers or (), joins_sum=consumers is None
        )

    def _consumers_of(self, norm: fx.Node, channels: int) -> tuple[Consumer, ...] | None:
        """Who reads the channels, if nobody needs all of them; else None."""
        found: list[Consumer] = []
        waiting: list[tuple[fx.Node, Layout]] = [(norm, "map")]
        while waiting:
            node, layout = waiting.pop()
            for reader in node.users:
                if only_asks_for_size(reader):
                    continue
                after = layout_after(reader, self.modules, layout) if reads_first(reader, node) else None
                if after is not None:
                    waiting.append((reader, after))
                    continue
                consumer = self._consumer(reader, layout, channels)
                if consumer is None:
                    return None
                found.append(consumer)
        places = {str(node.target): place for node, place in self._place.items()}
        return (
            tuple(sorted(found, key=lambda one: places[one.name])) or None
        )  # read by nobody here: then by somebody else

    def _consumer(self, reader: fx.Node, layout: Layout, channels: int) -> Consumer | None:
        module, name = self.module_of(reader), str(reader.target)
        if module is None or self._is_shared(reader) or not _has_own_weight(module):
            return None
        if isinstance(module, nn.Conv2d) and layout == "map" and module.groups == 1 and module.in_channels == channels:
            return Consumer(name)
        if isinstance(module, nn.Linear) and layout == "vector" and module.in_features % channels == 0:
            return Consumer(name, module.in_features // channels)
        return None

    def _is_shared(self, node: fx.Node) -> bool:
        return self._calls[id(self.module_of(node))] > 1

    def _is_weighty(self, node: fx.Node) -> bool:
        return isinstance(self.module_of(node), (nn.Conv2d, nn.Linear))

    def _shortcut_into(self, total: fx.Node) -> Iterator[fx.Node]:
        """Of the two branches of a residual block, the one convolution of that which has just one, and the other more.

        The branches begin behind the last node that both come from.
        """
        left, right = (self._above[one] | {one} for one in total.all_input_nodes)
        shared = left & right
        if not shared:
            return
        fork = max(shared, key=self._place.__getitem__)
        common = self._above[fork] | {fork}
        ours, theirs = ([node for node in side - common if self._is_weighty(node)] for side in (left, right))
        for few, many in ((ours, theirs), (theirs, ours)):
            if len(few) == 1 < len(many):
                yield few[0]


def _has_own_weight(module: nn.Module) -> bool:
    """Not so where it is parametrised, as spectral norm and weight norm do."""
    return "weight" in module._parameters


def _ancestors(nodes: list[fx.Node]) -> dict[fx.Node, frozenset[fx.Node]]:
    """For each node all that it depends on, itself not included."""
    found: dict[fx.Node, frozenset[fx.Node]] = {}
    for node in nodes:
        inputs = node.all_input_nodes
        found[node] = frozenset(inputs).union(*(found[one] for one in inputs))
    return found
