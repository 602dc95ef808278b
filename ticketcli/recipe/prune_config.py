"""The settings of `ticket prune`: what is finetuned, how, and what becomes of its weights."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ticketcli.recipe.channel_config import ChannelSelecting
from ticketcli.recipe.config import Duration, Reference
from ticketcli.recipe.configs import DataField, ep
from ticketcli.units import Duration as _Duration


class PruneConfig(ChannelSelecting):
    """Settings of `ticket prune` (the paper, Algorithm 1, equation 11 and section 5.1)."""

    encoder: Annotated[str, Reference(("dense",), also=("task", "compact"))] = Field(
        "", description="the dense checkpoint, theta_pre; a dense network that was transferred to other classes will do"
    )
    decoder: Annotated[str, Reference(("decoder",))] = Field(
        "", description="the frozen decoder; needed while lambda is above 0, else only measured with"
    )
    data: DataField | None = Field(None, description="image set; the encoder's own when absent")
    prunable: Literal["auto", "weights"] = Field(
        "auto",
        description="what masks are about: auto leaves out stem, head and norms; weights takes every weight matrix",
    )
    finetune: Duration = Field(ep(10), description="training before each prune; 0ep prunes the weights as they are")
    first_finetune: bool = Field(True, description="finetune before the first prune too; false is the order of [1]")
    heal: Duration | None = Field(
        None, description="training after the last prune; as finetune when absent, 0ep for none"
    )
    loss: Literal["cls+rec", "cls", "rec", "feat"] = Field(
        "cls+rec",
        description="what finetuning minimises; rec (pixels) and feat (theta_pre's taps) need no labels",
    )
    lambda_: float = Field(
        10.0, ge=0, alias="lambda", description="weight of the reconstruction in cls+rec; 0 is plain pruning"
    )
    target: Literal["own", "placebo"] = Field(
        "own",
        description="pixels to rebuild: the image's own, or another image's, as the control of the reconstruction",
    )
    rewind: Annotated[str, Reference(("dense", "kept"), words=("pretrained", "none", "learning-rate", "init"))] = Field(
        "pretrained",
        description="values after each prune: pretrained, none (go on, the paper's IMP), learning-rate (go on, but the "
        "rate starts again), init, or a checkpoint",
    )
    recalibrate_bn: int = Field(
        1024,
        ge=0,
        description="source images that re-estimate BatchNorm before an unhealed mask is measured; 0: literal",
    )
    split: Literal["validation", "test"] = Field(
        "validation", description="the images that each mask is measured on; nothing is chosen by them"
    )
    lr: float = Field(3e-4, gt=0, description="learning rate, constant unless milestones are given")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay; the paper names none, this is [1]'s")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.schedule == "gmp" and self.rewind not in ("pretrained", "none"):
            raise ValueError("gmp never rewinds; write its mask onto other values with 'ticket rewind --to'")
        if self.takes_controls and self.batch < 2:
            raise ValueError("criterion scop takes controls from other images of a batch; batch has to be 2 or more")
        if self.takes_controls and self.calibrate < 4:
            raise ValueError(
                "criterion scop measures its controls on calibration images; calibrate has to be 4 or more"
            )
        if self.target == "placebo" and not self.rebuilds:
            raise ValueError("target: placebo is for losses with a reconstruction")
        if self.target == "placebo" and self.batch < 2:
            raise ValueError("target: placebo takes another image of the batch; batch has to be 2 or more")
        if self.target == "placebo" and self.micro_batch in (1, 2):
            raise ValueError("target: placebo takes another image of a part of the batch; micro_batch: 3 or more")
        return self

    @property
    def rebuilds(self) -> bool:
        """Whether the loss has a reconstruction in it, which needs a decoder."""
        return self.loss == "rec" or (self.loss == "cls+rec" and self.lambda_ > 0)

    @property
    def needs_labels(self) -> bool:
        """Whether the loss has a classification in it."""
        return self.loss in ("cls", "cls+rec")

    @property
    def goes_on(self) -> bool:
        """Whether the finetuned weights stay, instead of being set back to a checkpoint's."""
        return self.schedule == "gmp" or self.rewind in ("none", "learning-rate")

    @property
    def healing(self) -> _Duration:
        """The training after the last prune."""
        return self.finetune if self.heal is None else self.heal
