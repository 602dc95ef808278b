"""The one training loop: a generator that yields progress and moments to save, and resumes at the exact step."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ticketcli.data.batches import Batches
from ticketcli.errors import CorruptError, DivergedError
from ticketcli.events import Progress
from ticketcli.recipe.configs import Training
from ticketcli.store.codec import pack
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import copy_of, load_into
from ticketcli.tensors.masking import MaskedWeights
from ticketcli.training.yields import Snapshot, State
from ticketcli.units import Duration

Kept = dict[str, dict[str, Tensor]]
Loss = Callable[[Tensor, Tensor], dict[str, Tensor]]
_LOOK_EVERY = 10


@dataclass(frozen=True)
class Run:
    """What a stretch of training needs.

    Attributes:
        what: what people see, such as "round 3/11, finetune".
        model: the network that learns; `modules` beside it stay as they are.
        loss: batch [N,3,H,W] and labels [N] -> named scalars; "loss" is what is minimised.
        batches: the training images.
        config: the optimiser's settings.
        length: how long.
        mask: which weights live; None for a dense network.
        prunable: the parameters that the mask is about.
    """

    what: str
    model: nn.Module
    loss: Loss
    batches: Batches
    config: Training
    length: Duration
    prunable: Mapping[str, nn.Parameter]
    mask: Mask | None = None


def learning_rate(config: Training, iteration: int, per_epoch: int) -> float:
    """The rate at `iteration`: `lr`, times `gamma` for each milestone reached."""
    reached = sum(iteration >= milestone.iterations(per_epoch) for milestone in config.milestones)
    return float(config.lr * config.gamma**reached)


def build_optimizer(config: Training, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """A fresh optimiser: nothing of an earlier round survives in it."""
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def train(
    run: Run, *, resume: State | None = None, keep: Mapping[int, str] | None = None
) -> Generator[Progress | Snapshot, None, Kept]:
    """Train `run.model` in place; masked weights stay exactly +0.0 throughout.

    Gradients are masked before they are clipped and before the optimiser sees them, so neither momentum nor decay
    can move a masked weight and the clipped norm is that of the living ones.

    Args:
        run: what to train and how.
        resume: a state that an earlier `Snapshot` captured; training goes on at the very next step.
        keep: iteration -> name; weights at these points are returned.

    Returns:
        (as the generator's value) name -> the weights kept at that point.

    Raises:
        DivergedError: the loss is not finite.
        CorruptError: the state belongs to another mask.
    """
    keep = keep or {}
    per_epoch = run.batches.per_epoch
    total = run.length.iterations(per_epoch)
    parameters = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
    optimizer = build_optimizer(run.config, parameters)
    masked = None if run.mask is None else MaskedWeights(run.prunable, run.mask)
    kept: Kept = {}
    iteration = 0
    if resume is not None:
        iteration, kept = _restore(run, optimizer, resume)
    if masked is not None:
        masked.apply()
    if iteration in keep and keep[iteration] not in kept:
        kept[keep[iteration]] = copy_of(run.model)
    run.model.train()
    values: dict[str, float] = {}
    while iteration < total:
        epoch, step = divmod(iteration, per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(run.config, iteration, per_epoch)
        losses = run.loss(*run.batches.at(epoch, step))
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        if masked is not None:
            masked.mask_gradients()
        if run.config.clip is not None:
            nn.utils.clip_grad_norm_(parameters, run.config.clip)
        optimizer.step()
        iteration += 1
        if iteration % _LOOK_EVERY == 0 or iteration == total:
            values = {name: float(value.detach()) for name, value in losses.items()}
            if not math.isfinite(values["loss"]):
                raise DivergedError(
                    f"the loss is {values['loss']} at step {iteration}",
                    where=run.what,
                    hint="lower lr, or clip the gradients (clip: 1.0)",
                )
        if iteration in keep:
            kept[keep[iteration]] = copy_of(run.model)
        yield Progress(run.what, iteration, total, values)
        yield Snapshot(partial(_capture, run, optimizer, iteration, kept))
    if masked is not None:
        masked.require_masked()
    return kept


def _capture(run: Run, optimizer: torch.optim.Optimizer, iteration: int, kept: Kept) -> State:
    return {
        "iteration": iteration,
        "model": copy_of(run.model),
        "optimizer": optimizer.state_dict(),
        "mask": {}
        if run.mask is None
        else {name: torch.from_numpy(bits.copy()) for name, bits in pack(run.mask).items()},
        "kept": kept,
        "rng": torch.get_rng_state(),
    }


def _restore(run: Run, optimizer: torch.optim.Optimizer, state: State) -> tuple[int, Kept]:
    now = {} if run.mask is None else pack(run.mask)
    saved = state["mask"]
    if now.keys() != saved.keys() or any(bits.tobytes() != saved[name].numpy().tobytes() for name, bits in now.items()):
        raise CorruptError(
            "the saved state was made under another mask",
            where=run.what,
            hint="run again with --resume never",
        )
    load_into(run.model, state["model"], where=f"the saved state of {run.what}")
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    return int(state["iteration"]), dict(state["kept"])
