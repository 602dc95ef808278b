"""Controls that are other images of the batch: the cheapest, without labels, and of the data's own distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from ticketcli.errors import UsageError


def permuted(x: Tensor, draw: torch.Generator) -> Tensor:
    """Each image's control is another one, drawn anew for every batch; a `KnockoffSource`.

    The images go round one circle in random order, so that none is its own control. Independent of the image, such
    controls are not exchangeable with it unless its values are independent: a scientific control, no true knockoff.

    Args:
        x: [N, ...], N > 1.
        draw: on the CPU.

    Raises:
        UsageError: the batch has one image.

    Source: the specification, 3.3 c; of the same standing as the generator that SCOP released.
    """
    n = len(x)
    if n < 2:
        raise UsageError(
            "an image alone in its batch has no other for a control",
            where="knockoff",
            hint="use batches of two or more",
        )
    order = torch.randperm(n, generator=draw)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return x[partner.to(x.device)]
