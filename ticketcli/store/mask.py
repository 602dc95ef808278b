"""`Mask`: which weights live. Immutable, numpy, by parameter name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ticketcli.errors import MismatchError

BoolArray = NDArray[np.bool_]


class Mask(Mapping[str, BoolArray]):
    """Parameter name -> read-only bool array in the parameter's shape; True is a living weight.

    Names are kept sorted. Every operation returns a new mask; `a <= b` says that all that lives in `a` lives in `b`.
    """

    __slots__ = ("_arrays", "_kept")

    def __init__(self, arrays: Mapping[str, ArrayLike]) -> None:
        # copies: masks share storage with nobody
        self._take({name: np.array(array, dtype=np.bool_, order="C") for name, array in arrays.items()})

    def _take(self, arrays: Mapping[str, BoolArray]) -> None:
        self._arrays = {name: arrays[name] for name in sorted(arrays)}
        for array in self._arrays.values():
            array.flags.writeable = False
        self._kept = {name: int(np.count_nonzero(array)) for name, array in self._arrays.items()}

    @classmethod
    def of_new(cls, arrays: Mapping[str, BoolArray]) -> Mask:
        """The mask of arrays in C order that were made for it and that nobody else holds: they are not copied."""
        made = cls.__new__(cls)
        made._take(arrays)
        return made

    @classmethod
    def full(cls, shapes: Mapping[str, tuple[int, ...]]) -> Mask:
        """The mask under which every weight lives."""
        return cls.of_new({name: np.ones(shape, dtype=np.bool_) for name, shape in shapes.items()})

    def __getitem__(self, name: str) -> BoolArray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: array.shape for name, array in self._arrays.items()}

    @property
    def total(self) -> int:
        """The number of prunable weights."""
        return sum(array.size for array in self._arrays.values())

    @property
    def kept(self) -> int:
        """The number of living weights."""
        return sum(self._kept.values())

    @property
    def kept_by_name(self) -> dict[str, int]:
        """Name -> number of living weights."""
        return dict(self._kept)

    @property
    def dropped(self) -> int:
        """The number of masked weights."""
        return self.total - self.kept

    @property
    def density(self) -> float:
        """Living share of the prunable weights, in [0, 1]."""
        return self.kept / self.total if self.total else 1.0

    @property
    def sparsity(self) -> float:
        """Masked share of the prunable weights, in [0, 1]."""
        return 1.0 - self.density

    def require_same_shapes(self, shapes: Mapping[str, tuple[int, ...]], *, of: str) -> None:
        """Refuse a mask whose names or shapes differ from those of `of`, naming the first that differs.

        Raises:
            MismatchError: a name is missing or unknown, or a shape differs.
        """
        for name in sorted(set(self.shapes) | set(shapes)):
            mine, other = self.shapes.get(name), shapes.get(name)
            if mine is None or other is None:
                owner, lacks = (of, "the mask") if mine is None else ("the mask", of)
                raise MismatchError(
                    f"{owner} has '{name}', {lacks} has not",
                    where=name,
                    hint="use a mask made for this architecture and this choice of prunable weights",
                )
            if tuple(mine) != tuple(other):
                raise MismatchError(f"the mask is {mine}, {of} is {tuple(other)}", where=name)

    def _paired(self, other: Mask) -> Iterator[tuple[str, BoolArray, BoolArray]]:
        self.require_same_shapes(other.shapes, of="the other mask")
        return ((name, array, other[name]) for name, array in self._arrays.items())

    def __le__(self, other: Mask) -> bool:
        return all(not np.any(a & ~b) for _, a, b in self._paired(other))

    def __and__(self, other: Mask) -> Mask:
        return Mask({name: a & b for name, a, b in self._paired(other)})

    def __or__(self, other: Mask) -> Mask:
        return Mask({name: a | b for name, a, b in self._paired(other)})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return self.shapes == other.shapes and all(np.array_equal(a, b) for _, a, b in self._paired(other))

    def __hash__(self) -> int:
        return hash((tuple(self.shapes.items()), self.kept))

    def overlap(self, other: Mask) -> float:
        """Shared living weights over all that live in either (intersection over union), in [0, 1]."""
        either = (self | other).kept
        return (self & other).kept / either if either else 1.0

    def __repr__(self) -> str:
        return f"Mask({len(self)} tensors, {self.kept} of {self.total} living, {self.sparsity:.2%} sparse)"
