"""Measurements batch by batch, which several processes take in turns; what comes out is what one alone would find."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Protocol, TypeVar

from ticketcli.events import Pause
from ticketcli.tensors import ranks

BatchT = TypeVar("BatchT")
BatchT_co = TypeVar("BatchT_co", covariant=True)
FoundT = TypeVar("FoundT")


class Batches(Protocol[BatchT_co]):
    """A known number of batches, of which every n-th can be had alone: a `Series`, or a list."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[BatchT_co]: ...

    def __getitem__(self, part: slice, /) -> Batches[BatchT_co]: ...


def in_turns(
    batches: Batches[BatchT], measure: Callable[[BatchT], FoundT], what: str
) -> Generator[Pause, None, list[FoundT]]:
    """Measure batch k in process k modulo their number; in the end all have everything.

    As the batches are those of a lone process, and come back in its order, sums over them have its very bits. Yields as
    many pauses in each process, called `what`: one after each round of turns, be there a batch left for it or not.

    Args:
        batches: the same in all processes.
        measure: a batch -> what is found on it, to be sent to the other processes.
        what: for people.

    Returns:
        What was found on each batch, in the order of the batches.
    """
    rank, world, n = ranks.rank(), ranks.world(), len(batches)
    own = iter(batches[rank::world])
    found: list[FoundT] = []
    for turn in range(0, n, world):
        if turn + rank < n:
            found.append(measure(next(own)))
        yield Pause(what, min(turn + world, n), n)
    everyone = ranks.gathered(found)
    return [everyone[k % world][k // world] for k in range(n)]
