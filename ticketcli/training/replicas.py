"""One network in several processes: each sees its part of a batch, the gradients are those of the whole batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ticketcli.errors import OutOfMemory
from ticketcli.recipe.configs import Training
from ticketcli.tensors import ranks
from ticketcli.tensors.global_draws import global_draws
from ticketcli.training.compiling import compiled
from ticketcli.training.memory import does_not_fit, is_out_of_memory, largest_that_fits
from ticketcli.training.parts import Batch, in_layout, n_images, parts_of, some

Loss = Callable[..., dict[str, Tensor]]


class _LossOf(nn.Module):
    """A loss as a module, so that DistributedDataParallel sees where its network begins and ends; and its precision."""

    def __init__(self, model: nn.Module, loss: Loss, precision: str) -> None:
        super().__init__()
        self.model, self.loss, self.in_bf16 = model, loss, precision == "bf16"

    def forward(self, *batch: Any) -> dict[str, Tensor]:
        if not self.in_bf16:
            return self.loss(*batch)
        with torch.autocast(next(self.model.parameters()).device.type, torch.bfloat16):
            found = self.loss(*batch)
        return {name: value.float() for name, value in found.items()}


class Replica:
    """A process's copy of a network that learns, computed as the settings say; by default, alone, it adds nothing.

    Gradients are averaged over the processes while they are computed, by torch's DistributedDataParallel. Every process
    has the statistics of its own part of a batch in its BatchNorm layers; the running ones are those of process 0,
    which it gives to the others before each step. A parameter that learns and that the loss never touches would be
    waited for in vain: stages take the gradients from such.

    Args:
        model: what learns.
        loss: a batch -> named scalars, means over its images.
        share: this process's part of each batch.
        config: how it is computed; `precision` is settled.
    """

    def __init__(self, model: nn.Module, loss: Loss, share: float, config: Training) -> None:
        if config.precision == "auto":
            raise AssertionError("the precision is settled before a stage begins")
        self.model, self.share, self.config = model, share, config
        self.rehearsed = ranks.world() <= 2
        self.plain = loss
        self.loss: Callable[..., Any] = loss
        if config.compile or config.precision != "fp32" or ranks.world() > 1:
            module: nn.Module = _LossOf(model, loss, config.precision)
            self.loss = module = compiled(module) if config.compile else module
            if ranks.world() > 1:
                if config.compile:  # compiled gradients of 1 x 1 kernels lie as they lie; a matter of speed
                    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
                with ranks.noticing_losses():
                    self.loss = DistributedDataParallel(module)

    def learn(self, batch: Batch, *, where: str = "") -> dict[str, Tensor]:
        """Add the gradients of the whole batch's mean loss to those of the parameters.

        Args:
            batch: this process's part.
            where: what is under way, for people.

        Returns:
            The losses of this process's part.

        Raises:
            OutOfMemory: it does not fit; says what would.
            PeerLost: another process has ended.
        """
        try:
            return self._learn(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # out here the error is gone, and with it what the step held
        raise too_large(self.model, self.plain, batch, self.share, self.config, where)

    def _learn(self, batch: Batch) -> dict[str, Tensor]:
        parts = parts_of(in_layout(batch, self.config.layout), self.config.micro_batch, self.share)
        total: dict[str, Tensor] = {}
        with ranks.noticing_losses():
            if not self.rehearsed:
                self._rehearse(parts[0][0])
            for number, (part, weight) in enumerate(parts, 1):
                with self._together(number == len(parts)):
                    losses: dict[str, Tensor] = self.loss(*part)
                    self._backward(losses["loss"], weight)
                for name, value in losses.items():
                    found = value.detach() if weight == 1 else value.detach() * weight
                    total[name] = total[name] + found if name in total else found
        return total

    def _together(self, last: bool) -> AbstractContextManager[Any]:
        """Processes average their gradients once a step, with the last part."""
        if last or not isinstance(self.loss, DistributedDataParallel):
            return nullcontext()
        return self.loss.no_sync()

    def _backward(self, loss: Tensor, part: float) -> None:
        weight = part * self.share * ranks.world()  # the mean over processes of what is weighted so
        (loss if weight == 1 else loss * weight).backward()  # type: ignore[no-untyped-call]

    def _rehearse(self, batch: Batch) -> None:
        """A first step without effect, for the sake of the last bits.

        DistributedDataParallel lays out anew, after its first step, what it sends together; and with that the order in
        which more than two processes add up. What goes on from a saved state would begin with the first layout again.
        """
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        with global_draws(0, next(self.model.parameters()).device):  # dropout draws in here, too
            self.loss(*batch)["loss"].backward()
        self.model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
        self.rehearsed = True

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


def too_large(model: nn.Module, loss: Loss, batch: Batch, share: float, config: Training, where: str) -> OutOfMemory:
    """What to say where a batch does not fit; a process that is not alone cannot try what would.

    Args:
        model: what learns; it is spoilt.
        loss: a batch -> named scalars.
        batch: this process's part, not yet divided.
        share: what part of the whole that is.
        config: how it is computed.
        where: what was under way, for people.
    """
    n = n_images(parts_of(batch, config.micro_batch, share)[0][0])
    if ranks.world() > 1:
        return does_not_fit(n, n // 2, where=where, tried=False)
    plain = _LossOf(model, loss, config.precision)

    def learn(few: int) -> None:
        part = in_layout(some(batch, slice(0, few)), config.layout)
        plain(*part)["loss"].backward()

    fits = largest_that_fits(model, learn, n, optimizer=config.optimizer)
    return does_not_fit(n, fits, where=where, tried=True)
