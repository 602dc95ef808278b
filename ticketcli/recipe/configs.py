"""The settings of every stage: one frozen type each, defaults at the paper's scale.

Each field is a recipe key, a command-line flag, a line of help and part of the digest, from this one place.
"The paper" is "Reconstruction Task Finds Universal Winning Tickets"; [1] is its reference for the pruning loop.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ticketcli.naming import PACKED
from ticketcli.recipe.computing import Computing, StageConfig
from ticketcli.recipe.config import Classes, Config, Duration, Durations, Floats, Names, Reference, nested
from ticketcli.units import Duration as _Duration

Augment = Literal["auto", "none", "shift", "crop-flip", "crop-flip-jigsaw", "resized-crop"]


class Data(Config):
    """An image set, whole or narrowed. Where named sets lie changes no result, so it is not said here (--data-dir)."""

    name: str = Field(
        description="name of the set, such as digits, coco or scenes; or folder:PATH (a folder a class), images:PATH, "
        "coco:PATH or maps:PATH"
    )
    classes: Classes | None = Field(
        None, description="keep only these classes, such as 0-4 or [7, 3], relabelled in this order"
    )
    per_class: int | None = Field(None, ge=1, description="keep this many training images of each class")
    validation: float | None = Field(
        None, gt=0, lt=1, description="share of the training images split off for validation; absent: the set's own"
    )
    images: int | None = Field(None, ge=1, description="keep this many training images; of scenes, make this many")
    split_seed: int = Field(
        0, ge=0, lt=2**63, description="fixes that split; not the stage's seed, so that all stages split alike"
    )
    broken: Literal["refuse", "skip"] = Field(
        "refuse", description="an image file that cannot be read ends the stage, or is counted and left out"
    )


def _data(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


DataField = Annotated[Data, BeforeValidator(_data)]


def ep(amount: float) -> _Duration:
    """`amount` epochs."""
    return _Duration(amount, "ep")


class Training(Computing):
    """What every stage that trains has."""

    batch: int = Field(512, ge=1, description="images in an optimiser step")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="update rule")
    lr: float = Field(0.1, gt=0, description="learning rate at the start")
    milestones: Durations = Field((), description="multiply the learning rate by gamma at these points")
    gamma: float = Field(0.1, gt=0, le=1, description="factor at each milestone")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    nesterov: bool = Field(False, description="SGD with Nesterov's momentum")
    weight_decay: float = Field(0.0, ge=0, description="weight decay")
    warmup: Duration = Field(
        _Duration(0, "it"), description="over this stretch the learning rate grows, linearly, to its full height"
    )
    warmup_factor: float = Field(0.001, gt=0, le=1, description="the share of it that the warm-up begins with")
    clip: float | None = Field(None, gt=0, description="clip the norm of the (masked) gradients to this")
    augment: Augment = Field("auto", description="training augmentation; auto takes the set's own")

    @model_validator(mode="after")
    def _has_momentum(self) -> Self:
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise ValueError("nesterov is for sgd with a momentum above 0")
        return self


class PretrainConfig(Training):
    """Settings of `ticket pretrain`: a dense network, for sets without public weights."""

    data: DataField = Field(description="the source image set")
    arch: str = Field("resnet_small", description="architecture")
    image_size: int | None = Field(
        None, ge=8, le=2048, description="side of the images in pixels; absent: the architecture's own"
    )
    epochs: Duration = Field(ep(30), description="length of the training")
    batch: int = Field(64, ge=1, description="images in an optimiser step")
    milestones: Durations = Field((ep(15), ep(25)), description="multiply the learning rate by gamma at these points")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay")
    keep: Durations = Field((), description="also write the weights at these points; 0ep is the initial draw")


class ImportConfig(StageConfig):
    """Settings of `ticket import`: a dense network from published weights or from a file made elsewhere."""

    source: Annotated[str, Reference(("foreign",), words=("torchvision:", "timm:"))] = Field(
        "",
        description="torchvision:resnet50@IMAGENET1K_V1 (the paper's), timm:NAME, a .pth or .safetensors file, or what "
        "'ticket export' has packed (.ticket.safetensors)",
    )
    head: str = Field("", description="of a bundle: which of its networks")
    arch: str = Field("", description="architecture of a file's weights; published ones know theirs")
    match: Literal["name", "order"] = Field(
        "name", description="how tensors find their place; order is for files with other names in the same order"
    )
    data: DataField | None = Field(None, description="image set that it was trained on, for the stages that follow")
    image_size: int | None = Field(None, ge=8, description="side in pixels; the weights' or the architecture's own")
    mean: Floats | None = Field(
        None, description="what its images were normalised with, by channel; ImageNet's if absent"
    )
    std: Floats | None = Field(None, description="standard deviations to go with mean")
    n_classes: int | None = Field(None, ge=1, description="outputs of a fresh head, for weights that have none")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and (len(values) != 3 or (name == "std" and min(values) <= 0)):
                raise ValueError(f"{name} needs three values, one a channel, in units where white is 1")
        said = ("arch", "match", "data", "image_size", "mean", "n_classes")
        if self.unpacks and any(map(self.is_changed, said)):
            raise ValueError(f"a packed ticket says what it is; leave out {', '.join(said[:-1])} and {said[-1]}")
        return self

    @property
    def unpacks(self) -> bool:
        """Whether it brings back what `ticket export` has packed."""
        return self.source.endswith(PACKED)

    @property
    def is_published(self) -> bool:
        """Whether the weights are of a zoo, which knows their architecture."""
        return self.references()["source"].is_word(self.source)


class TrainDecoderConfig(Training):
    """Settings of `ticket train-decoder` (the paper, sections 4.1, 4.2 and 5.1)."""

    encoder: Annotated[str, Reference(("dense",), also=("compact",))] = Field(
        "", description="the dense checkpoint to invert; stays frozen"
    )
    data: DataField | None = Field(None, description="image set; the encoder's own when absent")
    hints: Names = Field(("layer3", "layer4"), description="taps mixed into the decoder as g' = (1-t) g + t f")
    t: float = Field(0.1, ge=0, lt=1, description="share of the hint in the mix")
    width: float = Field(1.0, gt=0, le=1, description="inner width of the decoder, as a share of the encoder's")
    epochs: Duration = Field(ep(50), description="length of the training")
    optimizer: Literal["sgd", "adamw"] = Field("adamw", description="update rule")
    lr: float = Field(1e-4, gt=0, description="learning rate at the start")
    milestones: Durations = Field((ep(10), ep(30)), description="multiply the learning rate by gamma at these points")
    weight_decay: float = Field(2e-4, ge=0, description="weight decay")


class RewindConfig(StageConfig):
    """Settings of `ticket rewind`: chosen values where the mask lives, +0.0 elsewhere."""

    ticket: Annotated[str, Reference(("ticket",))] = Field("", description="the ticket or mask file to rewind")
    to: Annotated[str, Reference(("dense", "kept", "ticket"), words=("own",))] = Field(
        "own", description="the checkpoint whose values to take; own: the one that the ticket names"
    )
    recalibrate_bn: int = Field(
        0, ge=0, description="source images that re-estimate BatchNorm; 0 keeps the checkpoint's"
    )


class CompactConfig(StageConfig):
    """Settings of `ticket compact`: a ticket of channels as the smaller dense network that it is."""

    ticket: Annotated[str, Reference(("ticket",), also=("task",))] = Field(
        "", description="a ticket of channels; a classifier that was transferred under its mask will do"
    )
    data: DataField | None = Field(None, description="images that it is compared on; the ticket's own when absent")
    check_images: int = Field(64, ge=1, description="so many of them, of the validation part")


def flat_fields(config: type[Config]) -> dict[str, Any]:
    """Flag name -> field, nested types spelled with a dot: ``data.classes``."""
    found: dict[str, Any] = {}
    for name, field in config.model_fields.items():
        key = field.alias or name
        found[key] = field
        inner = nested(field.annotation)
        if inner is not None:
            found |= {f"{key}.{name}": inner_field for name, inner_field in inner.model_fields.items()}
    return found
