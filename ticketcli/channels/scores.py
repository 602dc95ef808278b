"""What a channel is worth, by several measures: the higher, the longer it stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ticketcli.channels.graph import ChannelGraph
from ticketcli.channels.group import ChannelGroup
from ticketcli.errors import MismatchError
from ticketcli.tensors.seeds import derive, uniforms

Scores = dict[str, Tensor]  # name of a convolution -> float64 [C] on the CPU


def _values(model: nn.Module, name: str) -> Tensor:
    return model.get_parameter(name).detach().to("cpu", torch.float64)


def _rows(model: nn.Module, group: ChannelGroup, what: Literal["conv", "norm"]) -> list[Tensor]:
    """The weights of all that write a group's channels: filters, or scales; [C, ...] each."""
    return [
        _values(model, f"{getattr(rows, what)}.weight")[rows.first : rows.first + group.channels]
        for rows in group.producers
    ]


def scales(model: nn.Module, graph: ChannelGraph) -> Scores:
    """gamma, with its sign: the scale that each channel's BatchNorm multiplies with.

    Of channels that several convolutions write together, the mean of the scales' magnitudes.
    """
    found = {}
    for group in graph.groups:
        gammas = _rows(model, group, "norm")
        found[group.conv] = gammas[0] if len(gammas) == 1 else torch.stack(gammas).abs().mean(dim=0)
    return found


def filter_norms(model: nn.Module, graph: ChannelGraph, *, order: int) -> Scores:
    """The norm of each filter: the sum of magnitudes for order 1, the Euclidean norm for order 2.

    Of channels that several convolutions write together, the mean of their norms; for order 2 the root of the mean of
    squares. So a ranking over all layers does not count who writes a channel.

    Source: Li et al., "Pruning filters for efficient ConvNets", 2017, order 1; order 2 is the usual variant.
    """
    found = {}
    for group in graph.groups:
        filters = [rows.flatten(1) for rows in _rows(model, group, "conv")]
        norms = torch.linalg.vector_norm(torch.cat(filters, dim=1), ord=order, dim=1)
        found[group.conv] = norms / len(filters) ** (1 / order)
    return found


def bn_scales(model: nn.Module, graph: ChannelGraph) -> Scores:
    """|gamma|. Source: Liu et al., "Network slimming", 2017, without its training for sparsity."""
    return {name: scale.abs() for name, scale in scales(model, graph).items()}


def random_scores(graph: ChannelGraph, *, seed: int) -> Scores:
    """Uniform in [0, 1), by seed, layer and channel: what falls at a fraction falls at every higher one."""
    return {
        name: torch.from_numpy(uniforms(derive(seed, f"channels/{name}"), np.arange(n, dtype=np.uint64)))
        for name, n in graph.channels.items()
    }


def scop_scores(model: nn.Module, graph: ChannelGraph, betas: Mapping[str, Tensor]) -> Scores:
    """``|gamma| (2 beta - 1)``, in [-|gamma|, |gamma|]: how far the real feature is preferred to its control.

    Args:
        model: the pretrained network, as it was when the controls were trained.
        graph: of the model.
        betas: convolution -> trained control, [C] in [0, 1].

    Raises:
        MismatchError: a group has no control, or another number of them.

    Source: SCOP, the importance |gamma| (beta - beta~).
    """
    found = {}
    for name, scale in scales(model, graph).items():
        if name not in betas or betas[name].shape != scale.shape:
            given = tuple(betas[name].shape) if name in betas else "none"
            raise MismatchError(f"the controls of '{name}' are {given}, its channels {len(scale)}", where=name)
        found[name] = scale.abs() * (2 * betas[name].detach().to("cpu", torch.float64) - 1)
    return found


def feedback_scores(graph: ChannelGraph, importance: Mapping[str, Tensor]) -> Scores:
    """What each channel adds to the logit of an image, on average: I_c, 0 or more; 0 is a channel that adds nothing.

    Args:
        graph: of the model.
        importance: BatchNorm -> float [C], logits an image, as `explain.importance` finds it behind that.

    Raises:
        MismatchError: a layer has none, or another number of channels.

    Source: our extension of feedback; see `explain/importance.py`.
    """
    found = {}
    for group in graph.groups:
        given = importance.get(group.norm)
        if given is None or given.shape != (group.channels,):
            shape = "none" if given is None else tuple(given.shape)
            what = f"the importance of '{group.conv}' is {shape}, its channels {group.channels}"
            raise MismatchError(what, where=group.conv)
        found[group.conv] = given.detach().to("cpu", torch.float64)
    return found


def discovery_threshold(scores: Tensor, rate: float) -> float:
    """The smallest t > 0 with (1 + #{I <= -t}) / max(1, #{I >= t}) <= rate; infinite where there is none.

    Keeping ``I >= t`` bounds the expected share of useless channels among those that are kept, if the controls were
    true knockoffs. No stage uses it: SCOP keeps a fixed share.

    Args:
        scores: I, float [C].
        rate: false discoveries that are borne, in (0, 1].

    Source: Barber and Candes, "Controlling the false discovery rate via knockoffs", 2015, the filter called knockoff+.
    """
    values = scores.detach().to("cpu", torch.float64)
    for threshold in sorted({abs(value) for value in values.tolist() if value}):
        below, above = int((values <= -threshold).sum()), int((values >= threshold).sum())
        if 1 + below <= rate * max(1, above):
            return float(threshold)
    return float("inf")
