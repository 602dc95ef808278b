"""`KnockoffSource`: whatever makes controls of real images or features, without ever seeing a label; and swapping."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ticketcli.errors import UsageError


class KnockoffSource(Protocol):
    """Makes the controls of a batch."""

    def __call__(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """Controls of `x`, in its shape, type and place.

        Args:
            x: real images or features, [N, ...]; float.
            draw: a generator on the CPU, the only source of randomness.
        """


def swapped(x: Tensor, control: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    """The pair with some entries exchanged.

    Args:
        x: [N, ...].
        control: of the same shape.
        which: bool, broadcastable to them; True is exchanged.
    """
    return torch.where(which, control, x), torch.where(which, x, control)


def pixel_blocks(n_channels: int, height: int, width: int, side: int) -> Tensor:
    """The group of each value of an image [C, H, W]: square blocks of pixels over all channels, int64 [C H W].

    Raises:
        UsageError: blocks of that side do not fill the image.
    """
    require_blocks(height, width, side)
    rows = torch.arange(height)[:, None] // side * (width // side)
    return (rows + torch.arange(width) // side).expand(n_channels, height, width).flatten()


def require_blocks(height: int, width: int, side: int) -> None:
    """Refuse blocks that do not fill the image.

    Raises:
        UsageError: the side is no divisor of height and width.
    """
    if side < 1 or height % side or width % side:
        raise UsageError(
            f"blocks of {side} x {side} pixels do not fill images of {height} x {width}",
            where="knockoff",
            hint="choose a side that divides both",
        )
