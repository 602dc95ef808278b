"""`Profile`: what a site wants to be told, and how `ticket` is started there; strict keys, all of them optional."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ticketcli.errors import InputMissing, UsageError, UsageErrors, did_you_mean
from ticketcli.recipe.config import Config
from ticketcli.recipe.strict_yaml import load_yaml
from ticketcli.stage import STAGES

_CLOCK = re.compile(r"(?:\d+-)?\d{1,2}:\d{2}:\d{2}")
_SPAN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?:in)?)?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def clock(value: object) -> str:
    """A wall time as SLURM writes it, ``D-HH:MM:SS``, from ``90m``, ``12h``, ``1d12h`` or SLURM's own form.

    Numbers are refused: YAML reads a bare ``12:00:00`` as 43200, and SLURM a bare number as minutes.

    Raises:
        ValueError: none of these.
    """
    hint = "write 90m, 12h, 1d12h, or '12:00:00' in quotes"
    if not isinstance(value, str):
        raise ValueError(f"no wall time; {hint}")
    if _CLOCK.fullmatch(value):
        return value
    span = _SPAN.fullmatch(value)
    minutes = sum(int(part or 0) * size for part, size in zip(span.groups(), (1440, 60, 1), strict=True)) if span else 0
    if not minutes:
        raise ValueError(f"no wall time; {hint}")
    days, rest = divmod(minutes, 1440)
    return f"{days}-{rest // 60:02d}:{rest % 60:02d}:00" if days else f"{rest // 60:02d}:{rest % 60:02d}:00"


def _word(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"[^\s'\"\\`$;#]+", value):
        raise ValueError("no single word; it stands in an #SBATCH line, without blanks, quotes and $")
    return value


def _memory(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"\d+[KMGT]", value):
        raise ValueError("no memory; write 32G or 500M")
    return value


def _gpus(value: object) -> object:
    good = isinstance(value, str) and re.fullmatch(r"[\w.-]+:\d+", value)
    if isinstance(value, bool) or not (good or (isinstance(value, int) and value >= 0)):
        raise ValueError("no number of GPUs; write 1, 0, or a type and a number such as a100:1")
    return value


def _options(value: object) -> object:
    options = tuple(value) if isinstance(value, list) else value
    if isinstance(options, tuple):
        for option in options:
            if not isinstance(option, str) or not option.startswith("--") or "\n" in option:
                raise ValueError("no option of sbatch; write each whole, such as --mail-type=FAIL")
    return options


def _environment(value: object) -> object:
    for name, text in value.items() if isinstance(value, dict) else ():
        if not _NAME.fullmatch(str(name)) or isinstance(text, bool) or not isinstance(text, str | int | float):
            raise ValueError(f"{name!r} is no name with a text or a number; quote true, false and lists")
    return {str(name): str(text) for name, text in value.items()} if isinstance(value, dict) else value


Word = Annotated[str, BeforeValidator(_word)]
Words = Annotated[tuple[str, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)]


class Resources(Config):
    """What a job asks for. Absent: as the profile says for all stages, or as the site does."""

    account: Word | None = Field(None, description="who is billed")
    partition: Word | None = Field(None, description="where the jobs run")
    qos: Word | None = Field(None, description="quality of service")
    constraint: Word | None = Field(None, description="features that a node must have")
    time: Annotated[str, BeforeValidator(clock)] | None = Field(None, description="wall time, such as 4h")
    gpus: Annotated[int | str, BeforeValidator(_gpus)] | None = Field(None, description="GPUs of a node; 0 for none")
    cpus: int | None = Field(None, ge=1, description="CPU cores of a node")
    mem: Annotated[str, BeforeValidator(_memory)] | None = Field(None, description="memory of a node, such as 32G")
    nodes: int | None = Field(None, ge=1, description="nodes of a job, for stages that can be shared")
    nproc: int | None = Field(None, ge=1, description="processes of a node that share a stage; absent, one a GPU")
    sbatch: Annotated[tuple[str, ...], BeforeValidator(_options)] = Field((), description="further options of sbatch")

    @property
    def n_gpus(self) -> int:
        """How many GPUs a job has, of whatever type."""
        return int(str(self.gpus or 0).rpartition(":")[2])

    @property
    def n_processes(self) -> int:
        """How many processes share the work on each node."""
        return self.nproc or max(1, self.n_gpus)

    @property
    def n_nodes(self) -> int:
        """How many nodes share the work."""
        return self.nodes or 1


_LONE = {"nodes": 1, "nproc": 1}
_DEFAULTS: dict[str, Any] = {"time": "04:00:00", "gpus": 1, "cpus": 4}


class Profile(Resources):
    """A site, and how `ticket` is started there."""

    stages: dict[str, Resources] = Field({}, description="what the jobs of a stage ask for instead")
    modules: Annotated[tuple[Word, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)] = Field(
        (), description="loaded with 'module load'"
    )
    setup: str = Field("", description="shell lines before the work, such as: source ~/venv/bin/activate")
    environment: Annotated[dict[str, str], BeforeValidator(_environment)] = Field(
        {}, description="variables to export; $NAMES in them are filled in on the node"
    )
    command: str = Field("", description="how ticket is started, such as: apptainer exec --nv ticket.sif ticket")
    srun: str = Field("", description="further options of srun, such as those of a container")
    arguments: Words = Field((), description="further flags of every 'ticket run', such as [--workers, '8']")
    at_once: int | None = Field(None, ge=1, description="tasks of an array that may run at once")
    warning: int = Field(120, ge=10, le=65535, description="seconds before the end of the wall time to save in")
    restarts: int = Field(50, ge=0, description="how often a job may be continued after its wall time")

    def of(self, stage: str) -> Resources:
        """What the jobs of a stage ask for."""
        common = {key: getattr(self, key) for key in Resources.model_fields}
        own = self.stages.get(stage, Resources())
        said = {key: value for key, value in own if value is not None and key in own.model_fields_set}
        lone = {} if STAGES[stage].is_shared else _LONE
        return Resources.model_construct(**_DEFAULTS | {k: v for k, v in common.items() if v is not None} | said | lone)


def load_profile(path: Path | None) -> Profile:
    """Read a profile; the defaults where there is none.

    Raises:
        InputMissing: no such file.
        UsageErrors: unknown keys and bad values, all of them.
    """
    if path is None:
        return Profile()
    if not path.is_file():
        raise InputMissing("no such profile", where=str(path), hint="README, Clusters, shows one")
    raw = load_yaml(path.read_text(), where=str(path))
    if not isinstance(raw, dict):
        raise UsageError("a profile is a mapping", where=str(path), hint="a key a line, such as partition: gpu")
    stages = raw.get("stages")
    if "stages" in raw and not isinstance(stages, dict):
        what = "stages is no mapping from a stage to what it asks for"
        raise UsageError(what, where=f"{path}.stages", hint="stages: {transfer: {time: 8h}}")
    unknown = [
        UsageError(f"unknown stage '{name}'", where=f"{path}.stages.{name}", hint=did_you_mean(str(name), STAGES))
        for name in stages or {}
        if name not in STAGES
    ]
    try:
        profile = Profile.parse(raw, where=str(path))
    except UsageErrors as errors:
        raise UsageErrors([*unknown, *errors.errors]) from None
    if unknown:
        raise UsageErrors(unknown)
    return profile
