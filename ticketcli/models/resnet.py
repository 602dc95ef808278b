"""ResNets with torchvision's parameter names and named taps: for ImageNet, for small images, and CIFAR's own.

Source: He et al., "Deep Residual Learning for Image Recognition", 2016; names and the place of the stride as
torchvision has them.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.models.encoder import BlockKind, StagedEncoder, Tap
from ticketcli.models.folding import Normalized
from ticketcli.models.resnet_shape import Shape, Shortcut


class Block(nn.Module):
    """A residual block: [N, C_in, H, W] -> [N, C_out, H/stride, W/stride], after ReLU."""

    expansion = 1
    normalized: ClassVar = {"conv1": "bn1", "conv2": "bn2"}
    downsample: nn.Module | None

    def _connect(self, n_in: int, n_out: int, stride: int, shortcut: Shortcut) -> None:
        """Make the shortcut; called last, so that names and draws come in torchvision's order."""
        self.downsample = None
        if stride == 1 and n_in == n_out:
            return
        if shortcut == "padding":
            self.downsample = PaddedShortcut(n_in, n_out, stride)
        else:
            self.downsample = Normalized(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def _join(self, y: Tensor, x: Tensor) -> Tensor:
        return torch.relu_(y + (x if self.downsample is None else self.downsample(x)))


class BasicBlock(Block):
    """Two 3x3 convolutions of `width` channels and a shortcut."""

    def __init__(self, n_in: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self._connect(n_in, width, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, after ReLU."""
        y = torch.relu_(self.bn1(self.conv1(x)))
        return self._join(self.bn2(self.conv2(y)), x)


class Bottleneck(Block):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; `width` channels inside, four times as many out.

    The 3x3 convolution strides, as in torchvision (often called v1.5); in the paper the first 1x1 does.
    """

    expansion = 4
    normalized: ClassVar = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3"}

    def __init__(self, n_in: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        n_out = self.expansion * width
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self._connect(n_in, n_out, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, after ReLU."""
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = torch.relu_(self.bn2(self.conv2(y)))
        return self._join(self.bn3(self.conv3(y)), x)


class PaddedShortcut(nn.Module):
    """Option A: every stride-th pixel, and as many channels of zeros on either side as are wanting; no parameters."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        before = (n_out - n_in) // 2
        self.stride, self.padding = stride, (before, n_out - n_in - before)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, H, W] -> [N, C_out, H/stride, W/stride]."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.padding))


_BLOCKS: dict[BlockKind, type[BasicBlock | Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNet(StagedEncoder):
    """A residual network; its taps are the outputs of its stages, `layer1` to the last, after ReLU.

    Args:
        shape: what tells it from other ResNets.
        n_classes: outputs of the head `fc`.
        generator: source of all initial values; the global generator is not touched.
    """

    stem_names = ("conv1",)
    head_names = ("fc",)
    striding = "stages stride in their first 3x3 convolution, as in torchvision"
    normalized: ClassVar = {"conv1": "bn1"}

    @torch.random.fork_rng(devices=[])  # torch's own first draw, which `initialise` replaces, stays in here
    def __init__(self, shape: Shape, n_classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.depths, self.block_kind, self._stem_side = shape.depths, shape.block, shape.stem
        n_in = shape.widths[0]
        self.conv1 = nn.Conv2d(3, n_in, shape.stem, 2 if shape.stem == 7 else 1, shape.stem // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(n_in)
        self.tap_names = shape.tap_names
        block = _BLOCKS[shape.block]
        for place, (name, width, depth) in enumerate(zip(self.tap_names, shape.widths, shape.depths, strict=True)):
            n_out = width * block.expansion
            first = block(n_in, width, 1 if place == 0 else 2, shape.shortcut)
            rest = (block(n_out, width, 1, shape.shortcut) for _ in range(depth - 1))
            self.add_module(name, nn.Sequential(first, *rest))
            self.add_module(f"tap{place + 1}", Tap())
            n_in = n_out
        self.fc = nn.Linear(n_in, n_classes)
        initialise(self, generator)

    def _states(self, x: Tensor) -> list[Tensor]:
        """Images [N, 3, H, W] -> the stages' outputs after ReLU."""
        x = torch.relu_(self.bn1(self.conv1(x)))
        if self._stem_side == 7:
            x = F.max_pool2d(x, 3, 2, 1)
        states: list[Tensor] = []
        for name in self.tap_names:
            x = self.get_submodule(name)(x)
            states.append(x)
        return states

    def _logits(self, x: Tensor) -> Tensor:
        """The last state -> logits [N, n_classes]."""
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits

    @torch.random.fork_rng(devices=[])
    def new_head(self, n_classes: int, draw: torch.Generator) -> None:
        """Replace `fc` by a fresh one of `n_classes`."""
        self.fc = nn.Linear(self.fc.in_features, n_classes)
        initialise(self.fc, draw)


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """He's normal draw (fan out, for ReLU) for convolutions, ones and zeros for BatchNorm, uniform for the head."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Linear):
            bound = float(part.in_features) ** -0.5
            nn.init.uniform_(part.weight, -bound, bound, generator=generator)
            nn.init.uniform_(part.bias, -bound, bound, generator=generator)
