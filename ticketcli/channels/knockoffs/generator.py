"""Controls from a generative network: KnockoffGAN on images, blocks of pixels exchanged as units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.channels.knockoffs.learning import load_state_of, state_of
from ticketcli.channels.knockoffs.networks import Conditional, Critic, Deconvolutions, Discriminator, Information
from ticketcli.channels.knockoffs.source import require_blocks, swapped
from ticketcli.errors import UsageError
from ticketcli.tensors.global_draws import global_draws
from ticketcli.tensors.seeds import derive


@dataclass(frozen=True)
class GanSettings:
    """How the networks are built and trained; the defaults are SCOP's for CIFAR where it says them.

    A step is a batch for the judges, and the generator learns in one of `judge_steps`: SCOP's 20,000 iterations are
    100,000 steps.

    Attributes:
        kind: `conditional`: G(x, z), a knockoff as defined; `released`: G(z), as in SCOP's code.
        side: of the images it makes, in pixels; controls of larger ones are enlarged (SCOP: 64 for ImageNet).
        block: side in pixels of what is exchanged as a unit; a divisor of `side`.
        width: channels of hidden layers; 64 in the released generator.
        lr, momentum: of Adam, for all networks; the momentum is its first beta.
        judge_steps: batches that the judges learn from before the generator does once.
        hints: chance that the discriminator is told of a block.
        penalty: weight of the critic's gradient penalty.
        mu: weight of the critic in the generator's loss.
        lam: weight of the information that blocks give about their controls.
    """

    kind: Literal["conditional", "released"] = "conditional"
    side: int = 32
    block: int = 8
    width: int = 64
    lr: float = 1e-3
    momentum: float = 0.5
    judge_steps: int = 5
    hints: float = 0.9
    penalty: float = 10.0
    mu: float = 1.0
    lam: float = 0.01


class GanKnockoffs:
    """A generator of controls; a `KnockoffSource` and a `Learner`.

    Args:
        n_channels: of an image.
        settings: sizes and weights.
        seed: of the first weights.
        device: where it works.

    Raises:
        UsageError: blocks do not fill the images, or the released generator cannot make them.

    Source: SCOP, supplement S2, with the losses of Jordon et al., "KnockoffGAN", 2019. What the discriminator is told
    are the hinted exchanges alone, a 0 where there is no exchange or no hint; its loss is taken where there is none.
    """

    def __init__(
        self, n_channels: int, settings: GanSettings, *, seed: int, device: torch.device | None = None
    ) -> None:
        side, width, block = settings.side, settings.width, settings.block
        require_blocks(side, side, block)
        if settings.kind == "released" and side % 8:
            raise UsageError(
                f"the released generator doubles three times, and cannot make images of {side} pixels a side",
                where="knockoff",
                hint="use a multiple of 8, or the conditional one",
            )
        self.settings, self.steps = settings, 0
        self._device = device or torch.device("cpu")
        with global_draws(derive(seed, "knockoff networks"), torch.device("cpu")):
            made = {
                "generator": (
                    Conditional(n_channels, width)
                    if settings.kind == "conditional"
                    else Deconvolutions(n_channels, side, width)
                ),
                "discriminator": Discriminator(n_channels, width, block),
                "critic": Critic(n_channels, width),
                "information": Information(n_channels, side, block, width),
            }
        self._networks: dict[str, nn.Module] = {name: network.to(self._device) for name, network in made.items()}
        self._optimizers: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam(network.parameters(), lr=settings.lr, betas=(settings.momentum, 0.999))
            for name, network in self._networks.items()
        }

    @torch.no_grad()
    def __call__(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """Controls of images [N, C, H, W] of any size."""
        generator = self._networks["generator"].eval()
        found: Tensor = F.interpolate(generator(self._fitted(x), draw), size=x.shape[2:], mode="nearest")
        return found.to(x)

    def _fitted(self, x: Tensor) -> Tensor:
        """The images at the size at which controls are made."""
        x = x.to(self._device, torch.float32)
        side = self.settings.side
        return x if x.shape[2:] == (side, side) else F.adaptive_avg_pool2d(x, side)

    def step(self, x: Tensor, draw: torch.Generator) -> dict[str, float]:
        """The judges learn from a batch [N, C, H, W], N > 1, and after every few batches the generator does.

        Returns:
            exchange: how well the discriminator tells exchanged blocks, in nats a block; critic; information, in nats a
            block; and generator, after its own steps alone.
        """
        x = self._fitted(x)
        generator = self._networks["generator"].train()
        with torch.no_grad():
            control = generator(x, draw)
        losses = {
            "discriminator": self._told_exchanges(x, control, self.settings.hints, draw),
            "critic": self._criticism(x, control, draw),
            "information": -self._information(x, control, draw),
        }
        for name, loss in losses.items():
            self._learn(name, loss)
        found = {
            "exchange": float(losses["discriminator"].detach()),
            "critic": float(losses["critic"].detach()),
            "information": -float(losses["information"].detach()) / (self.settings.side // self.settings.block) ** 2,
        }
        self.steps += 1
        if self.steps % self.settings.judge_steps == 0:
            control = generator(x, draw)
            loss = (
                -self._told_exchanges(x, control, 0.0, draw)
                - self.settings.mu * self._networks["critic"](control).mean()
                + self.settings.lam * self._information(x, control, draw)
            )
            self._learn("generator", loss)
            found["generator"] = float(loss.detach())
        return found

    def _learn(self, name: str, loss: Tensor) -> None:
        """One step of one network; gradients that reach others are of no account."""
        optimizer = self._optimizers[name]
        optimizer.zero_grad()
        parameters = list(self._networks[name].parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        optimizer.step()

    def _told_exchanges(self, x: Tensor, control: Tensor, hints: float, draw: torch.Generator) -> Tensor:
        """Cross-entropy, in nats a block, of what was exchanged where the discriminator had no hint."""
        block, n_side = self.settings.block, self.settings.side // self.settings.block
        exchanged, told = (
            (torch.rand(len(x), 1, n_side, n_side, generator=draw) < chance).to(x) for chance in (0.5, hints)
        )
        which = F.interpolate(exchanged, scale_factor=float(block), mode="nearest") > 0
        logits = self._networks["discriminator"](*swapped(x, control, which), exchanged * told)
        losses = F.binary_cross_entropy_with_logits(logits, exchanged, reduction="none")
        return (losses * (1 - told)).sum() / (1 - told).sum().clamp(min=1)

    def _criticism(self, x: Tensor, control: Tensor, draw: torch.Generator) -> Tensor:
        """Wasserstein loss with a gradient penalty, between images and controls."""
        critic = self._networks["critic"]
        mix = torch.rand(len(x), 1, 1, 1, generator=draw).to(x)
        between = (mix * x + (1 - mix) * control).requires_grad_()
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        loss: Tensor = critic(control).mean() - critic(x).mean() + self.settings.penalty * penalty
        return loss

    def _information(self, x: Tensor, control: Tensor, draw: torch.Generator) -> Tensor:
        """Of all blocks together, in nats."""
        others = torch.randperm(len(x), generator=draw).to(x.device)
        found: Tensor = self._networks["information"](x, control, others).sum()
        return found

    def state(self) -> dict[str, Any]:
        """To be saved; see `load`."""
        return {"steps": self.steps, **state_of(self._networks, self._optimizers)}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.steps = state["steps"]
        load_state_of(self._networks, self._optimizers, state)
