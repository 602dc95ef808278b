"""The smallest weights in one read: a sample says between which magnitudes the threshold lies, and a read settles it.

Of every chunk, what lies above the bracket is kept at once, and only what lies inside, about one weight in a hundred,
is remembered. If the count shows the threshold to be inside, the result is exact, whatever the sample was; if not, or
where too much lies inside because many weights are equal, nothing is said, and the histograms of `select` decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticketcli.store.mask import BoolArray, Mask

Ints = NDArray[np.int32]
Pieces = Callable[[Tensor], Iterator[Tensor]]
MAGNITUDE = np.int32(0x7FFFFFFF)
_INFINITE = 0x7F800000
_STRIDES = (199, 101, 61, 31, 13, 7)  # of the sample; primes, so that none falls into step with the sides of kernels
_SAMPLE = 1 << 17  # weights that it should hold; where there are not many more, all are taken
_WIDTH = 3.5  # standard deviations to either side: outside it about once in two thousand times
_THREADED = 1 << 20  # weights; fewer are read sooner than threads are started
_LEAST = 1 << 11  # weights that may lie inside whatever the share
_MOST = 1 / 40  # share of the weights that may lie inside: 8 bytes each, 5 % of the data


@dataclass
class _Inside:
    """What lies between the bracket's ends: for each chunk its name, start, places and magnitude bits."""

    chunks: list[tuple[str, int, NDArray[np.uint32], Ints]] = field(default_factory=list)
    n: int = 0


def drop_in_one_read(weights: Mapping[str, Tensor], mask: Mask, count: int, pieces: Pieces) -> Mask | None:
    """What is left when the `count` smallest living weights fall; None where the bracket does not decide it.

    Args:
        weights: name -> tensor on the CPU, shape as ``mask[name]``.
        mask: the present mask.
        count: below ``mask.kept``.
        pieces: the values of a tensor in C order, a chunk at a time.
    """
    low, high = _bracket(weights, mask, count, pieces)
    kept: dict[str, BoolArray] = {name: np.empty(array.shape, dtype=np.bool_) for name, array in mask.items()}
    found = _read(weights, mask, kept, (low, high), pieces)
    if found is None:
        return None
    n_above = sum(int(np.count_nonzero(array)) for array in kept.values())
    rank = count - (mask.kept - n_above - found.n)  # of the last to fall, among those inside
    if not 1 <= rank <= found.n:
        return None
    inside = np.concatenate([keys for *_, keys in found.chunks])
    inside.partition(rank - 1)
    threshold = inside[rank - 1]
    ties = rank - int(np.count_nonzero(inside[: rank - 1] < threshold))
    for name, start, places, keys in found.chunks:
        stays = keys > threshold
        level = np.flatnonzero(keys == threshold)
        stays[level[ties:]] = True
        ties = max(0, ties - level.size)
        kept[name].reshape(-1)[start + places[stays].astype(np.int64)] = True
    return Mask.of_new(kept)


def bits_of(piece: Tensor) -> Ints:
    """The bits of values as float32; a view where that is what they are."""
    bits: Ints = piece.to(torch.float32).contiguous().numpy().view(np.int32)
    return bits


def _bracket(weights: Mapping[str, Tensor], mask: Mask, count: int, pieces: Pieces) -> tuple[int, int]:
    """Magnitude bits between which, both included, the `count`-th smallest living weight is expected."""
    stride = next((stride for stride in _STRIDES if mask.total >= stride * _SAMPLE), 1)
    samples, living = [], mask.kept_by_name
    for name, array in mask.items():
        alive, start = array.reshape(-1), 0
        for piece in pieces(weights[name].detach()):
            bits = bits_of(piece[::stride])
            if living[name] < array.size:
                bits = bits[alive[start : start + piece.numel() : stride]]
            samples.append(bits & MAGNITUDE)
            start += piece.numel()
    sample = np.concatenate(samples)
    share = count / mask.kept
    spread = _WIDTH * math.sqrt(share * (1 - share) * sample.size) + 1 if stride > 1 else 0
    middle = math.ceil(share * sample.size) - 1
    first, last = math.floor(middle - spread), math.ceil(middle + spread)
    ends = [place for place in (first, last) if 0 <= place < sample.size]
    if ends:
        sample.partition(ends)
    return (
        int(sample[first]) if first >= 0 else 0,
        int(sample[last]) if last < sample.size else _INFINITE - 1,
    )


def _read(
    weights: Mapping[str, Tensor], mask: Mask, kept: Mapping[str, BoolArray], ends: tuple[int, int], pieces: Pieces
) -> _Inside | None:
    """Set `kept` where a living weight lies above the ends, and remember what lies between.

    None where that is too much, or a value is not finite. Tensors are read by as many threads as torch may use.
    """
    most, living = max(_LEAST, int(_MOST * mask.total)), mask.kept_by_name

    def read(name: str) -> _Inside | None:
        alive = None if living[name] == mask[name].size else mask[name].reshape(-1)
        return _read_one(name, pieces(weights[name].detach()), alive, kept[name].reshape(-1), ends, most)

    threads = torch.get_num_threads() if mask.total > _THREADED else 1
    if threads == 1:
        parts = list(map(read, mask))
    else:
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(read, mask))  # in the order of the names
    found = _Inside()
    for part in parts:
        if part is None or found.n + part.n > most:
            return None
        found.chunks += part.chunks
        found.n += part.n
    return found


def _read_one(
    name: str, pieces: Iterator[Tensor], alive: BoolArray | None, kept: BoolArray, ends: tuple[int, int], most: int
) -> _Inside | None:
    """The same of one tensor; `alive` is None where all of it lives."""
    low, high = (np.int32(end) for end in ends)
    found, start = _Inside(), 0
    keys, inside = np.empty(0, np.int32), np.empty(0, np.bool_)
    for piece in pieces:
        n, place = piece.numel(), slice(start, start + piece.numel())
        if keys.size < n:
            keys, inside = np.empty(n, np.int32), np.empty(n, np.bool_)
        key, above, within = keys[:n], kept[place], inside[:n]
        np.bitwise_and(bits_of(piece), MAGNITUDE, out=key)
        if key.max() >= _INFINITE:
            return None
        np.greater(key, high, out=above)
        np.greater_equal(key, low, out=within)
        np.not_equal(within, above, out=within)
        if alive is not None:
            np.logical_and(above, alive[place], out=above)
            np.logical_and(within, alive[place], out=within)
        places = np.flatnonzero(within)
        if places.size:
            found.chunks.append((name, start, places.astype(np.uint32), key[places]))
            found.n += places.size
            if found.n > most:
                return None
        start = place.stop
    return found
