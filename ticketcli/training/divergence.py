"""Noticing in the very step that a training has left the numbers, before the weights do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ticketcli.errors import DivergedError
from ticketcli.tensors.finite import is_finite

_HINT = "a lower lr, clipped gradients (clip: 1.0) or a longer warm-up (warmup: 500it); what is saved is from before"


def gradient_norm(parameters: Sequence[nn.Parameter], clip: float | None) -> Tensor:
    """The norm of all gradients as one vector, a scalar; where there is a `clip`, they are scaled down to it."""
    if clip is not None:
        return nn.utils.clip_grad_norm_(parameters, clip)
    gradients = [one.grad for one in parameters if one.grad is not None]
    if gradients and all(one.device.type == "cpu" for one in gradients):
        flat = [_flat(one) for one in gradients]
        return torch.stack([torch.dot(one, one) for one in flat]).sum().sqrt()  # by all cores; norms come from one
    return nn.utils.get_total_norm(gradients)


def _flat(gradient: Tensor) -> Tensor:
    """Its numbers as one vector, in the order in which they lie in memory where the channels are first or last."""
    last = gradient.dim() == 4 and not gradient.is_contiguous()
    return (gradient.permute(0, 2, 3, 1) if last else gradient).reshape(-1)


def require_finite(loss: Tensor, norm: Tensor, *, where: str, step: int) -> None:
    """Refuse to go on with a loss, or a norm of gradients, that is not a number or infinite.

    On a GPU this waits once a step for what was computed so far: the price of never stepping with such gradients.

    Raises:
        DivergedError: says which.
    """
    loss = loss.detach()
    if math.isfinite(float(loss + norm)):  # one number, so that there is one wait
        return
    name, value = ("loss", loss) if not math.isfinite(float(loss)) else ("norm of the gradients", norm)
    raise DivergedError(f"the {name} is {float(value)} at step {step}", where=where, hint=_HINT)


def require_finite_values(values: Iterable[Any], *, where: str, step: int) -> None:
    """Refuse to keep weights, or an optimiser's state of them, that are no finite numbers; what is no tensor passes.

    Raises:
        DivergedError: there is one.
    """
    for value in values:
        if isinstance(value, Tensor) and not is_finite(value):
            raise diverged(where=where, step=step)


def diverged(*, where: str, step: int) -> DivergedError:
    """The error of weights that are no finite numbers."""
    return DivergedError(f"the weights are no longer finite after step {step}", where=where, hint=_HINT)
