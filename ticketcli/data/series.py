"""`Series`: the batches of a measurement, made as they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

BatchT = TypeVar("BatchT")


@dataclass(frozen=True)
class Series(Generic[BatchT]):
    """A known number of batches.

    Attributes:
        tasks: what fixes each batch.
        make: tasks -> a batch for each, in their order.
    """

    tasks: Sequence[Any]
    make: Callable[[Sequence[Any]], Iterator[BatchT]]

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[BatchT]:
        return self.make(self.tasks)

    def __getitem__(self, part: slice) -> Series[BatchT]:
        """Some of the batches; no others are made."""
        return Series(self.tasks[part], self.make)
