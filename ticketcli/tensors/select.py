"""Which weights are smallest: exact selection over all layers at once, in two streaming reads, ties decided by place.

On a CPU one read mostly does (`bracket`); these two are exact for whatever weights, and for a GPU's.

The magnitude of a float32 is ordered like its bits without the sign, so a histogram over the upper 15 bits, then one
over the lower 16 bits of the one bucket that matters, gives the exact threshold. Only the two histograms are ever
needed as a whole, so the data may be chunked, or sharded with the counters added up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from ticketcli.errors import DivergedError, MismatchError, UsageError
from ticketcli.store.mask import BoolArray, Mask
from ticketcli.tensors.bracket import drop_in_one_read

_MAGNITUDE = 0x7FFFFFFF
_LOWER = 16
_UPPER_BINS, _LOWER_BINS = 1 << 15, 1 << _LOWER
_INFINITE = 0x7F800000 >> _LOWER
CHUNK = 1 << 18


def drop_smallest(weights: Mapping[str, Tensor], mask: Mask, *, fraction: float) -> Mask:
    """Drop the `fraction` of the living weights that are smallest in magnitude.

    All masked tensors compete in one ranking. Exactly ``round(fraction * mask.kept)`` weights fall; ties fall in the
    order (name, flat index), so the result is unique: the same on every device for equal weights.

    Args:
        weights: name -> float32 or half tensor, shape as ``mask[name]``. Further names are ignored.
        mask: the present mask; the values of masked weights do not matter.
        fraction: share of the living weights to drop, in (0, 1); a ratio, not a percentage.

    Returns:
        A mask below `mask`, with the same names and shapes.

    Raises:
        UsageError: `fraction` is outside (0, 1), or so small that nothing would fall.
        MismatchError: a tensor is missing, has another shape or a type without an order in 32 bits.
        DivergedError: a living weight is not finite.

    Source: Algorithm 1, line "prune smallest non-masked p values".
    """
    if not 0 < fraction < 1:
        raise UsageError(f"fraction is {fraction}", where="fraction", hint="a share between 0 and 1, such as 0.2")
    count = round(fraction * mask.kept)
    if count == 0:
        raise UsageError(
            f"a round would drop nothing: {fraction} of {mask.kept} living weights rounds to 0",
            where="fraction",
            hint="raise fraction, or ask for fewer rounds",
        )
    return drop_count(weights, mask, count=count)


def drop_count(weights: Mapping[str, Tensor], mask: Mask, *, count: int) -> Mask:
    """Drop exactly `count` living weights, the smallest in magnitude; see `drop_smallest`.

    Raises:
        UsageError: `count` is below 1, or no weight would be left.
    """
    if not 1 <= count < mask.kept:
        raise UsageError(
            f"cannot drop {count} of {mask.kept} living weights", hint="at least one must fall and one stay"
        )
    _check(weights, mask)
    if all(weights[name].device.type == "cpu" for name in mask):
        found = drop_in_one_read(weights, mask, count, _pieces)
        if found is not None:
            return found
    return _by_histograms(weights, mask, count)


def _by_histograms(weights: Mapping[str, Tensor], mask: Mask, count: int) -> Mask:
    """Exact for all weights, in two reads and a third that cuts.

    Raises:
        DivergedError: a living weight is not finite.
    """
    upper = _upper_counts(weights, mask)
    if int(upper[_INFINITE:].sum()):
        _name_the_infinite(weights, mask)
    bucket, below = _bucket_of(upper, count)
    lower = _lower_counts(weights, mask, bucket)
    rest, below_in_bucket = _bucket_of(lower, count - below)
    threshold = (bucket << _LOWER) | rest
    return _cut(weights, mask, threshold, ties=count - below - below_in_bucket)


def _check(weights: Mapping[str, Tensor], mask: Mask) -> None:
    for name, array in mask.items():
        weight = weights.get(name)
        if weight is None:
            raise MismatchError(f"the weights lack '{name}'", where=name)
        if tuple(weight.shape) != array.shape:
            raise MismatchError(f"the weight is {tuple(weight.shape)}, its mask {array.shape}", where=name)
        if weight.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise MismatchError(f"cannot rank weights of type {weight.dtype}", where=name, hint="use float32")


def _pieces(weight: Tensor) -> Iterator[Tensor]:
    """The values in C order, at most `CHUNK` at a time; of another layout only a few rows are ever copied."""
    if weight.is_contiguous():
        yield from torch.split(weight.view(-1), CHUNK)
        return
    rows = max(1, CHUNK // weight[0].numel())
    for part in torch.split(weight, rows):
        yield from torch.split(part.reshape(-1), CHUNK)


def _keys(weights: Mapping[str, Tensor], mask: Mask) -> Iterator[tuple[str, slice, Tensor]]:
    """Name, place in C order and magnitude bits (int32) of each chunk; a dead weight's are 0 whatever its value."""
    for name, array in mask.items():
        alive, whole, start = array.reshape(-1), bool(array.all()), 0
        for piece in _pieces(weights[name].detach()):
            place = slice(start, start + piece.numel())
            keys = _magnitude_bits(piece)
            if not whole:
                keys.mul_(torch.from_numpy(alive[place].copy()).to(keys.device))
            yield name, place, keys
            start = place.stop


def _magnitude_bits(chunk: Tensor) -> Tensor:
    return chunk.to(torch.float32).contiguous().view(torch.int32) & _MAGNITUDE


def _upper_counts(weights: Mapping[str, Tensor], mask: Mask) -> Tensor:
    counts = torch.zeros(_UPPER_BINS, dtype=torch.int64)
    for _, _, keys in _keys(weights, mask):
        counts += torch.bincount(keys.bitwise_right_shift_(_LOWER), minlength=_UPPER_BINS).cpu()
    counts[0] -= mask.dropped
    return counts


def _lower_counts(weights: Mapping[str, Tensor], mask: Mask, bucket: int) -> Tensor:
    counts = torch.zeros(_LOWER_BINS, dtype=torch.int64)
    for _, _, keys in _keys(weights, mask):
        if keys.device.type == "cpu":  # numpy picks a few elements out of many three times faster
            array = keys.numpy()
            inside = torch.from_numpy(array[(array >> _LOWER) == bucket])
        else:
            inside = keys[(keys >> _LOWER) == bucket]
        if inside.numel():
            counts += torch.bincount(inside & (_LOWER_BINS - 1), minlength=_LOWER_BINS).cpu()
    if bucket == 0:
        counts[0] -= mask.dropped
    return counts


def _bucket_of(counts: Tensor, rank: int) -> tuple[int, int]:
    """The bin that holds the element of 1-based `rank`, and how many lie in the bins below."""
    cumulative = torch.cumsum(counts, 0)
    bucket = int(torch.searchsorted(cumulative, rank))
    return bucket, int(cumulative[bucket - 1]) if bucket else 0


def _cut(weights: Mapping[str, Tensor], mask: Mask, threshold: int, *, ties: int) -> Mask:
    """The living weights above the threshold, less the first `ties` of those at it."""
    kept: dict[str, BoolArray] = {name: np.empty(array.shape, dtype=np.bool_) for name, array in mask.items()}
    for name, place, chunk in _keys(weights, mask):
        keys = chunk.cpu().numpy()
        above = kept[name].reshape(-1)[place]
        np.greater(keys, threshold, out=above)
        level = np.flatnonzero((keys == threshold) & mask[name].reshape(-1)[place])
        above[level[ties:]] = True
        ties = max(0, ties - level.size)
    return Mask.of_new(kept)


def _name_the_infinite(weights: Mapping[str, Tensor], mask: Mask) -> None:
    for name, array in mask.items():
        alive = torch.from_numpy(array.copy()).to(weights[name].device)
        if not bool(torch.isfinite(weights[name].detach()[alive]).all()):
            raise DivergedError(
                f"living weights of '{name}' are not finite",
                where=name,
                hint="lower lr, or clip the gradients (clip: 1.0)",
            )
