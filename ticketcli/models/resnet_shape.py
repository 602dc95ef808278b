"""How a ResNet is described."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ticketcli.models.encoder import BlockKind

Shortcut = Literal["projection", "padding"]


@dataclass(frozen=True)
class Shape:
    """What tells one ResNet from another.

    Attributes:
        depths: blocks in each stage; the first stage keeps the resolution, each later one halves it.
        widths: inner channels of each stage's blocks; the first is the stem's, too.
        block: `basic`, or `bottleneck`, which gives four times its inner channels.
        stem: side of its kernel; 7 strides by two and is followed by a max-pool, 3 does neither.
        shortcut: where a block widens: a 1x1 convolution, or `padding` with zero channels (the paper's option A).
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    block: BlockKind = "basic"
    stem: Literal[3, 7] = 7
    shortcut: Shortcut = "projection"

    @property
    def tap_names(self) -> tuple[str, ...]:
        """The stages, by torchvision's names."""
        return tuple(f"layer{number}" for number in range(1, len(self.depths) + 1))
