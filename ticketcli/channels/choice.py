"""Which channels fall, given their scores: the lowest, a share of each layer or of all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ticketcli.errors import MismatchError, UsageError

Ranks = list[tuple[float, float, int]]  # score, |gamma|, channel


def drop_lowest(
    scores: Mapping[str, Tensor],
    scales: Mapping[str, Tensor],
    fraction: float | Fraction,
    *,
    scope: Literal["layer", "global"] = "layer",
    multiple: int = 1,
    constants_first: bool = False,
) -> dict[str, Tensor]:
    """Drop the channels with the lowest scores; ties fall in the order (score, |gamma|, channel).

    Args:
        scores: convolution -> float [C].
        scales: convolution -> gamma of its BatchNorm, float [C].
        fraction: r, share of the channels to drop, in (0, 1); a float is taken as the decimal number that it is written
            as.
        scope: `layer`: floor(r C) of each layer's C; `global`: floor(r sum C) in one ranking over all layers.
        multiple: the number that is kept in a layer is the nearest multiple of it, ties up, one at least; or all C.
        constants_first: channels with gamma = 0, whose output is one number, fall before all others.

    Returns:
        Convolution -> bool [C], True where it lives.

    Raises:
        UsageError: the fraction or the multiple makes no sense, or a layer would be empty.
        MismatchError: a score is not a finite number, or scores and scales have different shapes.

    Source: SCOP, floor(r C) in each layer, uniform r; the rounding is for speed and not in it.
    """
    if not 0 < fraction < 1 or multiple < 1:
        raise UsageError(
            f"cannot drop a fraction of {float(fraction):g} in multiples of {multiple}",
            where="channel_fraction",
            hint="a fraction lies between 0 and 1, a multiple is 1 or more",
        )
    ranks = {name: _ranks(name, scores[name], scales[name], constants_first) for name in scores}
    dropped = _each_layer(ranks, fraction) if scope == "layer" else _all_layers(ranks, fraction)
    found = {}
    for name, order in ranks.items():
        n_kept = len(order) - dropped[name]
        if n_kept < 1:
            raise UsageError(
                f"a fraction of {float(fraction):.3g} over all layers leaves no channel of '{name}'",
                where=name,
                hint="lower the fraction, or scope: layer",
            )
        living = torch.ones(len(order), dtype=torch.bool)
        for *_, channel in order[: len(order) - _rounded(n_kept, multiple, len(order))]:
            living[channel] = False
        found[name] = living
    return found


def kept_of(channels: Mapping[str, int], fraction: float | Fraction, *, multiple: int = 1) -> dict[str, int]:
    """How many channels of each layer `drop_lowest` keeps where each layer loses its share, whatever the scores."""
    return {name: _rounded(n - _share(fraction, n), multiple, n) for name, n in channels.items()}


def _ranks(name: str, scores: Tensor, scales: Tensor, constants_first: bool) -> Ranks:
    """A layer's channels, the first to fall first."""
    values = scores.detach().cpu().double().numpy().copy()
    sizes = scales.detach().cpu().double().abs().numpy()
    if values.ndim != 1 or values.shape != sizes.shape or not np.isfinite(values).all():
        raise MismatchError(
            f"the scores are {values.shape}, the scales {sizes.shape}; both must be [C], and finite", where=name
        )
    if constants_first:
        values[sizes == 0] = -np.inf
    return sorted(zip(values.tolist(), sizes.tolist(), range(len(values)), strict=True))


def _share(fraction: float | Fraction, of: int) -> int:
    """floor(r C) of the number as written: 0.29 of 100 is 29, whatever 0.29 is in binary."""
    return math.floor(Fraction(str(fraction)) * of)


def _each_layer(ranks: Mapping[str, Ranks], fraction: float | Fraction) -> dict[str, int]:
    return {name: _share(fraction, len(order)) for name, order in ranks.items()}


def _all_layers(ranks: Mapping[str, Ranks], fraction: float | Fraction) -> dict[str, int]:
    everyone = sorted(
        (score, scale, place, channel, name)
        for place, (name, order) in enumerate(ranks.items())
        for score, scale, channel in order
    )
    dropped = dict.fromkeys(ranks, 0)
    for *_, name in everyone[: _share(fraction, len(everyone))]:
        dropped[name] += 1
    return dropped


def _rounded(n_kept: int, multiple: int, n: int) -> int:
    return min(n, max(multiple, multiple * ((2 * n_kept + multiple) // (2 * multiple))))
