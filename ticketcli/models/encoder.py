"""`Encoder`: a backbone with named taps; all that the stages and the decoder know of a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ticketcli.errors import UsageError

BlockKind = Literal["basic", "bottleneck", "gunn"]


class Tap(nn.Identity):
    """Where maps are tapped: readers of taps get all channels, also where some have fallen; see `channels.compact`."""

    keeps_width: ClassVar = True


class Encoder(nn.Module, ABC):
    """A classifier of images whose inner features can be read, under its origin's own parameter names.

    The attributes are named so that they cannot hide a part of a network: timm's nets have parts called `blocks`,
    `stem` and `head`.

    Attributes:
        tap_names: the taps, shallow to deep; a name may hold dots (`stages.2`). None at all in a net without maps.
        depths: for each tap, the blocks of the decoder's stage that rebuilds it; of `gunn`, the segments of one layer.
        block_kind: the kind of those blocks.
        stem_names: the convolutions that see the image.
        head_names: the classifier's parts, which a transfer replaces.
        striding: where maps become smaller, in words.
    """

    tap_names: tuple[str, ...]
    depths: tuple[int, ...]
    block_kind: BlockKind
    stem_names: tuple[str, ...]
    head_names: tuple[str, ...]
    striding: ClassVar[str] = "pools between its stages"

    @abstractmethod
    def taps_and_logits(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Images [N, 3, H, W] -> taps, shallow to deep, each [N, C_i, h_i, w_i]; and logits [N, n_classes]."""

    @abstractmethod
    def new_head(self, n_classes: int, draw: torch.Generator) -> None:
        """Replace the classifier by a fresh one of `n_classes`; the global generator is not touched."""

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Images [N, 3, H, W] -> taps, shallow to deep, each [N, C_i, h_i, w_i].

        Raises:
            UsageError: the net has none.
        """
        self.require_taps()
        return self.taps_and_logits(x)[0]

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> logits [N, n_classes]."""
        return self.taps_and_logits(x)[1]

    @property
    def facts(self) -> Mapping[str, object]:
        """What a checkpoint says of the network beside its architecture and widths, as JSON values; mostly nothing."""
        return {}

    def require_taps(self) -> None:
        """For all that reads taps: decoders, pyramids, features and what is frozen by them.

        Raises:
            UsageError: the net has no maps to tap.
        """
        if not self.tap_names:
            raise UsageError(
                f"a {type(self).__name__} has no feature maps, and this reads them", where="arch",
                hint="for decoders, features and pixel-level tasks choose a net of convolutions; loss: cls needs none",
            )  # fmt: skip

    def drop_head(self) -> None:
        """Leave the classifier out, for tasks that only read taps: its parameters are gone, logits mean nothing."""
        for name in self.head_names:
            self.set_submodule(name, nn.Identity())

    @property
    def head_prefixes(self) -> tuple[str, ...]:
        """What the classifier's parameter names begin with: `fc.`."""
        return tuple(f"{name}." for name in self.head_names)


class StagedEncoder(Encoder):
    """An encoder that is a chain of stages, tapped behind each: stage by stage through its modules `tap1`, `tap2`, ...

    Logits alone do not pay for taps, which may be wider than what the stages compute.
    """

    @abstractmethod
    def _states(self, x: Tensor) -> list[Tensor]:
        """Images [N, 3, H, W] -> what the stages compute, in order, as wide as they are."""

    @abstractmethod
    def _logits(self, x: Tensor) -> Tensor:
        """The last state -> logits [N, n_classes]."""

    def taps_and_logits(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Images [N, 3, H, W] -> the stages' outputs, in order; and logits [N, n_classes]."""
        states = self._states(x)
        taps = {
            name: self.get_submodule(f"tap{number}")(state)
            for number, (name, state) in enumerate(zip(self.tap_names, states, strict=True), 1)
        }
        return taps, self._logits(states[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> logits [N, n_classes]."""
        return self._logits(self._states(x)[-1])
