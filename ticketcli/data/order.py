"""`Order`: which images make the batch at (epoch, step), and which of them are this process's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ticketcli.errors import UsageError
from ticketcli.tensors import ranks
from ticketcli.tensors.seeds import derive, permutation


class Order:
    """A new order of `n` images each epoch; those that fill no batch are left out of it.

    `batch` is the size asked for; fewer images than that make one batch with all of them. Where several processes train
    together, each takes its slice of the same batch; `share` is the slice's part of it, 1 in a lone process.

    Raises:
        UsageError: a batch has fewer images than there are processes.
    """

    def __init__(self, n: int, batch: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self.batch = min(batch, n)
        self.per_epoch = max(1, n // max(1, self.batch))
        rank, world = ranks.rank(), ranks.world()  # kept, for workers that decode do not belong to the run
        if world > 1 and self.batch < world:
            images = "1 image" if self.batch == 1 else f"{self.batch} images"
            hint = f"a larger batch, or --nproc {max(1, self.batch)}"
            raise UsageError(f"a batch of {images} cannot be divided among {world} processes", where="batch", hint=hint)
        self.start, self.stop = self.batch * rank // world, self.batch * (rank + 1) // world
        self.share = (self.stop - self.start) / self.batch if world > 1 else 1.0
        self._epoch: tuple[int, NDArray[np.int64]] | None = None

    def chosen(self, epoch: int, step: int) -> NDArray[np.int64]:
        """Indices of this process's images of the batch, [B], or fewer where there are several processes."""
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, permutation(derive(self.seed, "order", epoch), self.n))
        first = step * self.batch
        return self._epoch[1][first + self.start : first + self.stop]
