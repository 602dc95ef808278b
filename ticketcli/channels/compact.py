"""The smaller dense network that a channel mask describes: the same outputs, fewer weights, fewer multiply-adds."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ticketcli.channels.graph import ChannelGraph, channel_graph
from ticketcli.channels.group import ChannelGroup, Cuts, cuts_of
from ticketcli.channels.masks import ChannelMasks, require_channels
from ticketcli.errors import MismatchError, UsageError

ModuleT = TypeVar("ModuleT", bound=nn.Module)
ABOUT = ("widths", "residual")  # what a checkpoint says of a smaller network: `widths`, and how its graph was made


class ScatteredNorm(_BatchNorm):
    """A BatchNorm of k channels, whose outputs are put among zeros: [N, k, h, w] -> [N, width, h, w].

    It stands where a layer's channels enter a sum that has its own width. Parameters and statistics have the names that
    they had; `places` (int64 [k]) is saved beside them. It is no `BatchNorm2d`, so that nobody folds it into the
    convolution before it, where the zeros would be lost.

    Args:
        norm: the BatchNorm of all channels.
        kept: int64 [k], which of them stay, in order.
    """

    places: Tensor
    is_affine: ClassVar = True  # in eval mode: torch.fx keeps it whole, and gates may stand behind it

    def __init__(self, norm: nn.BatchNorm2d, kept: Tensor) -> None:
        super().__init__(len(kept), norm.eps, norm.momentum)
        self.width = norm.num_features
        device = norm.weight.device
        self.weight, self.bias = (_cut(values, kept) for values in (norm.weight, norm.bias))
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        self.running_mean, self.running_var = (
            values.detach()[kept.to(device)].clone() for values in (norm.running_mean, norm.running_var)
        )
        self.num_batches_tracked = norm.num_batches_tracked.detach().clone()
        self.register_buffer("places", kept.to(device))
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, and put each channel where it was."""
        return _scattered(super().forward(x), self.places, self.width)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() != 4:
            raise ValueError(f"expected a map [N, C, h, w], got {x.dim()} dimensions")

    def extra_repr(self) -> str:
        """The numbers that printing the network shows."""
        return f"{self.num_features} of {self.width}, eps={self.eps}, momentum={self.momentum}"


class ScatteredTap(nn.Module):
    """Where a state that has lost channels is tapped: those left, put among zeros: [N, k, h, w] -> [N, width, h, w].

    Args:
        width: of the state before.
        places: int64 [k], which of its channels are left, in order.
    """

    keeps_width: ClassVar = True
    places: Tensor

    def __init__(self, width: int, places: Tensor) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("places", places)

    def forward(self, x: Tensor) -> Tensor:
        """Each channel where it was."""
        return _scattered(x, self.places, self.width)


def _scattered(few: Tensor, places: Tensor, width: int) -> Tensor:
    is_last = few.is_contiguous(memory_format=torch.channels_last)
    found = torch.empty(
        (few.shape[0], width, *few.shape[2:]),
        dtype=few.dtype,
        device=few.device,
        memory_format=torch.channels_last if is_last else torch.contiguous_format,
    )
    return found.zero_().index_copy_(1, places, few)


def widths(channels: ChannelMasks) -> dict[str, int]:
    """Convolution -> how many of its channels live: what a checkpoint of the smaller network has to say."""
    return {name: int(living.sum()) for name, living in channels.items()}


@torch.no_grad()
def compact(model: ModuleT, channels: ChannelMasks, *, graph: ChannelGraph | None = None) -> ModuleT:
    """The network without the fallen channels; equal in output, but for rounding, to the one whose weights are masked.

    Inner channels are gone from all convolutions that write them, their BatchNorms and their consumers; the segments of
    a layer that has some become unequal. Where channels join a sum, only those left are computed, and put among zeros;
    so are those of a state where it is tapped. So maps that others read keep their width.

    Args:
        model: any traceable network; it stays as it is, and shares no memory with what is returned.
        channels: which channels live.
        graph: of the model, if it is at hand.

    Returns:
        A network of the same class and modes, with the same parameter names, and `places` where channels are scattered.

    Raises:
        UsageError: the network cannot be traced, or a layer would be empty.
        MismatchError: the masks do not fit it.

    Source: SCOP, how its networks are made smaller.
    """
    graph = graph or channel_graph(model)
    require_channels(graph, channels)
    small = copy.deepcopy(model)
    for group in graph.groups:
        living = channels.get(group.conv)
        if group.joins_sum and living is not None and not bool(living.all()):
            _scatter(small, group, torch.nonzero(living).flatten())
    summed = {group.conv for group in graph.groups if group.joins_sum}
    inner = {name: living for name, living in channels.items() if name not in summed}
    _apply(small, cuts_of(model, graph.groups, inner))
    return small


def shrink(model: ModuleT, widths: Mapping[str, int], *, graph: ChannelGraph | None = None) -> ModuleT:
    """A network of these widths, for a checkpoint to be loaded into; its values, and `places`, mean nothing before.

    Args:
        model: of the architecture, at full width.
        widths: as a checkpoint says them; layers that are not named keep theirs.
        graph: of the model, if it is at hand.

    Raises:
        UsageError: the network cannot be traced.
        MismatchError: a layer is unknown, or has fewer channels.
    """
    graph = graph or channel_graph(model)
    channels = {}
    for name, width in widths.items():
        n = graph.channels.get(name, 0)
        if not 1 <= width <= n:
            what = f"'{name}' cannot have {width} of {n} channels" if n else f"no channels of '{name}' here"
            raise MismatchError(what, where=name, hint="the widths belong to another architecture")
        channels[name] = torch.arange(n) < width
    return compact(model, channels, graph=graph)


def _scatter(model: nn.Module, group: ChannelGroup, kept: Tensor) -> None:
    """Cut a layer whose channels join a sum down to the channels `kept`, int64 [k] in ascending order."""
    norm = model.get_submodule(group.norm)
    assert isinstance(norm, nn.BatchNorm2d)
    _cut_rows(model.get_submodule(group.conv), kept)
    model.set_submodule(group.norm, ScatteredNorm(norm, kept))


def _apply(model: nn.Module, cuts: Cuts) -> None:
    """Cut all layers down to what is left of them."""
    for name, living in cuts.rows.items():
        _cut_rows(model.get_submodule(name), _places(living))
    for name, living in cuts.norms.items():
        _cut_norm(model.get_submodule(name), _places(living))
    for name, living in cuts.columns.items():
        _cut_inputs(model.get_submodule(name), _places(living))
    for name, living in cuts.taps.items():
        tap, places = model.get_submodule(name), _places(living)
        if isinstance(tap, ScatteredTap):  # of a network that was compacted before
            tap.places = tap.places[places.to(tap.places.device)]
        else:
            device = next(model.parameters()).device
            model.set_submodule(name, ScatteredTap(len(living), places.to(device)))
    for name, sizes in cuts.sizes.items():
        layer: Any = model.get_submodule(name)
        layer.resize([sizes.get(place, size) for place, size in enumerate(layer.segments)])


def _places(living: Tensor) -> Tensor:
    return torch.nonzero(living).flatten()


def _cut_rows(conv: nn.Module, kept: Tensor) -> None:
    assert isinstance(conv, nn.Conv2d)
    conv.weight, conv.out_channels = _cut(conv.weight, kept), len(kept)
    if conv.bias is not None:
        conv.bias = _cut(conv.bias, kept)


def _cut_norm(norm: nn.Module, kept: Tensor) -> None:
    assert isinstance(norm, nn.BatchNorm2d)
    norm.weight, norm.bias, norm.num_features = _cut(norm.weight, kept), _cut(norm.bias, kept), len(kept)
    for name in ("running_mean", "running_var"):
        values = norm.get_buffer(name)
        norm.register_buffer(name, values[kept.to(values.device)].clone())


def _cut_inputs(reader: nn.Module, kept: Tensor) -> None:
    if isinstance(reader, nn.Conv2d):
        reader.weight, reader.in_channels = _cut(reader.weight, kept, dim=1), len(kept)
    elif isinstance(reader, nn.Linear):
        reader.weight, reader.in_features = _cut(reader.weight, kept, dim=1), len(kept)
    else:  # no graph says so
        raise UsageError(f"cannot take inputs away from a {type(reader).__name__}")


def _cut(values: Tensor, kept: Tensor, dim: int = 0) -> nn.Parameter:
    return nn.Parameter(values.detach().index_select(dim, kept.to(values.device)), values.requires_grad)
