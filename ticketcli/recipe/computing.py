"""What every stage has, and how those that train compute: fields, because they change the last bits of results.

Precision, layout, compilation and the optimiser's kernels give other roundings; a micro-batch gives BatchNorm other
statistics as well. What is measured of a network is computed in fp32 and in the usual layout, whatever is said here.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ticketcli.recipe.config import Config


class StageConfig(Config):
    """What every stage has."""

    seed: int = Field(
        0, ge=0, lt=2**63, description="seed of every random draw in this stage; 0 is a seed like any other"
    )


class Computing(StageConfig):
    """How a training computes."""

    precision: Literal["fp32", "bf16", "auto"] = Field(
        "fp32",
        description="numbers that the loss is computed in; weights, optimiser and masks stay fp32; auto: bf16 where "
        "the GPU or the CPU multiplies it faster, settled once for a step",
    )
    layout: Literal["nchw", "channels_last"] = Field(
        "nchw", description="order of images and weights in memory while training; files are the same"
    )
    compile: bool = Field(
        False, description="compile the loss of each training first; not for pixel-level targets; needs a C++ compiler"
    )
    fused: bool = Field(False, description="the optimiser's step as one kernel")
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="images that a process computes at once; gradients add up to the batch's, statistics of BatchNorm "
        "are those of a part; absent: all",
    )
