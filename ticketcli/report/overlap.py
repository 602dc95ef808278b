"""How much two masks share, and how much of that is chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ticketcli.report.render import table
from ticketcli.store.mask import Mask


@dataclass(frozen=True)
class Overlap:
    """Counts of living weights: `first` and `second` of `total`, `shared` by both, `expected` to be shared by chance.

    `expected` is first x second / total in a layer: the mean of the hypergeometric distribution, which is what two
    masks share whose living weights are drawn independently. Over several layers it is the sum of theirs, so that
    two masks which merely thin out the same layers are not taken for alike.
    """

    first: int
    second: int
    total: int
    shared: int
    expected: float

    @property
    def jaccard(self) -> float | None:
        """Living in both over living in either, in [0, 1]; None where nothing lives in either."""
        return _ratio(self.shared, self.first + self.second - self.shared)

    @property
    def chance(self) -> float | None:
        """The same with the expected count for the shared one: the index at the mean, not the mean of the index."""
        return _ratio(self.expected, self.first + self.second - self.expected)

    @property
    def above_chance(self) -> float | None:
        """Jaccard less chance, in [-1, 1]."""
        return None if self.jaccard is None or self.chance is None else self.jaccard - self.chance

    @property
    def first_in_second(self) -> float | None:
        """The share of the first mask's living weights that the second keeps; 1 means that it lies within."""
        return _ratio(self.shared, self.first)

    @property
    def second_in_first(self) -> float | None:
        """The share of the second mask's living weights that the first keeps."""
        return _ratio(self.shared, self.second)

    def as_json(self) -> dict[str, Any]:
        """Counts and ratios; what is undefined is null."""
        names = ("first", "second", "total", "shared", "expected", "jaccard", "chance", "above_chance",
                 "first_in_second", "second_in_first")  # fmt: skip
        return {name: getattr(self, name) for name in names}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def layer_overlaps(first: Mask, second: Mask) -> dict[str, Overlap]:
    """Parameter name -> what two masks share there.

    Raises:
        MismatchError: names or shapes differ; names the first that does.
    """
    first.require_same_shapes(second.shapes, of="the other mask")
    found = {}
    for name, array in first.items():
        n_first, n_second = first.kept_by_name[name], second.kept_by_name[name]
        shared = int(np.count_nonzero(array & second[name]))
        expected = n_first * n_second / array.size if array.size else 0.0
        found[name] = Overlap(n_first, n_second, array.size, shared, expected)
    return found


def whole_overlap(layers: Mapping[str, Overlap]) -> Overlap:
    """The layers together; the expected counts are summed, which keeps every layer's own counts."""
    each = list(layers.values())
    return Overlap(
        sum(one.first for one in each),
        sum(one.second for one in each),
        sum(one.total for one in each),
        sum(one.shared for one in each),
        sum(one.expected for one in each),
    )


@dataclass(frozen=True)
class Pair:
    """Two compared masks by their labels."""

    first: str
    second: str
    layers: Mapping[str, Overlap]

    @property
    def whole(self) -> Overlap:
        """Over all layers."""
        return whole_overlap(self.layers)

    def as_json(self) -> dict[str, Any]:
        """The labels, the whole, and every layer."""
        layers = {name: overlap.as_json() for name, overlap in self.layers.items()}
        return {"masks": [self.first, self.second], "whole": self.whole.as_json(), "layers": layers}


_HEAD = ["shared", "Jaccard", "chance", "above", "1st in 2nd", "2nd in 1st"]
_LEGEND = (
    "Shared: weights that live in both. Jaccard: shared over all in either.\n"
    "Chance: the Jaccard index of two masks with these counts in each layer, drawn\n"
    "independently. Above: Jaccard less chance, in points."
)


def masks_table(labels: Mapping[str, str], masks: Sequence[Mask]) -> str:
    """One row a mask: its label, what it was called on the command line, and its counts."""
    rows = [
        [label, what, f"{mask.kept:,}", f"{mask.total:,}", f"{mask.density:.2%}", f"{mask.sparsity:.2%}"]
        for (label, what), mask in zip(labels.items(), masks, strict=True)
    ]
    head = ["", "mask", "living", "of", "density", "sparse"]
    return table(head, rows, right=head[2:])


def pairs_table(pairs: Sequence[Pair]) -> str:
    """One row a pair, over all layers."""
    rows = [[f"{pair.first}, {pair.second}", *_cells(pair.whole)] for pair in pairs]
    return table(["pair", *_HEAD], rows, right=_HEAD) + "\n\n" + _LEGEND


def layers_table(pair: Pair) -> str:
    """One row a layer of a pair."""
    rows = [[name, *_cells(overlap)] for name, overlap in pair.layers.items()]
    head = [*_HEAD[:-2], f"{pair.first} in {pair.second}", f"{pair.second} in {pair.first}"]
    return f"{pair.first}, {pair.second} by layer:\n" + table(["layer", *head], rows, right=head)


def _cells(overlap: Overlap) -> list[str]:
    above = overlap.above_chance
    return [
        f"{overlap.shared:,}",
        _percent(overlap.jaccard),
        _percent(overlap.chance),
        "n/a" if above is None else f"{100 * above:+z.2f}",
        _percent(overlap.first_in_second),
        _percent(overlap.second_in_first),
    ]


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2%}"
