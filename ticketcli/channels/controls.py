"""Control gates: each channel blends its real feature with that of a control, and learns how much of which it wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ticketcli.channels.graph import ChannelGraph
from ticketcli.channels.knockoffs.lemma2 import apart, bias_noise, spread
from ticketcli.channels.knockoffs.source import KnockoffSource
from ticketcli.errors import MismatchError, UsageError
from ticketcli.tensors.modes import evaluating

START = 0.5
_END = 1e-6  # a control nearer to 0 or 1 than this is at the end of its range


class Controls:
    """The gates of a network, as `controlled` makes them; outside its `with` they do nothing.

    Attributes:
        betas: convolution -> share of the real feature, [C] in [0, 1]; 1 - beta is that of the control. Where several
            convolutions write a channel, all of them are blended by the same share.
    """

    def __init__(self, model: nn.Module, graph: ChannelGraph, at: str) -> None:
        self._model, self._at = model, at
        self._source: KnockoffSource | None = None
        self._draw = torch.Generator()
        self._is_blending = self._is_noisy = False
        self.betas: dict[str, nn.Parameter] = {}
        self._gated: dict[str, list[tuple[int, str]]] = {}  # convolution -> where in it whose betas begin
        for group in graph.groups:
            for rows in group.producers:
                self._gated.setdefault(rows.conv, []).append((rows.first, group.conv))
            weight = model.get_parameter(f"{group.conv}.weight")
            self.betas[group.conv] = nn.Parameter(
                torch.full((group.channels,), START, dtype=weight.dtype, device=weight.device)
            )

    def logits(
        self, images: Tensor, source: KnockoffSource, draw: torch.Generator, *, lemma2_noise: bool = False
    ) -> Tensor:
        """What the network says of m images, its channels blended with those of their controls: [m, n_classes].

        Args:
            images: [m, 3, H, W].
            source: of the controls: of the images, or of the features behind the layer that `controlled` was told.
            draw: for the source, and for the noise.
            lemma2_noise: add the noise of Lemma 2 in each gated layer. It is larger than the signal; see `lemma2`.

        Raises:
            MismatchError: the controls have another shape than what they are controls of.
        """
        self._source, self._draw, self._is_noisy = source, draw, lemma2_noise
        control = images if self._at else _controls_of(images, source, draw)
        self._is_blending = True
        try:
            found: Tensor = self._model(torch.cat([images, control]))[: len(images)]
        finally:
            self._is_blending = False
        return found

    def _hooks(self) -> dict[str, Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]]:
        hooks = {name: self._gate(name) for name in self._gated}
        if self._at in hooks:
            raise UsageError(f"features are exchanged behind '{self._at}', whose channels are judged", where=self._at)
        if self._at:
            hooks[self._at] = self._enter
        return hooks

    def _gate(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        """Blend the first half of a convolution's output, and leave the second the pure control."""

        def blend(conv: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self._is_blending:
                return None
            if self._is_noisy:
                output = output + self._noise(conv, given[0], output)
            real, control = output.chunk(2)
            beta = self._beta(name, output.shape[1])[:, None, None]
            return torch.cat([beta * real + (1 - beta) * control, control])

        return blend

    def _beta(self, conv: str, channels: int) -> Tensor:
        """The betas of a convolution's channels, [C]; 1 for those that are in no group."""
        parts: list[Tensor] = []
        end = 0
        for first, group in sorted(self._gated[conv]):
            beta = self.betas[group]
            parts += [beta.new_ones(first - end), beta]
            end = first + len(beta)
        return torch.cat([*parts, parts[-1].new_ones(channels - end)])

    def _enter(self, _layer: nn.Module, _given: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        """Behind the layer where controls begin, the second half is made from the first."""
        if not self._is_blending:
            return None
        assert self._source is not None
        real, _ = output.chunk(2)
        return torch.cat([real, _controls_of(real, self._source, self._draw)])

    @torch.no_grad()
    def _noise(self, conv: nn.Module, given: Tensor, output: Tensor) -> Tensor:
        """Lemma 2 at each position, with s as it is between the halves of what the layer is given."""
        weight = conv.get_parameter("weight")
        noise = bias_noise(spread(weight, apart(*given.chunk(2))))
        n, channels, height, width = output.shape
        both = torch.cat(noise.draw(n // 2 * height * width, self._draw))
        return both.view(n, height, width, channels).movedim(-1, 1).to(output)

    @property
    def at_one(self) -> float:
        """Share of the betas at 1, in [0, 1]: where that is most of them, scores rank by |gamma| alone."""
        return self._share(lambda beta: beta >= 1 - _END)

    @property
    def at_zero(self) -> float:
        """Share of the betas at 0, in [0, 1]."""
        return self._share(lambda beta: beta <= _END)

    def _share(self, is_there: Callable[[Tensor], Tensor]) -> float:
        everyone = [is_there(beta.detach()) for beta in self.betas.values()]
        return sum(int(part.sum()) for part in everyone) / max(1, sum(part.numel() for part in everyone))

    @torch.no_grad()
    def clamp(self) -> None:
        """Put every beta back into [0, 1]."""
        for beta in self.betas.values():
            beta.clamp_(0, 1)

    def values(self) -> dict[str, Tensor]:
        """The betas as they are now, cloned, on the CPU: what `scop_scores` takes."""
        return {name: beta.detach().to("cpu", copy=True) for name, beta in self.betas.items()}

    @torch.no_grad()
    def load(self, betas: Mapping[str, Tensor]) -> None:
        """Put saved betas back.

        Raises:
            MismatchError: they belong to other layers.
        """
        for name in [*self.betas, *betas]:
            if name not in betas or name not in self.betas or betas[name].shape != self.betas[name].shape:
                raise MismatchError(f"the saved controls do not fit '{name}'", where=name)
        for name, beta in self.betas.items():
            beta.copy_(betas[name])


@contextmanager
def controlled(model: nn.Module, graph: ChannelGraph, *, at: str = "") -> Iterator[Controls]:
    """Put a gate behind every convolution of the graph, before its BatchNorm, for as long as the `with` lasts.

    Inside, the network is frozen and in eval mode: BatchNorm reads its running statistics and does not move them, so a
    batch of images and controls says of each image what it would say of it alone. Called by itself, the network answers
    as without gates; they blend in `Controls.logits` alone. Afterwards it is as it was, to the bit.

    Args:
        model: returns logits.
        graph: of the model: which convolutions are gated.
        at: controls are made of the features behind this layer instead of the images; layers before it learn nothing,
            and keep a beta of 0.5.

    Raises:
        UsageError: the network has no layer `at`, or it is gated itself.

    Source: SCOP, selection: the first half is beta conv(A) + (1 - beta) conv(A~), the second half conv(A~). Not as in
    the released code, BatchNorm stands still.
    """
    controls = Controls(model, graph, at)
    layers = dict(model.named_modules())
    if at not in layers:
        raise UsageError(f"the network has no layer '{at}'", where="knockoff")
    hooks = controls._hooks()
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    handles = []
    try:
        with evaluating(model):
            model.requires_grad_(False)
            handles = [layers[name].register_forward_hook(hook) for name, hook in hooks.items()]
            yield controls
    finally:
        for handle in handles:
            handle.remove()
        for parameter, is_learning in before:
            parameter.requires_grad_(is_learning)


def _controls_of(x: Tensor, source: KnockoffSource, draw: torch.Generator) -> Tensor:
    found = source(x, draw)
    if found.shape != x.shape:
        raise MismatchError(f"controls are {tuple(found.shape)}, what they control {tuple(x.shape)}", where="knockoff")
    return found.to(x)
