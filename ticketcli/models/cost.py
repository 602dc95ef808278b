"""What a network costs: parameters, and multiply-adds; shapes and counts are found without computing a number."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ticketcli.models.encoder import Encoder
from ticketcli.tensors.modes import evaluating


def parameters(module: nn.Module) -> int:
    """The number of parameters; buffers such as BatchNorm's statistics do not count."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def outline(module: nn.Module, *inputs: Any, **settings: Any) -> Any:
    """What a forward pass in eval mode returns, as tensors that have a shape and no values.

    Costs neither arithmetic nor memory, at any image size; the module and its modes are left as they were.
    """
    ghosts = {name: tensor.to("meta") for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    with evaluating(module):
        return functional_call(module, ghosts, tuple(map(_ghost, inputs)), settings)


def _ghost(value: Any) -> Any:
    """Without values: a tensor, or a mapping of tensors."""
    if isinstance(value, Tensor):
        return value.to("meta")
    return {name: _ghost(inner) for name, inner in value.items()} if isinstance(value, Mapping) else value


def macs(module: nn.Module, *inputs: Any, **settings: Any) -> int:
    """Multiply-adds of convolutions and linear layers in one forward pass with these inputs."""
    return sum(macs_by_layer(module, *inputs, **settings).values())


def macs_by_layer(module: nn.Module, *inputs: Any, **settings: Any) -> dict[str, int]:
    """The multiply-adds of each convolution and linear layer that takes part in a forward pass, in order of use."""
    found: dict[str, int] = {}

    def count(name: str, part: nn.Module, _given: Any, output: Tensor) -> None:
        weight = part.weight
        assert isinstance(weight, Tensor)
        per_output = weight[0].numel()
        found[name] = found.get(name, 0) + per_output * output.numel()

    handles = [
        part.register_forward_hook(partial(count, name))
        for name, part in module.named_modules()
        if isinstance(part, (nn.Conv2d, nn.Linear))
    ]
    try:
        outline(module, *inputs, **settings)
    finally:
        for handle in handles:
            handle.remove()
    return found


class Taps(nn.Module):
    """The encoder, called for its taps."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images [N, 3, H, W] -> taps."""
        return self.encoder.taps(x)


def tap_outlines(encoder: Encoder, image_size: int) -> dict[str, Tensor]:
    """Tap name -> a tensor [1, C_i, h_i, w_i] without values, for one image of `image_size` pixels a side."""
    found: dict[str, Tensor] = outline(Taps(encoder), one_image(image_size))
    return found


def one_image(image_size: int) -> Tensor:
    """The outline of one image, [1, 3, image_size, image_size]."""
    return torch.empty(1, 3, image_size, image_size, device="meta")


def cost_of(encoder: Encoder, image_size: int) -> dict[str, int]:
    """What metrics record of an encoder: `parameters`, and `macs` for one image."""
    return {"parameters": parameters(encoder), "macs": macs(encoder, one_image(image_size))}


def in_words(cost: dict[str, int]) -> str:
    """`308,181 weights, 16.2 M multiply-adds an image`."""
    return f"{cost['parameters']:,} weights, {cost['macs'] / 1e6:,.1f} M multiply-adds an image"
