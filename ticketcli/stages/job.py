"""`Job`: everything a stage is given. Stages read no paths and write no files."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from ticketcli.channels.compact import ABOUT, shrink
from ticketcli.channels.graph import channel_graph
from ticketcli.data.images import Images, Normalization, Splits
from ticketcli.data.instances import InstanceSet
from ticketcli.data.order import Order
from ticketcli.data.sets import load_splits
from ticketcli.data.sources import Sources
from ticketcli.errors import MismatchError, UsageError
from ticketcli.events import Note, Opened
from ticketcli.models.architectures import build_encoder
from ticketcli.models.decoder import Decoder, build_decoder
from ticketcli.models.encoder import Encoder
from ticketcli.recipe.computing import StageConfig
from ticketcli.recipe.configs import Data
from ticketcli.stage import StageSpec, Unit
from ticketcli.tensors.files import load_into
from ticketcli.tensors.ranks import one_first
from ticketcli.training.yields import Loaded, State

ConfigT = TypeVar("ConfigT", bound=StageConfig)


@dataclass(frozen=True)
class Job(Generic[ConfigT]):
    """A stage's work order.

    Attributes:
        config: the settings.
        inputs: role -> input in memory.
        series: role -> output name -> input, for roles that take one of each round.
        todo: the units to do, in order.
        before: the last output of the unit before the first of `todo`, or None.
        resume: the saved state of the first unit of `todo`, or None.
        device: where to compute.
        sources: where image sets lie, and how they are read.
        sample: measure on no more than so many validation and test images; for estimates, never for results.
    """

    config: ConfigT
    inputs: Mapping[str, Loaded]
    series: Mapping[str, Mapping[str, Loaded]]
    todo: tuple[Unit, ...]
    before: Loaded | None
    resume: State | None
    device: torch.device
    sources: Sources = field(default_factory=Sources)
    sample: int | None = None

    def resume_of(self, unit: Unit) -> State | None:
        """The saved state, if it is this unit's."""
        return self.resume if unit == self.todo[0] else None


def runner_of(spec: StageSpec) -> Callable[[Job[Any]], Generator[Any, None, None]]:
    """The generator function of a stage, its module loaded now."""
    module, _, name = spec.runner.partition(":")
    runner: Callable[[Job[Any]], Generator[Any, None, None]] = getattr(importlib.import_module(module), name)
    return runner


def splits_of(
    job: Job[Any],
    data: Data,
    image_size: int | None,
    *,
    encoder: Mapping[str, Any] | None = None,
    outlined: bool = False,
) -> Splits:
    """The image set that a config names, narrowed as it says, at `image_size` pixels: the way stages get images.

    Without a size images keep their set's own.

    With `encoder`, a checkpoint's `about`, the images are normalised as that checkpoint has learnt to expect them;
    without, by the set's own mean and deviation.

    Raises:
        UsageError: the images are of many objects, and the stage is not one for `outlined` ones.
    """
    with one_first() if job.sources.download else nullcontext():
        splits = load_splits(
            data.name, classes=data.classes, per_class=data.per_class, seed=job.config.seed, image_size=image_size,
            validation=data.validation, split_seed=data.split_seed, broken=data.broken, sources=job.sources,
            images=data.images,
        )  # fmt: skip
    if splits.files:
        name = data.name if data.broken == "refuse" else f"{data.name} without its broken files"
        job.sources.tell(Opened(name, splits.files))
    if isinstance(splits.train, InstanceSet) and not outlined:
        hint = "such sets are for 'ticket transfer' with task: semantic, detection or segmentation"
        raise UsageError("these are images of several objects, not of one class", where="data.name", hint=hint)
    if splits.skipped:
        n = len(splits.skipped)
        what = ("entry", "entries") if isinstance(splits.train, InstanceSet) else ("image", "images")
        found = f"1 broken {what[0]} is" if n == 1 else f"{n:,} broken {what[1]} are"
        job.sources.tell(Note(f"{found} left out, the first is {splits.skipped[0]}"))
    learnt = encoder.get("normalization") if encoder is not None else None
    if learnt is not None:
        splits = replace(splits, normalization=Normalization(tuple(learnt["mean"]), tuple(learnt["std"])))
    if job.sample is not None:
        splits = replace(splits, validation=_first(splits.validation, job.sample), test=_first(splits.test, job.sample))
    return splits


def _first(images: Images, n: int) -> Images:
    return images.take(torch.arange(min(n, len(images.labels))))


def data_of(config: Data | None, about: Mapping[str, Any]) -> Data:
    """The data that a config names, or else those that a checkpoint was trained on.

    Raises:
        UsageError: neither says.
    """
    if config is not None:
        return config
    if not about.get("data"):
        raise UsageError("the checkpoint does not say what it was trained on", hint="name the image set with data:")
    return Data.parse(about["data"], where="the checkpoint's data")


def encoder_from(checkpoint: Loaded, device: torch.device) -> Encoder:
    """The network that a checkpoint's `about` names, with the checkpoint's values."""
    model = build_of(checkpoint.about, n_classes=len(checkpoint.about["class_names"]), seed=0)
    load_into(model, checkpoint.values, where=checkpoint.ref)
    return model.to(device)


def build_of(about: Mapping[str, Any], *, n_classes: int, seed: int, arch: str = "") -> Encoder:
    """A network of the architecture, or of another `arch`, and the widths that a checkpoint says; its values are drawn.

    Raises:
        MismatchError: the architecture has no such widths; or what else the checkpoint says of it is not so.
    """
    model = build_encoder(arch or about["arch"], n_classes=n_classes, seed=seed)
    if about.get("widths"):
        model = shrink(model, about["widths"], graph=channel_graph(model, residual=bool(about.get("residual", False))))
    for name, value in model.facts.items():
        if about.get(name, value) != value:
            hint = "the file says two things at once; make it again"
            raise MismatchError(
                f"{name}: {about[name]} in the checkpoint, {value} by its widths", where=name, hint=hint
            )
    return model


def require_same_widths(one: Loaded, other: Loaded, *, where: str) -> None:
    """Refuse values of a dense network for a compact one, or of another compact one.

    Raises:
        MismatchError: the networks have other numbers of channels.
    """
    if any(one.about.get(key) != other.about.get(key) for key in ABOUT):
        what = f"{other.ref} and {one.ref} have other numbers of channels"
        hint = "values go with masks of the same shapes; a compact network begins a line of its own"
        raise MismatchError(what, where=where, hint=hint)


def decoder_from(checkpoint: Loaded, encoder: Encoder, device: torch.device) -> Decoder:
    """The decoder of a checkpoint, frozen: no gradients for its parameters, and in eval mode."""
    about = checkpoint.about
    decoder = build_decoder(
        encoder, image_size=about["image_size"], hints=tuple(about["hints"]), width=about["width"], seed=0
    )
    load_into(decoder, checkpoint.values, where=checkpoint.ref)
    return freeze(decoder).to(device)


ModuleT = TypeVar("ModuleT", bound=nn.Module)


def freeze(module: ModuleT) -> ModuleT:
    """No gradients for the parameters, and eval mode, so that BatchNorm's statistics stand still."""
    return module.requires_grad_(False).eval()


def check_seedable(splits: Splits, *, what: str, batch: int) -> None:
    """Refuse a set without training or validation images, and batches that the processes cannot share.

    Raises:
        UsageError: names the empty split, or the batch.
    """
    for name, images in (("training", splits.train), ("validation", splits.validation)):
        if len(images.labels) == 0:
            raise UsageError(f"no {name} images are left", where=what, hint="choose other classes")
    Order(len(splits.train.labels), batch, seed=0)  # now, before anything that was made is moved aside


def knows(images: Images, about: Mapping[str, Any]) -> bool:
    """Whether the labels can be those of a checkpoint's head: accuracy means something then."""
    return images.labelled and len(images.class_names) == len(about["class_names"])


def require_labels(splits: Splits, *, what: str) -> None:
    """Refuse a set without labels.

    Raises:
        UsageError: the images have no classes.
    """
    if not splits.train.labelled:
        hint = "a set with labels, such as folder:PATH"
        raise UsageError("the images have no classes to learn", where=what, hint=hint)
