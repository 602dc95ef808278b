"""What falls in a round: how much, of which layers, by which criterion, and what that criterion looks at."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ticketcli.errors import UsageError
from ticketcli.recipe.config import Flag, NoResult, Reference
from ticketcli.recipe.configs import Training
from ticketcli.units import parse_bytes

CHANNELWISE = ("l1", "l2", "bn_scale", "scop", "feedback")  # they judge whole channels; random does both
ONE_BY_ONE = ("scop", "feedback")  # they judge what one BatchNorm lets through, by images
CALIBRATED = ("lobs", "lobs_refit", "obc", "sparsegpt", "wanda", "obd", "apoz")  # they look at the layers' inputs
INVERTING = ("lobs", "lobs_refit", "obc", "sparsegpt")  # they need an inverse, and adjust the weights that stay
PREDICTING = (*INVERTING, "wanda", "obd")  # they know beforehand what error a removal makes
PATTERNED = ("lobs", "lobs_refit", "sparsegpt", "wanda", "obd", "apoz")
_PATTERN = re.compile(r"(\d{1,4}):(\d{1,4})")
_WEIGHT = ".weight"


def _as_table(value: object) -> object:
    """Layer -> sparsities of the rounds; one number stands for a list of one, a parameter's name for its layer's."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or None in value.values():
        raise ValueError("sparsities is a table of layers; write '{fc1: 0.9, fc2: 0.8}', with a space after each colon")
    found: dict[str, object] = {}
    for key, entry in value.items():
        name = str(key).removesuffix(_WEIGHT)
        if name in found:
            raise ValueError(f"the layer {name} is given twice")
        found[name] = tuple(entry) if isinstance(entry, list | tuple) else (entry,)
    return found


Sparsities = Annotated[dict[str, tuple[float, ...]], BeforeValidator(_as_table)]


class Selecting(Training):
    """Settings of what falls."""

    schedule: Literal["lth", "gmp", "one-shot"] = Field(
        "lth",
        description="lth: rounds that each drop a fraction; gmp: one training, sparser by a cubic; one-shot: one prune",
    )
    rounds: int = Field(11, ge=1, le=999, description="rounds of finetuning and pruning; more may be added later")
    fraction: float = Field(0.2, gt=0, lt=1, description="share of the living weights that each round drops")
    to_sparsity: float | None = Field(
        None, gt=0, lt=1, description="end at exactly this sparsity; lth runs as many rounds as that takes"
    )
    criterion: Literal[
        "magnitude", "random", "lobs", "lobs_refit", "obc", "sparsegpt", "wanda", "obd", "apoz",
        "l1", "l2", "bn_scale", "scop", "feedback",
    ] = Field(
        "magnitude",
        description="which weights fall; lobs to apoz judge by each layer's inputs on source images. Of channels: "
        "random, l1 or l2 (a filter's norm), bn_scale, scop (against knockoffs), feedback (what is added to logits)",
    )  # fmt: skip
    like: Annotated[str, Reference(("ticket",), series=True)] = Field(
        "",
        description="random only: keep as many weights in each layer as that step's masks do; absent: uniform",
    )
    scope: Literal["global", "layer"] = Field(
        "global",
        description="one ranking of all weights, or the same share of each layer's; of channels: layer unless said",
    )
    sparsities: Sparsities | None = Field(
        None,
        description="sparsity of each layer instead, such as {fc1: [0.93, 0.99], fc2: 0.8}: after each round, or after "
        "the last; other layers stay dense",
    )
    epsilon: float | None = Field(
        None,
        gt=0,
        description="drop instead each weight whose removal alone costs its layer's output no more than this error",
    )
    pattern: str = Field("", description="keep n of every m inputs instead, such as 2:4")
    compensate: bool = Field(
        False,
        description="adjust the weights that stay; with a rewind as a second output N-compensated, else they go on",
    )
    calibrate: Annotated[int, Flag("calib")] = Field(
        1024,
        ge=1,
        description="source images that the layer-wise criteria and feedback look at, and that knockoffs are fitted to",
    )
    positions: int = Field(
        64, ge=0, description="of each of them, output positions of a convolution that are looked at; 0: all"
    )
    calib_memory: Annotated[str, NoResult()] = Field(
        "2GB", description="layers whose statistics need more together take turns; changes no result"
    )
    damping: float | None = Field(
        None, gt=0, description="added to the diagonal before inverting, as a share of its mean; absent: by the images"
    )

    @property
    def is_calibrated(self) -> bool:
        """Whether the criterion looks at what goes into the layers."""
        return self.criterion in CALIBRATED

    @property
    def takes_controls(self) -> bool:
        """Whether it judges channels beside knockoffs of them, which is SCOP."""
        return self.criterion == "scop"

    @property
    def calib_bytes(self) -> int:
        """`calib_memory` in bytes."""
        return parse_bytes(self.calib_memory)

    @property
    def kept_of(self) -> tuple[int, int] | None:
        """The pattern: how many are kept, of how many."""
        match = _PATTERN.fullmatch(self.pattern)
        return (int(match[1]), int(match[2])) if match is not None else None

    @property
    def n_rounds(self) -> int:
        """How often weights fall. To reach `to_sparsity`, lth takes as many rounds as its fraction asks for."""
        if self.schedule == "one-shot":
            return 1
        if self.schedule == "gmp" or self.to_sparsity is None:
            return self.rounds
        return max(1, math.ceil(math.log1p(-self.to_sparsity) / math.log1p(-self.fraction) - 1e-9))

    @property
    def rounds_share_an_aim(self) -> bool:
        """Whether what a round drops depends on how many follow."""
        return any(len(aims) == 1 for aims in (self.sparsities or {}).values())

    def kept_after(self, round_: int, *, living: int, total: int, layer: str = "") -> int:
        """How many of `total` weights are left after a round that begins with `living`: an exact count.

        lth drops ``round(fraction * living)``, the last round whatever is left to `to_sparsity`. gmp follows the cubic
        ``s_k = to_sparsity * (1 - (1 - k / rounds)**3)``. Where `sparsities` have one number for a layer, each round
        drops the same share of what lives there.

        Args:
            round_: its number, from 1.
            living: weights before it, of the layer or of all.
            total: weights of the layer, or all that are prunable.
            layer: its name, with `sparsities`.

        Source: the paper, Algorithm 1; gmp: Zhu and Gupta, "To prune, or not to prune", 2017, equation 1.
        """
        if self.sparsities is not None:
            aims = self.sparsities.get(layer.removesuffix(_WEIGHT))
            return living if aims is None else min(living, total - round(self._aim(aims, round_) * total))
        if self.schedule == "gmp":
            assert self.to_sparsity is not None
            sparsity = self.to_sparsity * (1 - (1 - round_ / self.rounds) ** 3)
            return total - round(sparsity * total)
        if self.to_sparsity is not None and round_ == self.n_rounds:
            return total - round(self.to_sparsity * total)
        return living - round(self.fraction * living)

    def _aim(self, aims: tuple[float, ...], round_: int) -> float:
        if len(aims) > 1 or round_ == self.n_rounds:
            return aims[min(round_, len(aims)) - 1]
        return float(1 - (1 - aims[0]) ** (round_ / self.n_rounds))

    def ways(self) -> dict[str, Any]:
        """What says how much falls, instead of `fraction`; None where it does not."""
        return {"to_sparsity": self.to_sparsity, "sparsities": self.sparsities, "epsilon": self.epsilon,
                "pattern": self.pattern or None}  # fmt: skip

    def require_granularity(self) -> None:
        """Refuse, before all else, settings that are for channels where weights fall, and the other way round.

        Raises:
            ValueError: says which, and what to write.
        """

    @model_validator(mode="after")
    def _says_how_much(self) -> Selecting:
        self.require_granularity()
        said = [name for name, value in self.ways().items() if value is not None]
        if len(said) > 1:
            raise ValueError(f"{' and '.join(said)} each say how much falls; keep one of them")
        if self.schedule == "gmp" and self.to_sparsity is None:
            raise ValueError("schedule gmp needs to_sparsity; 0.8 is the paper's")
        if self.schedule != "lth" and not said:
            raise ValueError(f"schedule {self.schedule} needs to_sparsity; 0.8 is the paper's")
        if said and said != ["to_sparsity"] and self.is_changed("fraction"):
            raise ValueError(f"{said[0]} says how much falls; leave fraction out")
        if self.like and self.criterion != "random":
            raise ValueError("like is for criterion: random only")
        if self.like and self.schedule != "lth":
            raise ValueError("like gives the counts of rounds, so it is for schedule: lth only")
        if self.like and (self.sparsities is not None or self.scope == "layer"):
            raise ValueError("like gives the counts of each layer; leave scope and sparsities out")
        return self

    @model_validator(mode="after")
    def _sparsities_can_be_reached(self) -> Selecting:
        if self.sparsities is not None and not self.sparsities:
            raise ValueError("sparsities names no layer; write {fc1: 0.9}")
        for name, aims in (self.sparsities or {}).items():
            if len(aims) not in (1, self.n_rounds):
                n = f"{len(aims)} sparsities for {self.n_rounds} round{'s' * (self.n_rounds > 1)}"
                raise ValueError(f"the layer {name} has {n}; one for each, or one alone for the last")
            if not all(0 <= aim < 1 for aim in aims):
                raise ValueError(f"the layer {name} cannot be {max(aims, key=abs)} sparse; a share from 0, below 1")
            if any(before > after for before, after in pairwise(aims)):
                raise ValueError(f"the sparsities of layer {name} go down; what has fallen does not come back")
        return self

    @model_validator(mode="after")
    def _criterion_uses_what_is_said(self) -> Selecting:
        if self.is_calibrated and self.schedule == "gmp":
            raise ValueError(f"{self.criterion} looks at images between trainings; schedule lth or one-shot")
        uses: dict[str, tuple[str, ...]] = {
            "epsilon": PREDICTING, "pattern": PATTERNED, "compensate": INVERTING,
            "calibrate": (*CALIBRATED, *ONE_BY_ONE),
            "positions": CALIBRATED, "damping": INVERTING,
        }  # fmt: skip
        for name, criteria in uses.items():
            if self.is_changed(name) and self.criterion not in criteria:
                raise ValueError(f"{name} is nothing to criterion {self.criterion}; it is for {', '.join(criteria)}")
        if self.pattern:
            kept_of = self.kept_of
            if kept_of is None or not 0 < kept_of[0] < kept_of[1]:
                raise ValueError("pattern keeps n of every m, n below m; write '2:4'")
            if self.n_rounds > 1:
                raise ValueError("a pattern is reached at once; schedule: one-shot, or rounds: 1")
        try:
            parse_bytes(self.calib_memory)
        except UsageError as error:
            raise ValueError(f"calib_memory: {error.what}; {error.hint}") from None
        return self
