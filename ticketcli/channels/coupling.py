"""Channels that several convolutions write together, and that fall from all of them at once.

A layer that adds to its own state, as a GUNN layer does, has no channel of one convolution: channel j of the state is
written by the transition before the layer, by the unit that owns its segment, and by that unit's projection; and it is
read by every unit and by whatever follows. Such layers say so (`couples_channels`). Elsewhere a sum keeps its width,
unless residual sums are asked for: then channel j of a stage of residual blocks is written by the last convolution of
each of its blocks and by the projection shortcut, and read by the first of each and by whatever follows.

Every channel of every convolution is given a number as the trace is walked; sums within such a layer make two numbers
one, and whatever is not known to keep channels apart pins them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from ticketcli.channels.group import ChannelGroup, Consumer, Rows, Segment, Tapped
from ticketcli.channels.operations import Layout, argument, is_sum, layout_after, only_asks_for_size, reads_first

_CONCATENATIONS: frozenset[Any] = frozenset({torch.cat, torch.concat})


@dataclass(frozen=True)
class _Track:
    """The numbers of the channels of a tensor, in order, and how they lie in it."""

    channels: tuple[int, ...]
    layout: Layout


@dataclass
class _Facts:
    """What is known of one channel; of two that are one, of both."""

    writers: list[tuple[str, int]] = field(default_factory=list)  # convolution, row
    readers: list[tuple[str, int, int]] = field(default_factory=list)  # layer, first column, columns
    taps: list[tuple[str, int]] = field(default_factory=list)
    segment: tuple[str, int, int] | None = None  # layer, place of the segment, place of the channel in it
    is_coupled: bool = False
    is_pinned: bool = False

    def absorb(self, other: _Facts) -> None:
        self.writers += other.writers
        self.readers += other.readers
        self.taps += other.taps
        self.segment = self.segment or other.segment
        self.is_coupled |= other.is_coupled
        self.is_pinned |= other.is_pinned


def coupled_groups(
    nodes: Sequence[fx.Node],
    modules: Mapping[str, nn.Module],
    may_fall: Callable[[fx.Node], bool],
    is_apart: Callable[[fx.Node], bool],
    *,
    residual: bool = False,
) -> dict[str, ChannelGroup]:
    """The groups of coupled channels of a trace, a segment or a residual sum: each convolution of a group -> the group.

    Args:
        nodes: of the trace, in order.
        modules: of the network, by name.
        may_fall: whether rows of a convolution can fall as far as the convolution goes: not the stem, not shared.
        is_apart: whether a layer is called once, with a weight of its own: else it cannot be cut for one of its inputs.
        residual: whether sums outside layers that couple their channels couple them too.
    """
    if not residual and not any(getattr(module, "couples_channels", False) for module in modules.values()):
        return {}
    walk = _Walk(modules, may_fall, is_apart, residual)
    for node in nodes:
        walk.visit(node)
    return {rows.conv: group for group in walk.groups() for rows in group.producers}


class _Walk:
    """Numbers of channels, node by node."""

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        may_fall: Callable[[fx.Node], bool],
        is_apart: Callable[[fx.Node], bool],
        residual: bool,
    ) -> None:
        self.modules, self.may_fall, self.is_apart, self.residual = modules, may_fall, is_apart, residual
        self.sums: list[_Track] = []  # of residual blocks
        self.tracks: dict[fx.Node, _Track] = {}
        self.parts: dict[fx.Node, list[_Track]] = {}  # what a split returns
        self.norms: dict[str, str] = {}
        self._facts: list[_Facts] = []
        self._same: list[int] = []

    def visit(self, node: fx.Node) -> None:
        """Follow the channels through one operation."""
        if only_asks_for_size(node):
            return
        known = self._module(node) if node.op == "call_module" else self._call(node)
        if not known:
            for given in node.all_input_nodes:
                self._pin(given)

    # ------------------------------------------------------------------ operations

    def _module(self, node: fx.Node) -> bool:
        module, given = self.modules[str(node.target)], self._first(node)
        if isinstance(module, nn.Conv2d):
            return self._convolved(node, module, given)
        if given is None:
            return False
        if isinstance(module, nn.Linear):
            return self.is_apart(node) and self._is_read(node, given, module.in_features)
        if getattr(module, "keeps_width", False):
            for place, one in enumerate(given.channels):
                self._of(one).taps.append((str(node.target), place))
            return True
        if type(module) is nn.BatchNorm2d:
            return self._normalised(node, module, given)
        return self._kept_apart(node, given)

    def _call(self, node: fx.Node) -> bool:
        if is_sum(node):
            return self._summed(node)
        if node.target in _CONCATENATIONS and argument(node, 1, "dim", 0) == 1:
            tracks = [self.tracks.get(one) for one in argument(node, 0, "tensors", ())]
            whole = [track for track in tracks if track is not None and track.layout == "map"]
            if len(whole) == len(tracks):
                self.tracks[node] = _Track(tuple(one for track in whole for one in track.channels), "map")
                return True
            return False
        given = self._first(node)
        if node.target is torch.split and given is not None:
            return self._split(node, given)
        source = node.args[0] if node.args else None
        if isinstance(source, fx.Node) and source in self.parts:
            return self._picked(node, source)
        return given is not None and self._kept_apart(node, given)

    def _convolved(self, node: fx.Node, conv: nn.Conv2d, given: _Track | None) -> bool:
        name, falls = str(node.target), self.may_fall(node)
        known = given is not None and falls and self._is_read(node, given, conv.in_channels)
        ids = [self._new() for _ in range(conv.out_channels)]
        for row, one in enumerate(ids):
            self._of(one).writers.append((name, row))
            self._of(one).is_pinned = not falls
        self.tracks[node] = _Track(tuple(ids), "map")
        return known

    def _is_read(self, node: fx.Node, given: _Track, inputs: int) -> bool:
        """By a convolution, or a linear layer behind a flat map."""
        wanted: Layout = "map" if isinstance(self.modules[str(node.target)], nn.Conv2d) else "vector"
        columns = inputs // len(given.channels)
        if given.layout != wanted or columns * len(given.channels) != inputs:
            return False
        for place, one in enumerate(given.channels):
            self._of(one).readers.append((str(node.target), place * columns, columns))
        return True

    def _normalised(self, node: fx.Node, norm: nn.BatchNorm2d, given: _Track) -> bool:
        """By the BatchNorm that alone reads a convolution."""
        before = node.args[0]
        assert isinstance(before, fx.Node)
        readers = [reader for reader in before.users if not only_asks_for_size(reader)]
        is_of_conv = before.op == "call_module" and isinstance(self.modules[str(before.target)], nn.Conv2d)
        if not is_of_conv or len(readers) != 1 or not self.is_apart(node):
            return False
        if not norm.affine or not norm.track_running_stats:
            return False
        self.norms[str(before.target)] = str(node.target)
        self.tracks[node] = given
        return True

    def _kept_apart(self, node: fx.Node, given: _Track) -> bool:
        source = node.args[0] if node.args else node.kwargs.get("input")
        after = layout_after(node, self.modules, given.layout)
        if after is None or not isinstance(source, fx.Node) or not reads_first(node, source):
            return False
        self.tracks[node] = _Track(given.channels, after)
        return True

    def _summed(self, node: fx.Node) -> bool:
        left, right = (self.tracks.get(one) for one in node.all_input_nodes)
        layer = self._layer_of(node)
        if layer is None and not self.residual:
            return False
        if left is None or right is None or len(left.channels) != len(right.channels) or left.layout != right.layout:
            return False
        for one, other in zip(left.channels, right.channels, strict=True):
            self._unite(one, other)
        self.tracks[node] = left
        if layer is None:
            self.sums.append(left)
        return True

    def _split(self, node: fx.Node, given: _Track) -> bool:
        sizes, layer = argument(node, 1, "split_size_or_sections", None), self._layer_of(node)
        if layer is None or given.layout != "map" or argument(node, 2, "dim", 0) != 1 or isinstance(sizes, int):
            return False
        parts, start = [], 0
        for number, size in enumerate(sizes):
            channels = given.channels[start : start + size]
            for place, one in enumerate(channels):
                self._of(one).segment = (layer, number, place)
            parts.append(_Track(channels, "map"))
            start += size
        self.parts[node] = parts
        return True

    def _picked(self, node: fx.Node, source: fx.Node) -> bool:
        place = argument(node, 1, "", None)
        if isinstance(place, int):
            self.tracks[node] = self.parts[source][place]
        return isinstance(place, int)

    # ------------------------------------------------------------------ channels

    def _first(self, node: fx.Node) -> _Track | None:
        given = node.args[0] if node.args else node.kwargs.get("input")
        return self.tracks.get(given) if isinstance(given, fx.Node) else None

    def _new(self) -> int:
        self._facts.append(_Facts())
        self._same.append(len(self._same))
        return len(self._same) - 1

    def _root(self, one: int) -> int:
        while self._same[one] != one:
            one = self._same[one]
        return one

    def _of(self, one: int) -> _Facts:
        return self._facts[self._root(one)]

    def _unite(self, one: int, other: int) -> None:
        root, gone = self._root(one), self._root(other)
        if root != gone:
            self._facts[root].absorb(self._facts[gone])
            self._same[gone] = root
        self._facts[root].is_coupled = True

    def _pin(self, node: fx.Node) -> None:
        for track in [self.tracks[node]] if node in self.tracks else self.parts.get(node, []):
            for one in track.channels:
                self._of(one).is_pinned = True

    def _layer_of(self, node: fx.Node) -> str | None:
        """The innermost layer that couples channels and in which an operation is."""
        names = [str(path) for path, _ in node.meta.get("nn_module_stack", {}).values()]
        inside = [name for name in names if getattr(self.modules.get(name), "couples_channels", False)]
        return inside[-1] if inside else None

    # ------------------------------------------------------------------ groups

    def groups(self) -> Iterator[ChannelGroup]:
        """One for each segment, and for each chain of residual sums, whose channels can all fall."""
        segments: dict[tuple[str, int], dict[int, _Facts]] = {}
        for number in range(len(self._same)):
            facts = self._of(number)
            if facts.segment is not None and self._same[number] == number:
                layer, place, channel = facts.segment
                segments.setdefault((layer, place), {})[channel] = facts
        for (layer, place), found in segments.items():
            group = self._group(Segment(layer, place), [found[channel] for channel in sorted(found)])
            if group is not None:
                yield group
        for roots in dict.fromkeys(tuple(self._root(one) for one in track.channels) for track in self.sums):
            group = self._group(None, [self._facts[root] for root in roots])
            if group is not None:
                yield group

    def _group(self, segment: Segment | None, channels: list[_Facts]) -> ChannelGroup | None:
        first = channels[0]
        if any(one.is_pinned or not one.is_coupled or not one.readers for one in channels):
            return None
        for number, one in enumerate(channels):  # one behind the other for all who write and read them
            rows = [(conv, row - number) for conv, row in one.writers]
            columns = [(name, column - number * each, each) for name, column, each in one.readers]
            taps = [(name, at - number) for name, at in one.taps]
            if (rows, columns, taps) != (first.writers, first.readers, first.taps):
                return None
        if any(conv not in self.norms for conv, _ in first.writers):
            return None
        producers = [Rows(conv, self.norms[conv], row) for conv, row in first.writers]
        inside = f"{segment.layer}." if segment is not None else ""
        owner = next((rows for rows in producers if rows.conv.startswith(inside)), None)
        if owner is None or owner.first != 0:
            return None
        return ChannelGroup(
            owner.conv, owner.norm, len(channels),
            tuple(Consumer(name, each, column // each) for name, column, each in first.readers), joins_sum=False,
            also=tuple(rows for rows in producers if rows is not owner), segment=segment,
            taps=tuple(Tapped(name, at) for name, at in first.taps),
        )  # fmt: skip
