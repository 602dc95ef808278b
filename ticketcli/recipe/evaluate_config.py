"""The settings of `ticket evaluate`: what is measured of a network, and on which images it has to find objects."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from ticketcli.recipe.computing import StageConfig
from ticketcli.recipe.config import Reference
from ticketcli.recipe.configs import Data, DataField

Mode = Literal["fr", "fsp", "fsp-fr"]
_Usual = Literal["fr", "fsp", "fsp-unguarded", "fsp-fr", "gradient", "guided", "gradcam", "centre", "whole"]
Method = Literal[_Usual, "fsp-fr-unguarded"]
METHODS: tuple[str, ...] = get_args(_Usual)  # by default
_HANDING_OVER = ("fsp-fr", "fsp-fr-unguarded")
Methods = Annotated[
    tuple[Method, ...], BeforeValidator(lambda given: tuple(given) if isinstance(given, list) else given)
]


class Localize(Data):
    """A set with outlined objects, and how a classifier is to find them."""

    side: int | None = Field(
        None, ge=8, le=2048, description="shorter side of its images as shown, in pixels; absent: the set's own"
    )
    part: Literal["test", "validation", "all"] = Field(
        "test", description="which of its images; all, where the network has seen none of them"
    )
    count: int | None = Field(None, ge=1, description="at most so many images, spread evenly over the part")
    names: dict[str, str] | None = Field(
        None, description="the set's class -> the network's, where they are called differently: {car: automobile}"
    )
    methods: Methods = Field(
        METHODS,  # type: ignore[arg-type]
        description="what makes maps: feedback (fr, fsp, fsp-fr; fsp-unguarded and fsp-fr-unguarded as published), "
        "gradient, guided backpropagation, gradcam; centre and whole look at no image",
    )
    sweeps: int = Field(10, ge=1, description="feedback: at most so many sweeps over all gates; of fsp-fr FR's")
    ratio: float = Field(
        0.0, ge=0, description="feedback: a gate opens from this share of the mean positive gradient on; 0: above 0"
    )
    fsp_ratio: float | None = Field(
        None, ge=0, description="fsp-fr: that share in FSP's stages, where it is another; its authors: 1, and ratio 0.1"
    )
    middle: str | None = Field(
        None, description="fsp-fr: the ReLU where FSP hands over to FR, such as layer4.0.relu#3; absent: chosen"
    )
    border: bool = Field(False, description="feedback: leave the border of each layer's maps out, as its authors do")
    threshold: float | None = Field(
        None, gt=0, le=1, description="share of a map's maximum that makes its box; absent: chosen on the other half"
    )
    tolerance: float = Field(
        0.03, ge=0, le=1, description="pointing game: how far from a box still counts, as a share of the longer side"
    )

    @model_validator(mode="after")
    def _has_methods(self) -> Self:
        if not self.methods or len(set(self.methods)) != len(self.methods):
            raise ValueError("methods are listed twice, or there are none")
        for name in ("fsp_ratio", "middle"):
            if self.is_changed(name) and not set(self.methods) & set(_HANDING_OVER):
                raise ValueError(f"{name} is for {' and '.join(_HANDING_OVER)}; add one to methods, or leave it out")
        return self


def _localize(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


class EvaluateConfig(StageConfig):
    """Settings of `ticket evaluate`: measure a dense net, a ticket or a transferred network."""

    of: Annotated[str, Reference(("ticket", "dense", "task"), also=("compact",))] = Field(
        "", description="what to measure"
    )
    localize: Annotated[Localize, BeforeValidator(_localize)] | None = Field(
        None,
        description="also find the objects of this set (scenes:SET, coco:PATH) by what moves a classifier's logits",
    )
    beside: Annotated[str, Reference(("task", "dense", "ticket"), also=("compact",))] = Field(
        "", description="another network of the same images, such as the dense one, for the pictures and for localize"
    )
    pictures: int = Field(
        0,
        ge=0,
        le=1000,
        description="draw so many images: of pixel-level tasks what is found, the worst drops from beside first; with "
        "a decoder what is rebuilt, and the error; with localize the maps and boxes",
    )
    decoder: Annotated[str, Reference(("decoder",))] = Field("", description="also measure the reconstruction with it")
    data: DataField | None = Field(None, description="image set; the checkpoint's own when absent")
    split: Literal["validation", "test"] = Field("test", description="which images")
    batch: int = Field(
        512, ge=1, description="images in a forward pass; of pixel-level tasks at most 8, of localize 16"
    )
    recalibrate_bn: int = Field(
        0,
        ge=0,
        description="source images that re-estimate BatchNorm first; for tickets that were not finetuned",
    )
    features: bool = Field(
        False, description="also compare the features of each tap with the dense network's, and probe them linearly"
    )
    latency: bool = Field(
        False,
        description="also time it beside the dense network: torch as it is, folded and compiled, ONNX Runtime; batches "
        "of 1 and 16; and tell what it weighs, and where it computes",
    )
    dense: Annotated[str, Reference(("dense", "task"))] = Field(
        "",
        description="features, latency, localize: what to compare with; absent, for the first two: the dense "
        "checkpoint that the network was made from",
    )
    probe_images: int = Field(
        2000, ge=0, description="features: training images that linear probes learn from; 0: no probes"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.dense and not (self.features or self.latency or self.localize):
            raise ValueError("dense is for features: true, latency: true and localize")
        return self
