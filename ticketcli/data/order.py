"""`Order`: which images make the batch at (epoch, step)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ticketcli.tensors.seeds import derive, permutation


class Order:
    """A new order of `n` images each epoch; those that fill no batch are left out of it.

    `batch` is the size asked for; fewer images than that make one batch with all of them.
    """

    def __init__(self, n: int, batch: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self.batch = min(batch, n)
        self.per_epoch = max(1, n // max(1, self.batch))
        self._epoch: tuple[int, NDArray[np.int64]] | None = None

    def chosen(self, epoch: int, step: int) -> NDArray[np.int64]:
        """Indices of the batch's images, [B]."""
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, permutation(derive(self.seed, "order", epoch), self.n))
        return self._epoch[1][step * self.batch : (step + 1) * self.batch]
