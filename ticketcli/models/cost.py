"""What a network costs: parameters, and multiply-adds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ticketcli.tensors.modes import evaluating


def parameters(module: nn.Module) -> int:
    """The number of parameters; buffers such as BatchNorm's statistics do not count."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def macs(module: nn.Module, *inputs: Any, **settings: Any) -> int:
    """Multiply-adds of convolutions and linear layers in one forward pass with these inputs."""
    total = 0

    def count(part: nn.Module, _given: Any, output: Tensor) -> None:
        nonlocal total
        weight = part.weight
        assert isinstance(weight, Tensor)
        per_output = weight[0].numel()
        total += per_output * output.numel()

    handles = [
        part.register_forward_hook(count) for part in module.modules() if isinstance(part, (nn.Conv2d, nn.Linear))
    ]
    try:
        with evaluating(module):
            module(*inputs, **settings)
    finally:
        for handle in handles:
            handle.remove()
    return total
