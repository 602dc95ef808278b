"""How far the features of one network are from another's, tap by tap, and what a linear probe reads from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ticketcli.errors import MismatchError
from ticketcli.events import Pause
from ticketcli.metrics.probes import Probe
from ticketcli.tensors.modes import evaluating
from ticketcli.tensors.turns import Batches, in_turns

Taps = Mapping[str, Tensor]
Probes = Mapping[str, Probe]  # by tap
_SUMS = 4  # of squares: the map's difference, dense's map, the pooled difference, dense's pooled features


@dataclass(frozen=True)
class Pair:
    """Two encoders of the same taps.

    Attributes:
        encoder: the network in question; `taps` gives name -> [N, C, h, w].
        dense: what it is compared with.
        probes, dense_probes: by tap, of either; empty where nothing is probed.
    """

    encoder: Any
    dense: Any
    probes: Probes
    dense_probes: Probes


def pooled(features: Tensor) -> Tensor:
    """A map [N, C, h, w] averaged over space: float64 [N, C]."""
    return features.mean(dim=(2, 3), dtype=torch.float64)


@torch.no_grad()
def feature_distances(
    pair: Pair, batches: Batches[Any], *, seen: Callable[[Any], tuple[Tensor, Tensor]], what: str
) -> Generator[Pause, None, dict[str, dict[str, Any]]]:
    """Compare both encoders, in eval mode, on every image once; no more than a batch of maps is held.

    Yields pauses between the batches, called `what`; several processes take them in turns, and find what one alone
    would.

    Args:
        pair: both.
        batches: of whatever the networks are shown.
        seen: a batch -> images [N, 3, H, W] in normalised units, and labels [N].
        what: for people.

    Returns:
        Tap -> r_map and r_pool, ``|A - B| / |A|`` over all images with A dense's maps or pooled features; ratio, r_map
        over r_pool, None where the pooled features are equal; and, of taps with probes, `probe` and `dense_probe`,
        each top1 in [0, 1], correct and n.

    Raises:
        MismatchError: the taps differ in name or in shape.

    Source: the paper, theorem 3.1, whose two errors these are.
    """

    def measure(batch: Any) -> tuple[dict[str, tuple[float, ...]], dict[str, tuple[int, int]], int]:
        images, labels = seen(batch)
        ours, theirs = pair.encoder.taps(images), pair.dense.taps(images)
        _require_alike(ours, theirs)
        sums = {tap: _squares(theirs[tap], ours[tap]) for tap in theirs}
        right = {
            tap: (pair.probes[tap].right(pooled(ours[tap]), labels),
                  pair.dense_probes[tap].right(pooled(theirs[tap]), labels))
            for tap in pair.probes
        }  # fmt: skip
        return sums, right, len(images)

    with evaluating(pair.encoder, pair.dense):
        parts = yield from in_turns(batches, measure, what)
    n = sum(part[2] for part in parts)
    found: dict[str, dict[str, Any]] = {}
    for tap in parts[0][0]:
        totals = [math.fsum(part[0][tap][place] for part in parts) for place in range(_SUMS)]
        found[tap] = _distances(*totals)
        if tap in pair.probes:
            ours, theirs = (sum(part[1][tap][place] for part in parts) for place in range(2))
            found[tap] |= {"probe": _accuracy(ours, n), "dense_probe": _accuracy(theirs, n)}
    return found


def _squares(dense: Tensor, other: Tensor) -> tuple[float, ...]:
    a, b = pooled(dense), pooled(other)
    return (
        float((dense - other).square().sum(dtype=torch.float64)),
        float(dense.square().sum(dtype=torch.float64)),
        float((a - b).square().sum()),
        float(a.square().sum()),
    )


def _distances(map_off: float, map_there: float, pool_off: float, pool_there: float) -> dict[str, float | None]:
    """None where dense has nothing to be compared with: a tap that is 0 on every image."""
    r_map = math.sqrt(map_off / map_there) if map_there else None
    r_pool = math.sqrt(pool_off / pool_there) if pool_there else None
    return {"r_map": r_map, "r_pool": r_pool, "ratio": r_map / r_pool if r_map is not None and r_pool else None}


def _accuracy(correct: int, n: int) -> dict[str, float | int]:
    return {"top1": correct / n, "correct": correct, "n": n}


def _require_alike(ours: Taps, theirs: Taps) -> None:
    hint = "compare with a network of the same architecture and stem, such as the dense one transferred alike"
    if list(ours) != list(theirs):
        what = f"the taps are {', '.join(ours)}; those of the dense network {', '.join(theirs)}"
        raise MismatchError(what, where="evaluate.dense", hint=hint)
    for tap, features in theirs.items():
        if ours[tap].shape != features.shape:
            shapes = [" x ".join(map(str, one.shape[1:])) for one in (ours[tap], features)]
            what = f"the maps of {tap} are {shapes[0]}; those of the dense network {shapes[1]}"
            raise MismatchError(what, where="evaluate.dense", hint=hint)
