"""The one training loop: a generator that yields progress and moments to save, and resumes at the exact step."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from ticketcli.errors import CorruptError
from ticketcli.events import Progress
from ticketcli.recipe.configs import Training
from ticketcli.store.codec import pack, unpack
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import copy_of, load_into
from ticketcli.tensors.global_draws import global_draws
from ticketcli.tensors.masking import MaskedWeights
from ticketcli.tensors.ranks import rank
from ticketcli.tensors.seeds import derive
from ticketcli.training.copies import Copies
from ticketcli.training.divergence import gradient_norm, require_finite, require_finite_values
from ticketcli.training.parts import laid_out, like_weights
from ticketcli.training.replicas import Loss, Replica
from ticketcli.training.yields import Snapshot, State
from ticketcli.units import Duration

Kept = dict[str, dict[str, Tensor]]
_LOOK_EVERY = 10


class Feed(Protocol):
    """Training batches by (epoch, step); what is in a batch is between the feed and the loss."""

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""

    @property
    def batch(self) -> int:
        """Images in each, over all processes."""

    @property
    def share(self) -> float:
        """What part of each this process has; 1 if it is alone."""

    def at(self, epoch: int, step: int) -> tuple[Any, ...]:
        """What the loss is called with: this process's part."""

    def close(self) -> None:
        """End the workers, if there are any."""


@dataclass(frozen=True)
class Run:
    """What a stretch of training needs.

    Attributes:
        what: what people see, such as "round 3/11, finetune".
        model: the network that learns; `modules` beside it stay as they are.
        loss: a batch, such as images [N,3,H,W] and labels [N] -> named scalars, means over it; "loss" is what is
            minimised. Where there are several processes it touches every parameter that learns.
        batches: the training images.
        config: the optimiser's settings.
        length: how long.
        prunable: the parameters that the mask is about.
        mask: which weights live at the start; None for a dense network.
        shrink: iteration, present mask -> a sparser mask from there on, or None to go on as it is.
        still: parts of the model that stay in eval mode while it trains, such as frozen BatchNorm.
    """

    what: str
    model: nn.Module
    loss: Loss
    batches: Feed
    config: Training
    length: Duration
    prunable: Mapping[str, nn.Parameter]
    mask: Mask | None = None
    shrink: Callable[[int, Mask], Mask | None] | None = None
    still: tuple[nn.Module, ...] = ()


@dataclass(frozen=True)
class Trained:
    """What a stretch of training leaves beside the weights in the model: those kept on the way, and the last mask."""

    kept: Kept
    mask: Mask | None


def learning_rate(config: Training, iteration: int, per_epoch: int) -> float:
    """The rate at `iteration`: `lr`, times `gamma` for each milestone reached, times the warm-up's share.

    That share grows linearly from `warmup_factor` to 1 (Goyal et al., 2017), as in Detectron2.
    """
    reached = sum(iteration >= milestone.iterations(per_epoch) for milestone in config.milestones)
    rate = float(config.lr * config.gamma**reached)
    warmup = config.warmup.iterations(per_epoch)
    if iteration >= warmup:
        return rate
    return rate * (config.warmup_factor + (1 - config.warmup_factor) * iteration / warmup)


def dropout_draws(run: Run, iteration: int) -> AbstractContextManager[None]:
    """Within, what dropout draws is a function of (seed, iteration, process); without dropout nothing is changed.

    So a resumed training draws what an uninterrupted one does. Several processes, or parts of a batch, draw otherwise
    than one whole.
    """
    if not any(isinstance(part, _DropoutNd) and part.p > 0 for part in run.model.modules()):
        return nullcontext()
    device = next(run.model.parameters()).device
    return global_draws(derive(run.config.seed, "dropout", iteration, rank()), device)


def build_optimizer(config: Training, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """A fresh optimiser: nothing of an earlier round survives in it."""
    fused = True if config.fused else None
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=fused)
    return torch.optim.SGD(
        parameters, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov,
        weight_decay=config.weight_decay, fused=fused,
    )  # fmt: skip


def train(
    run: Run, *, resume: State | None = None, keep: Mapping[int, str] | None = None
) -> Generator[Progress | Snapshot, None, Trained]:
    """Train `run.model` in place; masked weights stay exactly +0.0 throughout.

    Gradients are masked before they are clipped and before the optimiser sees them, so neither momentum nor decay
    can move a masked weight and the clipped norm is that of the living ones. Where the mask shrinks on the way, the
    optimiser's state of the fallen weights is zeroed in the same step: momentum cannot revive them. Several processes
    train as one, each on its part of every batch.

    Args:
        run: what to train and how.
        resume: a state that an earlier `Snapshot` captured; training goes on at the very next step.
        keep: iteration -> name; weights at these points are returned.

    Returns:
        (as the generator's value) the weights kept on the way by name, and the last mask.

    Raises:
        DivergedError: a loss, a gradient or a weight is not finite; the step is not taken.
        OutOfMemory: a step does not fit into memory.
        PeerLost: another process of this run has ended.
        CorruptError: the state belongs to another mask.
    """
    with laid_out(run.model, run.config.layout):
        return (yield from _train(run, resume, keep or {}))


def _train(run: Run, resume: State | None, keep: Mapping[int, str]) -> Generator[Progress | Snapshot, None, Trained]:
    per_epoch = run.batches.per_epoch
    total = run.length.iterations(per_epoch)
    parameters = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
    optimizer = build_optimizer(run.config, parameters)
    mask, kept, iteration = run.mask, Kept(), 0
    if resume is not None:
        iteration, kept, mask = _restore(run, optimizer, resume)
    elif run.shrink is not None and mask is not None:
        mask = run.shrink(0, mask) or mask
    masked = None if mask is None else MaskedWeights(run.prunable, mask)
    if masked is not None:
        masked.apply()
    if iteration in keep and keep[iteration] not in kept:
        kept[keep[iteration]] = copy_of(run.model)
    run.model.train()
    for part in run.still:
        part.eval()
    copies = Copies()
    replica, values = Replica(run.model, run.loss, run.batches.share, run.config), dict[str, float]()
    while iteration < total:
        epoch, step = divmod(iteration, per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(run.config, iteration, per_epoch)
        optimizer.zero_grad(set_to_none=True)
        batch = run.batches.at(epoch, step)
        with dropout_draws(run, iteration):
            losses = replica.learn(batch, where=run.what)
        if masked is not None:
            masked.mask_gradients()
        norm = gradient_norm(parameters, run.config.clip)
        iteration += 1
        require_finite(losses["loss"], norm, where=run.what, step=iteration)
        optimizer.step()
        if iteration % _LOOK_EVERY == 0 or iteration == total:
            values = replica.means(losses)
        if iteration in keep:
            kept[keep[iteration]] = copy_of(run.model)
        if run.shrink is not None and mask is not None and masked is not None:
            smaller = run.shrink(iteration, mask)
            if smaller is not None:
                mask, masked = smaller, MaskedWeights(run.prunable, smaller)
                masked.apply(optimizer)
        yield Progress(run.what, iteration, total, values, run.batches.batch)
        capture = partial(_capture, run, optimizer, iteration, kept, mask, copies)
        yield Snapshot(capture, iteration == total, partial(_release, copies))
    run.batches.close()  # processes that decode images are not kept for what comes after
    replica.settle()
    require_finite_values(run.model.state_dict().values(), where=run.what, step=iteration)
    if masked is not None:
        masked.require_masked()
    return Trained(kept, mask)


def _capture(
    run: Run, optimizer: torch.optim.Optimizer, iteration: int, kept: Kept, mask: Mask | None, copies: Copies
) -> State:
    packed = {} if mask is None else pack(mask)
    return {
        "iteration": iteration,
        "precision": run.config.precision,
        **copies.of({"model": run.model.state_dict(), "optimizer": optimizer.state_dict()}),
        "mask": {name: torch.from_numpy(bits.copy()) for name, bits in packed.items()},
        "kept": dict(kept),
        "rng": torch.get_rng_state(),
    }


def _release(copies: Copies, state: State) -> None:
    copies.give_back({part: state[part] for part in ("model", "optimizer")})


def _restore(run: Run, optimizer: torch.optim.Optimizer, state: State) -> tuple[int, Kept, Mask | None]:
    mask = _restored_mask(run, {name: bits.numpy() for name, bits in state["mask"].items()})
    load_into(run.model, state["model"], where=f"the saved state of {run.what}")
    optimizer.load_state_dict(state["optimizer"])
    like_weights(optimizer)
    torch.set_rng_state(state["rng"])
    return int(state["iteration"]), dict(state["kept"]), mask


def _restored_mask(run: Run, packed: dict[str, Any]) -> Mask | None:
    """The saved mask: the run's own, or below it where the mask shrinks on the way."""
    mask = unpack(packed, run.mask.shapes) if run.mask is not None and packed.keys() == set(run.mask) else None
    fits = mask == run.mask if run.shrink is None or mask is None or run.mask is None else mask <= run.mask
    if not fits or (mask is None and packed):
        raise CorruptError(
            "the saved state was made under another mask",
            where=run.what,
            hint="run again with --resume never",
        )
    return mask
