"""BatchNorm that stands still, multiplied into the convolution before it: the same function in fewer passes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar, TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Normalized(nn.Sequential):
    """A convolution and its BatchNorm, as torchvision's shortcuts name them."""

    normalized: ClassVar = {"0": "1"}


def folded(network: ModuleT) -> ModuleT:
    """A frozen copy of a network in eval mode, without the BatchNorms that a module's `normalized` names.

    Outputs, and gradients of the input, are equal but for rounding. Where a map is large and has few channels, as at
    the end of a decoder, normalising it costs as much as the convolution.

    Args:
        network: its modules may have `normalized`, convolution -> the BatchNorm that alone reads it. Others, such as
            timm's, stay as they are.
    """
    assert not network.training, "the statistics of a batch cannot be folded"
    found = copy.deepcopy(network)
    for convolution, norm in norms(found).items():
        before, after = found.get_submodule(convolution), found.get_submodule(norm)
        assert isinstance(before, nn.Conv2d)
        assert isinstance(after, nn.BatchNorm2d)
        found.set_submodule(convolution, fuse_conv_bn_eval(before, after))
        found.set_submodule(norm, nn.Identity())
    return found.requires_grad_(False)


def norms(network: nn.Module) -> dict[str, str]:
    """Convolution -> the BatchNorm that alone reads it, by their names in the network, as `normalized` tells them."""
    found = {}
    for name, module in network.named_modules():
        pairs: Mapping[str, str] = getattr(module, "normalized", {})
        for convolution, norm in pairs.items():
            before, after = module.get_submodule(convolution), module.get_submodule(norm)
            if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                prefix = f"{name}." if name else ""
                found[prefix + convolution] = prefix + norm
    return found
