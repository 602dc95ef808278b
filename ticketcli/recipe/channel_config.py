"""Whole channels instead of single weights: how many fall, and how SCOP's selection is trained."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field, model_validator

from ticketcli.recipe.config import Duration
from ticketcli.recipe.configs import ep
from ticketcli.recipe.criterion_config import CHANNELWISE, ONE_BY_ONE, Selecting

_OF_CHANNELS = (*CHANNELWISE, "random")
_OF_WEIGHTS = ("to_sparsity", "sparsities", "like")
_OF_CHANNELS_ALONE = ("channel_fraction", "round_to", "residual")
_TRAINED = ("gan", "gan-released", "deep")  # knockoffs that a network makes
_OF_SCOP = ("knockoff", "knockoff_at", "knockoff_steps", "selection", "selection_lr", "lemma2_noise")


class ChannelSelecting(Selecting):
    """Settings of what falls, where that may be channels."""

    granularity: Literal["weight", "channel"] = Field(
        "weight",
        description="what falls: single weights, or whole channels with BatchNorm and the inputs of who reads them",
    )
    channel_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="share of the channels that falls, at once; rounds take fraction of those that live",
    )
    round_to: int = Field(
        1, ge=1, description="each layer keeps a multiple of so many channels, the nearest; 8 is good for speed"
    )
    residual: bool = Field(
        False,
        description="channels that residual blocks add up fall too, from all blocks of a stage at once: smaller and "
        "quicker once compacted; taps keep their width",
    )
    knockoff: Literal["permute", "gaussian", "gan", "gan-released", "deep"] = Field(
        "permute",
        description="scop: the controls: other images of the batch, Gaussian knockoffs, or of a trained network; the "
        "generator of gan-released sees no image, as in SCOP's code",
    )
    knockoff_at: str = Field(
        "",
        description="gaussian and deep: controls of the features behind this layer, such as bn1, position by position; "
        "layers before it are ranked by |gamma|. Absent: of the images",
    )
    knockoff_steps: int = Field(
        20_000,
        ge=1,
        description="gan and deep: batches that the controls' networks learn from; a gan's generator learns after "
        "every fifth, by default 4000 times: 100000 gives it the published 20000",
    )
    selection: Duration = Field(ep(20), description="scop: how long channels learn how much of their control they want")
    selection_lr: float = Field(0.004, gt=0, description="scop: learning rate of that")
    lemma2_noise: bool = Field(
        False, description="scop: carry controls exactly through affine layers; the noise is larger than the signal"
    )

    @property
    def drops_channels(self) -> bool:
        """Whether whole channels fall."""
        return self.granularity == "channel"

    @property
    def trains_knockoffs(self) -> bool:
        """Whether a network that makes the controls is trained first, `knockoff_steps` long."""
        return self.takes_controls and self.knockoff in _TRAINED

    def channels_gone(self, round_: int) -> Fraction:
        """The share of all channels that has fallen after a round, numbered from 1; exact.

        It is the share that is rounded, not what a round drops: small layers would stand still.
        """
        if self.channel_fraction is not None:
            return Fraction(str(self.channel_fraction))
        return 1 - (1 - Fraction(str(self.fraction))) ** round_

    def ways(self) -> dict[str, Any]:
        """What says how much falls, instead of `fraction`; None where it does not."""
        return {**super().ways(), "channel_fraction": self.channel_fraction}

    @model_validator(mode="before")
    @classmethod
    def _channels_have_defaults_of_their_own(cls, values: Any) -> Any:
        """SCOP's: the same share of each layer, at once where a share is given."""
        if not isinstance(values, Mapping) or values.get("granularity") != "channel":
            return values
        at_once = {"schedule": "one-shot"} if values.get("channel_fraction") is not None else {}
        return {"scope": "layer", **at_once, **values}

    def require_granularity(self) -> None:
        """Refuse settings that are for channels where weights fall, and the other way round."""
        if not self.drops_channels:
            if self.criterion in CHANNELWISE:
                raise ValueError(f"criterion {self.criterion} judges whole channels; add granularity: channel")
            for name in _OF_CHANNELS_ALONE:
                if self.is_changed(name):
                    raise ValueError(f"{name} is for whole channels; add granularity: channel, or leave it out")
            return
        if self.residual and self.criterion in ONE_BY_ONE:
            raise ValueError(
                f"criterion {self.criterion} judges the channels of one convolution, and residual drops those of "
                "several at once; l1, l2, bn_scale and random judge them together"
            )
        if self.criterion not in _OF_CHANNELS:
            raise ValueError(
                f"criterion {self.criterion} judges single weights; for channels: {', '.join(_OF_CHANNELS)}"
            )
        for name in _OF_WEIGHTS:
            if self.is_changed(name):
                raise ValueError(f"{name} counts weights; of channels give channel_fraction, or fraction and rounds")
        if self.schedule == "gmp":
            raise ValueError("channels fall between trainings; schedule lth or one-shot")
        if self.schedule == "lth" and self.channel_fraction is not None:
            raise ValueError("channel_fraction falls at once; schedule: one-shot, or fraction for rounds")
        if self.schedule == "one-shot" and self.channel_fraction is None:
            raise ValueError("schedule one-shot needs channel_fraction; 0.3 is a share that SCOP publishes")

    @model_validator(mode="after")
    def _controls_are_for_scop(self) -> ChannelSelecting:
        for name in _OF_SCOP:
            if not self.takes_controls and self.is_changed(name):
                raise ValueError(f"{name} is nothing to criterion {self.criterion}; it is for scop")
        if self.knockoff_at and self.knockoff not in ("gaussian", "deep"):
            raise ValueError(f"knockoff {self.knockoff} makes controls of images; knockoff_at is for gaussian and deep")
        if self.is_changed("knockoff_steps") and not self.trains_knockoffs:
            raise ValueError(f"knockoff {self.knockoff} is not trained; knockoff_steps is for {', '.join(_TRAINED)}")
        return self
