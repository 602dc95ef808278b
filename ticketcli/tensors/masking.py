"""Keeping masked weights at exactly +0.0 while a network trains, at the price of one multiplication of gradients."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ticketcli.errors import TicketError
from ticketcli.store.mask import Mask


class MaskedWeights:
    """The prunable parameters of a network under a mask; no hooks, no re-parametrisation, no copies of weights.

    A masked weight that starts at +0.0 and only ever sees gradients of 0 stays there under SGD with momentum and
    decay and under Adam: their state stays 0 and decay scales 0. So it is enough to mask the gradients before they
    are clipped, and to look now and then (`require_masked`).
    """

    @torch.no_grad()
    def __init__(self, parameters: Mapping[str, nn.Parameter], mask: Mask) -> None:
        mask.require_same_shapes({name: tuple(weight.shape) for name, weight in parameters.items()}, of="the network")
        self._mask = mask
        self._names = list(mask)
        self._weights = [parameters[name] for name in self._names]
        self._alive = [
            torch.from_numpy(mask[name].copy()).to(weight.device)
            for name, weight in zip(self._names, self._weights, strict=True)
        ]
        # float masks in the weights' own type: bool times float is ten times slower on a CPU; and in their layout
        pairs = zip(self._alive, self._weights, strict=True)
        self._factors = [torch.empty_like(weight).copy_(alive) for alive, weight in pairs]

    @property
    def mask(self) -> Mask:
        """The mask that is enforced."""
        return self._mask

    @torch.no_grad()
    def apply(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Set the masked weights, and the optimiser's state of them, to +0.0.

        Filled, because a product would give -0.0 for negative weights.
        """
        for weight, alive in zip(self._weights, self._alive, strict=True):
            weight.masked_fill_(~alive, 0.0)
            for slot in () if optimizer is None else optimizer.state[weight].values():
                if isinstance(slot, Tensor) and slot.shape == weight.shape:  # momentum; not a count of steps
                    slot.masked_fill_(~alive, 0.0)

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Set the gradients of masked weights to zero. Call it before clipping: the norm is of what lives."""
        gradients: list[Tensor] = []
        factors: list[Tensor] = []
        for weight, factor in zip(self._weights, self._factors, strict=True):
            if weight.grad is not None:
                gradients.append(weight.grad)
                factors.append(factor)
        if gradients:
            torch._foreach_mul_(gradients, factors)

    @torch.no_grad()
    def require_masked(self) -> None:
        """Check that every masked weight is +0.0, sign bit included.

        Raises:
            TicketError: one is not, which is a fault of this program.
        """
        for name, weight, alive in zip(self._names, self._weights, self._alive, strict=True):
            dead = weight[~alive]
            if bool((dead != 0).any()) or bool(torch.signbit(dead).any()):
                raise TicketError("internal error: a masked weight has moved", where=name, hint="please report this")
