"""ResNets with torchvision's parameter names, named taps, and a stem for 32-pixel images.

Source: He et al., "Deep Residual Learning for Image Recognition", 2016; names as torchvision has them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; [N, C_in, H, W] -> [N, C_out, H/stride, W/stride]."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, after ReLU."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """A residual network with a 3x3 stem of stride 1 and without max-pool, for 32-pixel images.

    Args:
        widths: channels of each stage; the first stage keeps the resolution, each later one halves it.
        blocks: blocks in each stage.
        n_classes: outputs of the head `fc`.
        generator: source of all initial values; the global generator is not touched.
    """

    @torch.random.fork_rng(devices=[])  # torch's own first draw, which `initialise` replaces, stays in here
    def __init__(
        self, widths: Sequence[int], blocks: Sequence[int], n_classes: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.tap_names = tuple(f"layer{number}" for number in range(1, len(widths) + 1))
        n_in = widths[0]
        for number, (name, n_out, depth) in enumerate(zip(self.tap_names, widths, blocks, strict=True)):
            first = BasicBlock(n_in, n_out, 1 if number == 0 else 2)
            self.add_module(name, nn.Sequential(first, *(BasicBlock(n_out, n_out, 1) for _ in range(depth - 1))))
            n_in = n_out
        self.widths, self.blocks = tuple(widths), tuple(blocks)
        self.fc = nn.Linear(n_in, n_classes)
        initialise(self, generator)

    def taps(self, x: Tensor) -> dict[str, Tensor]:
        """Images [N, 3, H, W] -> the output of each stage after ReLU, in order: layer1 [N, C1, H, W], ..."""
        found: dict[str, Tensor] = {}
        x = F.relu(self.bn1(self.conv1(x)))
        for name in self.tap_names:
            x = self.get_submodule(name)(x)
            found[name] = x
        return found

    def classify(self, code: Tensor) -> Tensor:
        """The last tap [N, C, h, w] -> logits [N, n_classes]."""
        logits: Tensor = self.fc(code.mean(dim=(2, 3)))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> logits [N, n_classes]."""
        return self.classify(self.taps(x)[self.tap_names[-1]])


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
