"""`Job`: everything a stage is given. Stages read no paths and write no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from ticketcli.data.batches import Batches
from ticketcli.data.images import ImageSet, Splits
from ticketcli.data.sets import load_splits, natural_augment
from ticketcli.errors import UsageError
from ticketcli.models.architectures import build_encoder
from ticketcli.models.decoder import Decoder, build_decoder
from ticketcli.models.encoder import Encoder
from ticketcli.recipe.configs import Data, StageConfig, Training
from ticketcli.stage import Unit
from ticketcli.tensors.files import load_into
from ticketcli.tensors.seeds import derive
from ticketcli.training.yields import Loaded, State

ConfigT = TypeVar("ConfigT", bound=StageConfig)
CALIBRATION_BATCH = 128


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
    """

    config: ConfigT
    inputs: Mapping[str, Loaded]
    series: Mapping[str, Mapping[str, Loaded]]
    todo: tuple[Unit, ...]
    before: Loaded | None
    resume: State | None
    device: torch.device

    def resume_of(self, unit: Unit) -> State | None:
        """The saved state, if it is this unit's."""
        return self.resume if unit == self.todo[0] else None


def splits_of(data: Data, seed: int) -> Splits:
    """The image set that a config names, narrowed as it says."""
    return load_splits(data.name, classes=data.classes, per_class=data.per_class, seed=seed)


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


def training_batches(
    config: Training, images: ImageSet, splits: Splits, data: Data, device: torch.device, *purpose: int | str
) -> Batches:
    """The training images in the order, and under the augmentation, that (seed, purpose) fixes."""
    words = [str(part) for part in purpose]
    return Batches(
        images,
        normalization=splits.normalization,
        batch=config.batch,
        seed=derive(config.seed, "/".join(["batches", *words])),
        augment=natural_augment(data.name) if config.augment == "auto" else config.augment,
        device=device,
    )


def encoder_from(checkpoint: Loaded, device: torch.device) -> Encoder:
    """The network that a checkpoint's `about` names, with the checkpoint's values."""
    about = checkpoint.about
    model = build_encoder(about["arch"], n_classes=len(about["class_names"]), seed=0)
    load_into(model, checkpoint.values, where=checkpoint.ref)
    return model.to(device)


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


def check_seedable(splits: Splits, *, what: str) -> None:
    """Refuse a set without training or validation images.

    Raises:
        UsageError: names the empty split.
    """
    for name, images in (("training", splits.train), ("validation", splits.validation)):
        if len(images.labels) == 0:
            raise UsageError(f"no {name} images are left", where=what, hint="choose other classes")
