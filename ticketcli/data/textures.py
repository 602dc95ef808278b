"""Textured canvases by seed: smooth noise, gradients, stripes and checks between two colours, in uneven light."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ticketcli.tensors.seeds import derive, uniforms

Plane = NDArray[np.float64]
_COARSE, _FINE = 4, 9  # cells along a side of the two grids of smooth noise
_GRAIN = 0.05  # amplitude of what differs from pixel to pixel


def texture(key: int, side: int) -> Plane:
    """A canvas [side, side, 3] in [0, 1]. One key gives the same picture at every side, finer or coarser, but grain."""
    draws = uniforms(derive(key, "texture"), np.arange(16, dtype=np.uint64))
    rows, columns = np.meshgrid(_centres(side), _centres(side), indexing="ij")
    coarse, fine = (_smooth_noise(key, cells, side) for cells in (_COARSE, _FINE))
    angle, periods = 2 * np.pi * draws[0], 2 + 5 * draws[1]
    along, across = (columns * np.cos(turned) + rows * np.sin(turned) for turned in (angle, angle + np.pi / 2))
    bent = periods * (along + 0.25 * draws[2] * coarse)  # in periods
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * bent)
    kinds = (
        0.65 * coarse + 0.35 * fine,
        0.5 + 0.5 * along + 0.3 * (coarse - 0.5),
        _steep(wave),
        _steep(0.5 + 0.5 * np.sin(2 * np.pi * bent) * np.sin(2 * np.pi * periods * across)),
    )
    mixed = np.clip(kinds[int(draws[3] * len(kinds))], 0, 1)[:, :, None]
    first, second = _two_colours(draws[4:10])
    light = 0.8 + 0.4 * _smooth_noise(derive(key, "light"), _COARSE, side)[:, :, None]
    grain = uniforms(derive(key, "grain"), np.arange(side * side, dtype=np.uint64)).reshape(side, side, 1) - 0.5
    return np.clip((first + (second - first) * mixed) * light + _GRAIN * grain, 0, 1)


def colour(hue: float, saturation: float, value: float) -> Plane:
    """Red, green and blue [3] in [0, 1]."""
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value))


def _two_colours(draws: Plane) -> tuple[Plane, Plane]:
    value = 0.2 + 0.65 * draws[2]
    other = float(np.clip(value + (0.35 * draws[5] - 0.175), 0.15, 0.9))
    hue = draws[0] + (draws[3] - 0.5) * 0.5
    return colour(draws[0], 0.1 + 0.6 * draws[1], value), colour(hue % 1, 0.1 + 0.6 * draws[4], other)


def _steep(wave: Plane) -> Plane:
    return np.clip(2.5 * (wave - 0.5) + 0.5, 0, 1)


def _centres(side: int) -> Plane:
    return (np.arange(side) + 0.5) / side - 0.5


def _smooth_noise(key: int, cells: int, side: int) -> Plane:
    """[side, side] in [0, 1]: random values on a grid, smoothly joined."""
    points = cells + 1
    values = uniforms(derive(key, "noise", cells), np.arange(points * points, dtype=np.uint64)).reshape(points, points)
    weights = _weights(cells, side)
    return weights @ values @ weights.T


@lru_cache(maxsize=8)
def _weights(cells: int, side: int) -> Plane:
    """[side, cells + 1]: how much of each point of the grid is in each pixel."""
    at = (_centres(side) + 0.5) * cells
    low = np.minimum(at.astype(np.int64), cells - 1)
    part = at - low
    part = part * part * (3 - 2 * part)
    found = np.zeros((side, cells + 1))
    found[np.arange(side), low] = 1 - part
    found[np.arange(side), low + 1] = part
    return found
