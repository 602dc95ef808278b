"""One network in several processes: each sees its part of a batch, the gradients are those of the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ticketcli.tensors import ranks

Loss = Callable[..., dict[str, Tensor]]


class _LossOf(nn.Module):
    """A loss as a module, so that DistributedDataParallel sees where its network begins and ends."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, *batch: Any) -> dict[str, Tensor]:
        return self.loss(*batch)


class Replica:
    """A process's copy of a network that learns; in a lone process it adds nothing.

    Gradients are averaged over the processes while they are computed, by torch's DistributedDataParallel. Every process
    has the statistics of its own part of a batch in its BatchNorm layers; the running ones are those of process 0,
    which it gives to the others before each step. A parameter that learns and that the loss never touches would be
    waited for in vain: stages take the gradients from such.

    Args:
        model: what learns.
        loss: a batch -> named scalars, means over its images.
        share: this process's part of each batch.
    """

    def __init__(self, model: nn.Module, loss: Loss, share: float) -> None:
        self.model, self.share = model, share
        self.rehearsed = ranks.world() <= 2
        self.loss: Callable[..., Any] = loss
        if ranks.world() > 1:
            with ranks.noticing_losses():
                self.loss = DistributedDataParallel(_LossOf(model, loss))

    def losses(self, batch: tuple[Any, ...]) -> dict[str, Tensor]:
        """Of this process's part of the batch."""
        with ranks.noticing_losses():
            if not self.rehearsed:
                self._rehearse(batch)
            found: dict[str, Tensor] = self.loss(*batch)
        return found

    def _rehearse(self, batch: tuple[Any, ...]) -> None:
        """A first step without effect, for the sake of the last bits.

        DistributedDataParallel lays out anew, after its first step, what it sends together; and with that the order in
        which more than two processes add up. What goes on from a saved state would begin with the first layout again.
        """
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        self.loss(*batch)["loss"].backward()
        self.model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
        self.rehearsed = True

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of the whole batch's mean loss."""
        weight = self.share * ranks.world()  # the mean over processes of what is weighted so
        with ranks.noticing_losses():
            (loss if weight == 1 else loss * weight).backward()  # type: ignore[no-untyped-call]

    def means(self, losses: Mapping[str, Tensor]) -> dict[str, float]:
        """The losses of the whole batch."""
        if ranks.world() == 1:
            return {name: float(value.detach()) for name, value in losses.items()}
        values = torch.stack([value.detach().double() for value in losses.values()]) * self.share
        ranks.add_up([values])
        return dict(zip(losses, values.tolist(), strict=True))

    def settle(self) -> None:
        """After the last step: process 0's buffers for all, so that all measure the same network."""
        ranks.copy_buffers(self.model)
