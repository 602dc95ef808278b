"""The table of stages: what each is called, takes, makes, and in which units it can be cut, resumed and extended.

A stage is one row here, one config type in `recipe/` and one generator in `stages/`, named by its dotted path
so that this table loads nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ticketcli.recipe.computing import StageConfig
from ticketcli.recipe.configs import (
    CompactConfig,
    ImportConfig,
    PretrainConfig,
    RewindConfig,
    TrainDecoderConfig,
)
from ticketcli.recipe.evaluate_config import EvaluateConfig
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.recipe.transfer_config import TransferConfig


@dataclass(frozen=True)
class Unit:
    """The smallest piece of a stage that is kept, reused and resumed as a whole.

    `ignores` are config fields that do not change this unit's result; `series` is the output that it takes from each
    series input (a pruning round takes the mask of the same round); `outputs` are the names of what it makes.
    """

    name: str
    outputs: tuple[str, ...]
    ignores: frozenset[str] = frozenset()
    series: str | None = None


@dataclass(frozen=True)
class StageSpec:
    """A row of the table.

    `version` is raised when results change: a fixed bug, or a changed default. `argument` is the config field that the
    command takes without a flag. `is_shared` says that several processes make it faster.
    """

    name: str
    version: int
    config: type[StageConfig]
    runner: str
    summary: str
    kind: str
    units: Callable[[Any], tuple[Unit, ...]]
    default_output: Callable[[Any], str]
    required: Callable[[Any], frozenset[str]] = field(default=lambda config: frozenset(config.references()))
    argument: str = ""
    is_shared: bool = True
    kind_of: Callable[[Any, str], str] | None = None

    def outputs(self, config: StageConfig) -> dict[str, str]:
        """Name -> kind, of all that a step with these settings makes."""
        names = [name for unit in self.units(config) for name in unit.outputs]
        return {name: self.kind_of(config, name) if self.kind_of is not None else self.kind for name in names}

    def __reduce__(self) -> tuple[Callable[[str], StageSpec], tuple[str]]:
        """To another process goes the name of the row: functions cannot be sent, and the table is the same there."""
        return _row, (self.name,)


def _row(name: str) -> StageSpec:
    return STAGES[name]


def _one(name: str) -> dict[str, Any]:
    return {"units": lambda config: (Unit(name, (name,)),), "default_output": lambda config: name}


def kept_name(point: object) -> str:
    """What a kept point of pretraining is called: `init` for 0ep or 0it, else the duration."""
    return "init" if str(point) in ("0ep", "0it") else str(point)


def _pretrain_units(config: PretrainConfig) -> tuple[Unit, ...]:
    return (Unit("dense", ("dense", *(kept_name(point) for point in config.keep))),)


def round_name(number: int) -> str:
    """The unit of a pruning round: `round-07`."""
    return f"round-{number:02d}"


def compensated_name(name: str) -> str:
    """What the compensated weights of a round are called beside its ticket: `1-compensated`."""
    return f"{name}-compensated"


def _prune_units(config: PruneConfig) -> tuple[Unit, ...]:
    """Each round is a unit whose key leaves out how many follow, so 11 rounds become 13 by running two.

    gmp has no rounds to come back to: its weights and optimiser go on, so it is one unit.
    """
    if config.schedule == "gmp":
        return (Unit("gmp", ("healed",)),)
    n = config.n_rounds
    later = frozenset({"heal"} if config.rounds_share_an_aim else {"rounds", "heal"})
    rounds = tuple(
        Unit(
            round_name(number), _round_outputs(config, number),
            later | (frozenset({"to_sparsity"}) if number < n else frozenset()), series=str(number),
        )
        for number in range(1, n + 1)
    )  # fmt: skip
    if config.healing.amount == 0:
        return rounds
    return (*rounds, Unit(f"healed-{n:02d}", ("healed",), frozenset({"rounds"})))


def _round_outputs(config: PruneConfig, number: int) -> tuple[str, ...]:
    """The ticket; and where that is rewound, the weights that made up for those that fell."""
    beside = config.compensate and not config.goes_on
    return (str(number), compensated_name(str(number))) if beside else (str(number),)


def _prune_output(config: PruneConfig) -> str:
    return "healed" if config.schedule == "gmp" else str(config.n_rounds)


def _prune_required(config: PruneConfig) -> frozenset[str]:
    return frozenset({"encoder", "decoder"} if config.rebuilds else {"encoder"})


def _imported(config: ImportConfig) -> str:
    """What comes in: a dense network, or the ticket that was packed."""
    return "ticket" if config.unpacks else "dense"


def _optional(*names: str) -> Callable[[StageConfig], frozenset[str]]:
    return lambda config: frozenset(config.references()) - set(names)


PRETRAIN = StageSpec(
    "pretrain", 1, PretrainConfig, "ticketcli.stages.pretrain:pretrain",
    "Train a dense network on a source image set.", "dense",
    units=_pretrain_units, default_output=lambda config: "dense",
    kind_of=lambda config, name: "dense" if name == "dense" else "kept",
)  # fmt: skip
IMPORT = StageSpec(
    "import", 1, ImportConfig, "ticketcli.stages.import_weights:import_weights",
    "Bring in a dense network: published weights, or a file made elsewhere.", "dense",
    units=lambda config: (Unit(_imported(config), (_imported(config),)),), default_output=_imported,
    argument="source", is_shared=False, kind_of=lambda config, name: "" if config.unpacks else "dense",
)  # fmt: skip
TRAIN_DECODER = StageSpec(
    "train-decoder", 2, TrainDecoderConfig, "ticketcli.stages.train_decoder:train_decoder",
    "Train the decoder that rebuilds images from the frozen encoder.", "decoder", **_one("decoder"),
)  # fmt: skip
PRUNE = StageSpec(
    "prune", 3, PruneConfig, "ticketcli.stages.prune:prune",
    "Drop weights or channels, round by round; write one mask per round.", "ticket",
    units=_prune_units, default_output=_prune_output, required=_prune_required,
)  # fmt: skip
REWIND = StageSpec(
    "rewind", 1, RewindConfig, "ticketcli.stages.rewind:rewind",
    "Set a ticket's living weights to chosen values, all others to zero.", "ticket", is_shared=False, **_one("ticket"),
)  # fmt: skip
COMPACT = StageSpec(
    "compact", 1, CompactConfig, "ticketcli.stages.compact:compact",
    "Leave the fallen channels of a ticket out: a smaller dense network, equal in output.", "compact",
    argument="ticket", is_shared=False, **_one("compact"),
)  # fmt: skip
TRANSFER = StageSpec(
    "transfer", 1, TransferConfig, "ticketcli.stages.transfer:transfer",
    "Train a ticket on a target task, its mask enforced.", "task", **_one("task"),
)  # fmt: skip
EVALUATE = StageSpec(
    "evaluate", 1, EvaluateConfig, "ticketcli.stages.evaluate:evaluate",
    "Measure accuracy, reconstruction, sparsity and size.", "metrics",
    required=_optional("decoder", "beside", "dense"), **_one("metrics"),
)  # fmt: skip

STAGES: Mapping[str, StageSpec] = {
    spec.name: spec for spec in (PRETRAIN, IMPORT, TRAIN_DECODER, PRUNE, REWIND, COMPACT, TRANSFER, EVALUATE)
}
