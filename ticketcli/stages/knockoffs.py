"""The controls of SCOP's selection: what they are made of, how they are fitted or trained, and how good they are."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ticketcli.channels.controls import controlled as gated
from ticketcli.channels.graph import ChannelGraph
from ticketcli.channels.knockoffs.by_position import ByPosition, some
from ticketcli.channels.knockoffs.deep import DeepKnockoffs, DeepSettings
from ticketcli.channels.knockoffs.diagnostics import diagnose
from ticketcli.channels.knockoffs.gaussian import GaussianKnockoffs, Moments, MomentSums, positions
from ticketcli.channels.knockoffs.generator import GanKnockoffs, GanSettings
from ticketcli.channels.knockoffs.learning import Learner
from ticketcli.channels.knockoffs.permute import permuted
from ticketcli.channels.knockoffs.source import KnockoffSource, pixel_blocks
from ticketcli.errors import UsageError, did_you_mean
from ticketcli.events import Pause
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.tensors.modes import evaluating
from ticketcli.tensors.ranks import world
from ticketcli.tensors.seeds import derive, generator
from ticketcli.tensors.turns import Batches

_GENERATORS: Mapping[str, Literal["conditional", "released"]] = {"gan": "conditional", "gan-released": "released"}
_BLOCK = 8  # pixels a side of what is exchanged as a unit
_LARGEST_GENERATED = 64  # pixels a side; larger images have their controls enlarged, as SCOP's for ImageNet
_MOST_VALUES = 4096  # of which a covariance is taken
_SHOWN = 32  # pixels a side to which larger images are averaged, to be measured
_MEASURED = 1024  # images or positions that controls are measured on


@dataclass(frozen=True)
class Controlled:
    """What controls are made of: images, or the features behind a layer."""

    model: nn.Module
    at: str

    @torch.no_grad()
    def of(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> themselves, or the layer's output [N, C, h, w] in eval mode."""
        if not self.at:
            return images
        found = list[Tensor]()
        handle = self.model.get_submodule(self.at).register_forward_hook(
            lambda _part, _given, output: found.append(output)
        )
        try:
            with evaluating(self.model):
                self.model(images)
        finally:
            handle.remove()
        if len(found) != 1 or not isinstance(found[0], Tensor) or found[0].dim() != 4:
            raise UsageError(
                f"'{self.at}' does not give one map [N, C, h, w]", where="prune.knockoff_at", hint="such as bn1"
            )
        return found[0]

    def rows(self, x: Tensor) -> Tensor:
        """What has one covariance: images [N, C H W], or positions [N h w, C]."""
        return positions(x) if self.at else x.flatten(1)


def check_controls(config: PruneConfig, model: nn.Module, graph: ChannelGraph, image: Tensor) -> None:
    """Refuse what the selection would refuse, by one image [1, 3, H, W]; now, not after a training.

    Raises:
        UsageError: several processes; no such layer, or one whose channels are judged; too many values for a
            covariance; or gates that nothing moves would be ranked with those that something does.
    """
    if world() > 1:
        hint = "leave --nproc out; other steps of a recipe may have it"
        raise UsageError("SCOP's selection is trained by one process", where="prune.criterion", hint=hint)
    at = config.knockoff_at
    layers = dict(model.named_modules())
    if at and at not in layers:
        raise UsageError(
            f"the network has no layer '{at}'",
            where="prune.knockoff_at",
            hint=did_you_mean(at, [*filter(None, layers)]),
        )
    made_of = Controlled(model, at)
    if config.knockoff in ("gaussian", "deep"):
        _require_few(made_of.rows(made_of.of(image)))
    with gated(model, graph, at=at):
        pass
    still = _before(model, at, image) & {group.conv for group in graph.groups} if at else set()
    if still and config.scope == "global":
        few = ", ".join(sorted(still)[:3]) + (f" and {len(still) - 3} more" if len(still) > 3 else "")
        what = (
            f"nothing moves the gates of {few}, which lie before '{at}', so their channels would fall before all others"
        )
        raise UsageError(what, where="prune.scope", hint="scope: layer, or knockoff_at: a layer in front of them")


@torch.no_grad()
def _before(model: nn.Module, at: str, image: Tensor) -> set[str]:
    """The layers that are called before another."""
    called: list[str] = []
    handles = [
        layer.register_forward_hook(lambda _part, _given, _output, name=name: called.append(name))
        for name, layer in model.named_modules()
    ]
    try:
        with evaluating(model):
            model(image)
    finally:
        for handle in handles:
            handle.remove()
    return set(called[: called.index(at)])


def _require_few(rows: Tensor) -> None:
    if rows.shape[1] > _MOST_VALUES:
        raise UsageError(
            f"{rows.shape[1]:,} values are too many for a covariance", where="prune.knockoff",
            hint="knockoff_at: the BatchNorm behind the stem, such as bn1",
        )  # fmt: skip


def make_source(
    config: PruneConfig, controlled: Controlled, images: Batches[tuple[Tensor, Tensor]], seed: int
) -> Generator[Pause, None, tuple[KnockoffSource, Learner | None, dict[str, float]]]:
    """What makes the controls; the same as a learner, where it has yet to be trained; and what there is to say of it.

    Args:
        config: which kind.
        controlled: what controls are made of.
        images: that moments are taken of.
        seed: of first weights.

    Raises:
        UsageError: Gaussian controls would be copies.
    """
    first, _ = next(iter(images))
    if config.knockoff == "permute":
        return permuted, None, {}
    if config.knockoff in _GENERATORS:
        side = min(first.shape[-1], _LARGEST_GENERATED)
        settings = GanSettings(kind=_GENERATORS[config.knockoff], side=side, block=_BLOCK)
        gan = GanKnockoffs(first.shape[1], settings, seed=seed, device=first.device)
        return gan, gan, {}
    moments = yield from _moments(controlled, images)
    groups = None if controlled.at else _groups(first)
    gaussian = GaussianKnockoffs(moments, groups=groups, by_position=bool(controlled.at))
    if config.knockoff == "gaussian":
        if gaussian.share == 0:
            what = "Gaussian controls would be copies: what they are made of has directions in which it does not vary"
            hint = "knockoff_at: the BatchNorm behind the stem, such as bn1"
            raise UsageError(what, where="prune.knockoff", hint=hint)
        return gaussian, None, {"share": gaussian.share}
    rows = DeepKnockoffs(moments, gaussian.correlations, DeepSettings(), seed=seed, device=first.device)
    if controlled.at:
        maps = ByPosition(rows)
        return maps, maps, {}
    return rows, rows, {}


def _moments(controlled: Controlled, images: Batches[tuple[Tensor, Tensor]]) -> Generator[Pause, None, Moments]:
    sums: MomentSums | None = None
    for done, (batch, _) in enumerate(images, 1):
        rows = controlled.rows(controlled.of(batch))
        sums = sums or MomentSums(rows.shape[1])
        sums.add(rows)
        yield Pause("fitting knockoffs", done, len(images))
    assert sums is not None
    return sums.moments()


def _groups(images: Tensor) -> Tensor | None:
    """Square blocks of pixels, where they fill the image."""
    _, channels, height, width = images.shape
    return None if height % _BLOCK or width % _BLOCK else pixel_blocks(channels, height, width, _BLOCK)


@torch.no_grad()
def measured(
    source: KnockoffSource, controlled: Controlled, images: Batches[tuple[Tensor, Tensor]], kind: str, seed: int
) -> dict[str, float]:
    """How good the controls of some images, or of the features of some, are: `Diagnostics` by name."""
    draw = generator(seed, "knockoff diagnostics")
    pairs = list(_pairs(source, controlled, images, draw))
    x, control = (torch.cat(side) for side in zip(*pairs, strict=True))
    chosen = torch.randperm(len(x), generator=draw)[:_MEASURED]
    groups = None if controlled.at or kind == "permute" else _groups(pairs[0][0])
    return diagnose(x[chosen], control[chosen], draw, groups=groups).as_dict()


def _pairs(
    source: KnockoffSource, controlled: Controlled, images: Batches[tuple[Tensor, Tensor]], draw: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    seen = 0
    for batch, _ in images:
        if seen >= _MEASURED or len(batch) < 2:
            return
        x = controlled.of(batch)
        control = source(x, draw)
        if controlled.at:
            both = some(torch.cat([positions(x), positions(control)], dim=1), _MEASURED, draw).cpu()
            yield both.chunk(2, dim=1)  # type: ignore[misc]
        else:
            yield _shown(x).cpu(), _shown(control).cpu()
        seen += len(batch)


def _shown(images: Tensor) -> Tensor:
    return images if images.shape[-1] <= _SHOWN else F.adaptive_avg_pool2d(images, _SHOWN)


def seed_of(config: PruneConfig, number: int) -> int:
    """Of everything that a round's controls draw."""
    return derive(config.seed, f"controls/{number}")
