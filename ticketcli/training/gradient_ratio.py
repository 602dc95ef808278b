"""How strong the treatment is: the size of the reconstruction's gradient beside the classification's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from ticketcli.store.mask import Mask
from ticketcli.tensors import ranks
from ticketcli.training.parts import parts_of

Losses = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def gradient_ratio(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    mask: Mask,
    losses: Losses,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    share: float = 1.0,
    micro_batch: int | None = None,
) -> float:
    """The norm of the second loss's gradient over that of the first's, in the living weights of `parameters`.

    Both gradients are summed over `batches` first, in training mode as the treatment is applied; statistics,
    gradients and mode are left as they were. Infinite where the first gradient is zero.

    Args:
        model: the encoder.
        parameters: the encoder's prunable weights, by name.
        mask: which of them live; the others are not moved by any gradient and do not count.
        losses: images [N,3,H,W], labels [N] -> (L_class, lambda * L_rec), two scalars.
        batches: a few training batches; of several processes each has its part of them.
        share: this process's part of each.
        micro_batch: images that are computed at once; None for all.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    was_training = model.training
    model.train()
    weights = list(parameters.values())
    living = [torch.from_numpy(mask[name].copy()).to(weight.device) for name, weight in parameters.items()]
    sums = [[torch.zeros_like(weight) for weight in weights] for _ in range(2)]
    parts = (part for batch in batches for part in parts_of(batch, micro_batch, share))
    for part, part_share in parts:
        weight = part_share * share
        for total, loss in zip(sums, losses(*part), strict=True):
            gradients = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
            for slot, gradient in zip(total, gradients, strict=True):
                if gradient is not None:
                    slot += gradient if weight == 1 else gradient * weight
    model.train(was_training)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    ranks.add_up(slot for total in sums for slot in total)
    first, second = (
        math.sqrt(sum(float(slot[alive].double().square().sum()) for slot, alive in zip(total, living, strict=True)))
        for total in sums
    )
    return second / first if first > 0 else math.inf
