"""A network of a known architecture; and which of its weights can be pruned."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ticketcli.errors import MismatchError
from ticketcli.models.encoder import Encoder
from ticketcli.models.table import architecture
from ticketcli.store.mask import Mask
from ticketcli.tensors.seeds import generator


def build_encoder(arch: str, *, n_classes: int, seed: int) -> Encoder:
    """A network of a known architecture with a seeded random draw of its weights.

    Raises:
        UsageError: unknown architecture.
    """
    return architecture(arch).build(n_classes, generator(seed, "encoder"))


def prunable(model: Encoder, what: Literal["auto", "weights"] = "auto") -> dict[str, nn.Parameter]:
    """Name -> weight matrix that pruning may thin out; BatchNorm, biases and embeddings never.

    Args:
        model: the network.
        what: `weights`: every convolution and linear layer; `auto`: those but the stem and the head, which in a ResNet
            leaves every convolution but the stem, as in the paper's [1].
    """
    spared = () if what == "weights" else (*model.stem_names, *model.head_names)
    return {
        f"{name}.weight": part.get_parameter("weight")
        for name, part in model.named_modules()
        if isinstance(part, (nn.Conv2d, nn.Linear)) and not _within(name, spared)
    }


def _within(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def masked_parameters(model: nn.Module, mask: Mask) -> dict[str, nn.Parameter]:
    """Name -> parameter, for each that the mask names: what was pruned, whatever could have been.

    Raises:
        MismatchError: the network lacks one, or its shape differs; names it.
    """
    own = dict(model.named_parameters())
    for name, shape in mask.shapes.items():
        if name not in own:
            raise MismatchError(
                f"the mask is about '{name}', which the network has not",
                where=name,
                hint="use a mask made for this architecture",
            )
        if tuple(own[name].shape) != tuple(shape):
            raise MismatchError(f"the mask is {tuple(shape)}, the network's is {tuple(own[name].shape)}", where=name)
    return {name: own[name] for name in mask}
