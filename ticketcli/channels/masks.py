"""Masks of channels, and the masks of weights that say the same: a fallen filter must not speak through its BatchNorm.

A filter of zeros alone still emits ``relu(beta - gamma mu / sigma)``; so its BatchNorm's scale and shift fall with it,
and so do the inputs of the layers that read it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ticketcli.channels.graph import ChannelGraph
from ticketcli.channels.group import Consumer, Rows
from ticketcli.errors import MismatchError, UsageError, did_you_mean
from ticketcli.store.mask import BoolArray, Mask

ChannelMasks = Mapping[str, Tensor]  # name of a convolution -> bool [C] on the CPU; True is a living channel


def require_channels(graph: ChannelGraph, channels: ChannelMasks) -> None:
    """Refuse channel masks that do not fit the network, or that leave a layer empty.

    Raises:
        UsageError: no channel of a layer is left.
        MismatchError: a convolution is unknown, is one whose channels do not fall, or has another number of them.
    """
    reasons = {one.conv: one.reason for one in graph.left_out}
    known = graph.channels
    for name, living in channels.items():
        if name in reasons:
            raise MismatchError(f"the channels of '{name}' do not fall: {reasons[name]}", where=name)
        if name not in known:
            raise MismatchError(f"no channels of '{name}' here", where=name, hint=did_you_mean(name, known))
        if living.dtype != torch.bool or living.shape != (known[name],):
            raise MismatchError(
                f"the channel mask is {living.dtype} {tuple(living.shape)}, the layer has {known[name]} channels",
                where=name,
                hint="use channel masks made for this architecture",
            )
        if not bool(living.any()):
            raise UsageError(
                f"no channel of '{name}' would be left", where=name, hint="lower the fraction, or scope: layer"
            )


def expanded(
    model: nn.Module,
    graph: ChannelGraph,
    channels: ChannelMasks,
    *,
    names: Iterable[str] = (),
    spared: Collection[str] = (),
) -> Mask:
    """The weight mask of channel masks.

    Of a fallen channel falls the row (and bias) of every convolution that writes it, the scale and shift of their
    BatchNorms, and the columns of all consumers.

    Args:
        model: of which the parameters' shapes are taken.
        graph: of the model.
        channels: of some or all groups; those that are not named stay whole.
        names: further parameters that the mask is to name, such as all prunable weights; they live, but for columns.
        spared: layers whose columns are left alone, such as a head that will be replaced.

    Returns:
        A mask over the parameters of all groups of the graph, their consumers' weights, and `names`.

    Raises:
        UsageError, MismatchError: as `require_channels`; or the network has no parameter of that name.
    """
    require_channels(graph, channels)
    own = dict(model.named_parameters())
    arrays: dict[str, BoolArray] = {}

    def array_of(name: str) -> BoolArray:
        if name not in own:
            raise MismatchError(f"the network has no '{name}'", where=name, hint=did_you_mean(name, own))
        return arrays.setdefault(name, np.ones(tuple(own[name].shape), dtype=np.bool_))

    for name in names:
        array_of(name)
    for group in graph.groups:
        living = channels.get(group.conv, torch.ones(group.channels, dtype=torch.bool)).numpy()
        for rows in group.producers:
            for name in _named(rows, own):
                array_of(name)[rows.first : rows.first + len(living)][~living] = False
        for consumer in group.consumers:
            if consumer.name not in spared:
                columns = array_of(f"{consumer.name}.weight")[:, _columns(consumer, len(living))]
                columns[:, ~np.repeat(living, consumer.columns)] = False
    return Mask.of_new(arrays)


def _named(rows: Rows, names: Collection[str]) -> list[str]:
    own = [f"{rows.conv}.weight", f"{rows.conv}.bias", f"{rows.norm}.weight", f"{rows.norm}.bias"]
    return [name for name in own if name in names]


def _columns(consumer: Consumer, channels: int) -> slice:
    return slice(consumer.first * consumer.columns, (consumer.first + channels) * consumer.columns)


def channels_of(graph: ChannelGraph, mask: Mask) -> dict[str, Tensor]:
    """Which channels live under a weight mask; a channel has fallen only where all of it has.

    So of a mask that also thins out living channels, those stay. Columns count where the mask names their layer.

    Returns:
        The channel masks of all groups, bool [C].

    Raises:
        MismatchError: the mask does not name a group's convolution or BatchNorm, or has another shape there.
    """
    found = {}
    for group in graph.groups:
        alive = np.zeros(group.channels, dtype=np.bool_)
        for rows in group.producers:
            needed = [f"{rows.conv}.weight", f"{rows.norm}.weight", f"{rows.norm}.bias"]
            for name in dict.fromkeys([*needed, *_named(rows, mask)]):
                own = mask[name][rows.first : rows.first + group.channels] if name in mask else ()
                if len(own) != group.channels or (not group.also and len(mask[name]) != group.channels):
                    raise MismatchError(
                        f"the mask says nothing of '{name}' that fits {group.channels} channels",
                        where=name,
                        hint="use a mask of channels: prune with granularity: channel",
                    )
                alive |= mask[name][rows.first : rows.first + group.channels].reshape(group.channels, -1).any(axis=1)
        for consumer in group.consumers:
            if (name := f"{consumer.name}.weight") in mask:
                columns = mask[name][:, _columns(consumer, group.channels)].swapaxes(0, 1)
                alive |= columns.reshape(group.channels, -1).any(axis=1)
        found[group.conv] = torch.from_numpy(alive)
    return found
