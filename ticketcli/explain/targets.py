"""What gates are to maximise: a logit, or a hidden unit."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ClassTarget:
    """The logit of a class, image by image.

    Attributes:
        classes: int64 [N].
    """

    classes: Tensor


@dataclass(frozen=True)
class NeuronTarget:
    """A hidden unit before its ReLU, the same for all images; or its channel's sum where no place is named.

    Attributes:
        layer: name of a gate, which stands for what its ReLU reads, or of a part of the network, which stands for what
            it returns; where that is a ReLU's output, for what the ReLU reads.
        channel: from 0.
        row, column: of the map, from 0; both or neither.
    """

    layer: str
    channel: int
    row: int | None = None
    column: int | None = None


Target = ClassTarget | NeuronTarget
