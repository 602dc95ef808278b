"""The settings of `ticket transfer`: one config type for all targets, and the schedules of pixel-level ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from ticketcli.errors import UsageError
from ticketcli.recipe.config import Duration, Durations, Floats, Integers, Reference
from ticketcli.recipe.configs import DataField, Training, ep
from ticketcli.units import Duration as _Duration

TaskName = Literal["classification", "semantic", "detection", "segmentation"]
DETECTORS = ("detection", "segmentation")


@dataclass(frozen=True)
class Schedule:
    """A training of a pixel-level task: what its settings are unless they are given.

    Attributes:
        batch: images in a step, of the whole.
        lr: for that batch; in proportion for another.
        steps: for that batch; in inverse proportion for another, and so the warm-up.
        warmup: steps of them.
        milestones: shares of the length, which is given or `steps`; the warm-up follows it, too.
        short_sides: of the training images, in pixels; none: the size of the set or of the source's images.
        long_side: at most.
        channels: of the feature pyramid.
        proposals: regions that the heads are shown.
        samples: those an image that they learn from.
    """

    batch: int
    lr: float
    steps: int
    warmup: int
    milestones: tuple[float, ...]
    short_sides: tuple[int, ...]
    long_side: int
    channels: int
    proposals: int
    samples: int

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that are not given; rate and length follow the batch (Goyal et al., 2017)."""
        batch = int(given.get("batch") or self.batch)
        share = batch / self.batch
        length = _Duration.parse(given.get("epochs") or _steps(self.steps / share))
        found = {
            "batch": batch,
            "lr": self.lr * share,
            "epochs": length,
            "milestones": [_part(length, share_) for share_ in self.milestones],
            "warmup": _part(length, self.warmup / self.steps),
            "weight_decay": 1e-4,
            "short_sides": list(self.short_sides),
            "long_side": self.long_side,
            "channels": self.channels,
        }
        if given.get("task") in DETECTORS:
            found |= {"proposals": self.proposals, "samples": self.samples}
        return {name: value for name, value in found.items() if name not in given}


def _steps(n: float) -> _Duration:
    return _Duration(float(max(1, round(n))), "it")


def _part(length: _Duration, share: float) -> _Duration:
    amount = length.amount * share
    return _Duration(float(round(amount)) if length.unit == "it" else float(f"{amount:g}"), length.unit)


# 1x: Detectron2's R50-FPN, batch 16, 90,000 steps, a tenth of the rate at 60,000 and at 80,000.
SCHEDULES: Mapping[str, Schedule] = {
    "1x": Schedule(16, 0.02, 90_000, 1000, (2 / 3, 8 / 9), tuple(range(640, 801, 32)), 1333, 256, 2000, 512),
    "tiny": Schedule(8, 0.02, 600, 50, (2 / 3, 9 / 10), (), 1333, 32, 256, 64),
}


class TransferConfig(Training):
    """Settings of `ticket transfer` (the paper, section 5.3; that of classification is [1]'s without its warm-up)."""

    ticket: Annotated[str, Reference(("ticket", "dense"), also=("compact",))] = Field(
        "", description="what to transfer: a ticket or a dense net"
    )
    task: TaskName = Field(
        "classification",
        description="kind of target: classes of images, of pixels (semantic), boxes (detection), or boxes and masks "
        "(segmentation)",
    )
    data: DataField = Field(description="the target image set")
    image_size: int | None = Field(
        None,
        ge=8,
        le=2048,
        description="side of the images in pixels; absent: that of the source checkpoint, in "
        "pixel-level tasks the set's own",
    )
    stem: Literal["auto", "fresh", "center", "resize", "keep7"] = Field(
        "auto",
        description="what a 7x7 stem becomes: a fresh 3x3, its center, all of it resized, or itself; without max-pool "
        "where it is 3x3; auto: fresh for images of at most 64 pixels",
    )
    epochs: Duration = Field(ep(182), description="length of the training")
    batch: int = Field(
        256, ge=1, description="images in an optimiser step; for pixels, as lr and length, the schedule's"
    )
    milestones: Durations = Field((ep(91), ep(136)), description="multiply the learning rate by gamma at these points")
    weight_decay: float = Field(2e-4, ge=0, description="weight decay")
    schedule: Literal["auto", "1x", "tiny"] = Field(
        "auto",
        description="settings of a pixel-level task that are not given: 1x is Detectron2's, scaled to the batch; tiny "
        "is for CPUs; auto: 1x for them, the paper's for classification",
    )
    freeze: Literal["auto", "none", "stem", "first"] = Field(
        "auto",
        description="what of the backbone stays as it is: nothing, the stem, or stem and first stage; auto: the "
        "latter for boxes and masks (Detectron2's), else nothing",
    )
    freeze_backbone: bool = Field(
        False, description="train the heads alone, so that one backbone serves many tasks; its BatchNorm is frozen too"
    )
    batchnorm: Literal["auto", "train", "frozen"] = Field(
        "auto", description="the backbone's BatchNorm; auto: frozen for boxes and masks (Detectron2's), else trained"
    )
    recalibrate_bn: int = Field(
        1024, ge=0, description="source images that re-estimate BatchNorm before it is frozen; 0: as the ticket has it"
    )
    short_sides: Integers = Field(
        (), description="pixel-level tasks: shorter side of the training images, drawn from these; the largest tests"
    )
    long_side: int = Field(1333, ge=32, description="pixel-level tasks: the longer side is at most this")
    anchors: Floats | None = Field(
        None, description="boxes and masks: side of the anchors in pixels, one a level; absent: 8 times its stride"
    )
    channels: int = Field(256, ge=8, description="pixel-level tasks: channels of the feature pyramid")
    proposals: int = Field(
        2000,
        ge=2,
        description="boxes and masks: candidate regions that the heads are shown in training, of each level "
        "and of all; half as many in tests",
    )
    samples: int = Field(512, ge=1, description="boxes and masks: regions an image that the heads learn from")
    regions: Literal["category", "boundary"] = Field(
        "category",
        description="semantic, of outlined objects: background and a class for each category, or background, "
        "interior and boundary",
    )

    @model_validator(mode="before")
    @classmethod
    def _scheduled(cls, given: Any, _info: ValidationInfo) -> Any:
        """Fill in what the schedule says, before defaults do."""
        if not isinstance(given, Mapping) or given.get("task", "classification") == "classification":
            return given
        name = given.get("schedule", "auto")
        schedule = SCHEDULES.get("1x" if name == "auto" else str(name))
        try:
            return given if schedule is None else {**given, **schedule.settings(given)}
        except (UsageError, TypeError, ValueError):  # of what was given: told with all other errors by its own field
            return given

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.task == "classification":
            for name in (
                "schedule",
                "short_sides",
                "long_side",
                "channels",
                "anchors",
                "proposals",
                "samples",
                "regions",
            ):
                if self.is_changed(name):
                    raise ValueError(f"{name} is for pixel-level tasks; add task: semantic, detection or segmentation")
        elif self.task not in DETECTORS:
            for name in ("anchors", "proposals", "samples"):
                if self.is_changed(name):
                    raise ValueError(f"{name} are for task: detection or segmentation")
        elif self.regions != "category" and self.task != "semantic":
            raise ValueError("regions are for task: semantic")
        if self.compile and self.task != "classification":
            raise ValueError("compile is for task: classification; images of other sizes would be compiled anew")
        if self.freeze_backbone and (self.freeze != "auto" or self.batchnorm == "train"):
            raise ValueError("freeze_backbone freezes all of it; leave out freeze and batchnorm: train")
        if self.task != "classification" and self.augment in ("shift", "crop-flip-jigsaw", "resized-crop"):
            raise ValueError(f"augment: {self.augment} is for classification; none, or crop-flip for mirroring")
        if self.short_sides and (min(self.short_sides) < 32 or max(self.short_sides) > self.long_side):
            raise ValueError("short_sides are pixels, from 32 to long_side")
        drawn = self.data.name.partition(":")[0] == "scenes"  # at that size, whatever they are shown at
        if self.short_sides and self.image_size is not None and self.task != "classification" and not drawn:
            raise ValueError("image_size would change nothing beside short_sides; leave it out")
        if self.anchors is not None and min(self.anchors, default=1.0) <= 0:
            raise ValueError("anchors are sides in pixels, above 0")
        if self.freezes_stem and self.stem not in ("auto", "keep7"):
            raise ValueError(f"stem: {self.stem} would freeze what was never trained; add freeze: none")
        return self

    @property
    def frozen_part(self) -> Literal["none", "stem", "first", "backbone"]:
        """Up to where the backbone stays as it is."""
        if self.freeze_backbone:
            return "backbone"
        if self.freeze != "auto":
            return self.freeze
        return "first" if self.task in DETECTORS else "none"

    @property
    def freezes_stem(self) -> bool:
        """Whether the stem stays as it is."""
        return self.frozen_part != "none"

    @property
    def freezes_norms(self) -> bool:
        """Whether any BatchNorm of the backbone stays as it is: all of it, or that of a frozen part."""
        return self.freezes_batchnorm or self.frozen_part != "none"

    @property
    def freezes_batchnorm(self) -> bool:
        """Whether the backbone's BatchNorm stays as it is, after it was re-estimated."""
        if self.batchnorm == "auto":
            return self.freeze_backbone or self.task in DETECTORS
        return self.freeze_backbone or self.batchnorm == "frozen"
