"""The networks of a KnockoffGAN on images: generators, and the three that judge what they make.

Source: Jordon et al., "KnockoffGAN", 2019, what each is for; SCOP, supplement S2, that they are convolutional and that
blocks of pixels are exchanged as units. Their depths are ours, but for `Deconvolutions`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Conditional(nn.Module):
    """x~ = G(x, z): an image and noise of its shape give a control, in the image's own units.

    Args:
        n_channels: of an image.
        width: channels of the hidden layers.
    """

    def __init__(self, n_channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2 * n_channels, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, n_channels, 3, padding=1),
        )

    def forward(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        noise = torch.randn(x.shape, generator=draw).to(x)
        found: Tensor = self.layers(torch.cat([x, noise], dim=1))
        return found


class Deconvolutions(nn.Module):
    """x~ = G(z), as in SCOP's released code for CIFAR: 128 numbers of noise give an image in [-1, 1], whatever x is.

    So controls have no covariance with the images, and another range than normalised ones: label-free images, no
    knockoffs. A linear layer to 4 width channels of side / 8, then three doublings to 2 width, width and C channels.

    Args:
        n_channels: of an image.
        side: of an image, a multiple of 8.
        width: 64 in the original.
    """

    n_noise = 128

    def __init__(self, n_channels: int, side: int, width: int) -> None:
        super().__init__()
        self.start = (4 * width, side // 8, side // 8)
        self.linear = nn.Linear(self.n_noise, 4 * width * (side // 8) ** 2)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(4 * width, 2 * width, 2, 2),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 2, 2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, n_channels, 2, 2),
            nn.Tanh(),
        )

    def forward(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """[N, C, side, side], of which only N counts -> [N, C, side, side]."""
        noise = torch.randn(len(x), self.n_noise, generator=draw).to(x)
        found: Tensor = self.layers(self.linear(noise).view(-1, *self.start))
        return found


class Discriminator(nn.Module):
    """Which blocks of a pair were exchanged, given hints at most of them: logits [N, 1, H / block, W / block].

    Args:
        n_channels: of an image.
        width: channels of the hidden layers.
        block: side of a block in pixels.
    """

    def __init__(self, n_channels: int, width: int, block: int) -> None:
        super().__init__()
        self.block = block
        self.layers = nn.Sequential(
            nn.Conv2d(2 * n_channels + 1, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 1, block, block),
        )

    def forward(self, first: Tensor, second: Tensor, hints: Tensor) -> Tensor:
        """Both images of the pair, [N, C, H, W], and the hints, 1 where an exchange is given away."""
        plane = F.interpolate(hints, scale_factor=float(self.block), mode="nearest")
        found: Tensor = self.layers(torch.cat([first, second, plane], dim=1))
        return found


class Critic(nn.Module):
    """How real an image looks: [N, C, H, W] -> [N]; no normalisation over a batch, which a gradient penalty forbids."""

    def __init__(self, n_channels: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(n_channels, width, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.LeakyReLU(0.2),
        )
        self.last = nn.Linear(2 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The scores."""
        found: Tensor = self.last(self.layers(x).mean(dim=(2, 3)))
        return found.squeeze(1)


class Information(nn.Module):
    """A bound on how much each block of an image tells about the same block of its control, in nats: MINE, one a block.

    Args:
        n_channels: of an image.
        side: of an image, a multiple of `block`.
        block: side of a block in pixels.
        width: hidden units of each of the small networks.
    """

    def __init__(self, n_channels: int, side: int, block: int, width: int) -> None:
        super().__init__()
        n_blocks, n_values = (side // block) ** 2, n_channels * block**2
        self.block = block
        self.inner = nn.Parameter(torch.randn(n_blocks, 2 * n_values, width) / (2 * n_values) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(n_blocks, 1, width))
        self.outer = nn.Parameter(torch.randn(n_blocks, width, 1) / width**0.5)

    def _values(self, x: Tensor, control: Tensor) -> Tensor:
        """[blocks, N], of pairs that lie beside each other."""
        parts = [F.unfold(one, self.block, stride=self.block) for one in (x, control)]  # [N, values, blocks]
        pairs = torch.cat(parts, dim=1).permute(2, 0, 1)
        return (torch.relu(pairs @ self.inner + self.bias) @ self.outer).squeeze(2)

    def forward(self, x: Tensor, control: Tensor, others: Tensor) -> Tensor:
        """The bound of each block, [blocks].

        Args:
            x: [N, C, side, side].
            control: of x, [N, C, side, side].
            others: int64 [N], an order that gives each image the control of another.
        """
        together, apart = self._values(x, control), self._values(x, control[others])
        return together.mean(dim=1) - (apart.logsumexp(dim=1) - torch.log(torch.tensor(float(len(x)))))
