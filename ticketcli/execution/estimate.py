"""What a run will take: every kind of step that is left is really run, cut to a few training steps and measured images.

Nothing is written. What a cut step makes is what the steps after it take in, so that shapes, memory and the time of a
training step are real; only their number is calculated.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from ticketcli.canon import canonical
from ticketcli.data.images import Splits
from ticketcli.events import Pause, Progress
from ticketcli.execution.exchange import load_input
from ticketcli.execution.machine import peak_gpu_memory, peak_memory, pick_device, settled
from ticketcli.execution.orders import Options
from ticketcli.inputs import all_refs
from ticketcli.plan import Step
from ticketcli.recipe.computing import StageConfig
from ticketcli.recipe.configs import ImportConfig, PretrainConfig, Training
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.recipe.recipe import RecipeStep
from ticketcli.recipe.transfer_config import TransferConfig
from ticketcli.stages.evaluate_localization import LOOKING
from ticketcli.stages.job import Job, data_of, runner_of, splits_of
from ticketcli.stages.sought import sought
from ticketcli.store.codec import pack
from ticketcli.store.run_folder import FOREIGN, adopt
from ticketcli.training.yields import Loaded, Output, Produced
from ticketcli.units import Duration

_WARM, _TIMED = 2, 5  # training steps
_SAMPLE = 64  # images of each part that are measured
_STATES = 2  # generations of a step's saved state
_SLOTS = {"sgd": 1, "adamw": 2}  # copies of the weights that the optimiser keeps
_HEADER = 16_384  # bytes of names and manifest beside the values


@dataclass(frozen=True)
class Cost:
    """What one step will take.

    Attributes:
        seconds: all of it.
        n_steps: optimiser steps.
        step_seconds: the median of the timed ones; None where nothing is trained.
        disk: bytes that stay.
        saved: bytes of saved states while it runs.
    """

    seconds: float = 0.0
    n_steps: int = 0
    step_seconds: float | None = None
    disk: int = 0
    saved: int = 0


@dataclass(frozen=True)
class Estimate:
    """The cost of every step by name, nothing for fresh ones; and the peak memory of measuring, in bytes."""

    steps: Mapping[str, Cost]
    memory: int
    gpu_memory: int | None

    @property
    def seconds(self) -> float:
        """Of all steps, one after the other."""
        return sum(cost.seconds for cost in self.steps.values())

    @property
    def disk(self) -> int:
        """Bytes: all that stays, and the largest saved state."""
        return sum(cost.disk for cost in self.steps.values()) + max((c.saved for c in self.steps.values()), default=0)


def estimate(steps: Sequence[Step], options: Options) -> Estimate:
    """Measure each kind of step that is left to do, and those that it needs, once; inputs come first in `steps`.

    Raises:
        InputMissing: a file or an image set is not there.
    """
    measured = _Measurements(options)
    costs = {step.name: measured.cost(step) for step in steps}
    return Estimate(costs, peak_memory(), peak_gpu_memory(measured.device))


@dataclass(frozen=True)
class _Cut:
    """What a cut step made, its bytes on disk (`files`: of findings and pictures), and the seconds of its parts.

    `measuring` grows with the images that are measured on, `looking` with those that objects are looked for on;
    `solving`, of a criterion by layer, does not.
    """

    outputs: Mapping[str, Loaded]
    disk: int
    files: int
    setup: float
    step: float | None
    measuring: float
    solving: float = 0.0
    looking: float = 0.0


class _Measurements:
    """The cut steps so far, by kind of work: seeds of one recipe share theirs, and what nothing asks for is not run."""

    def __init__(self, options: Options) -> None:
        self.options, self.device = options, pick_device(options.device)
        self.cuts: dict[str, _Cut] = {}
        self.of_step: dict[str, str] = {}  # step -> its kind of work
        self.steps: dict[str, RecipeStep] = {}  # so far, by name
        self.first: dict[str, Step] = {}  # kind of work -> a step of it

    def cost(self, step: Step) -> Cost:
        """What a step will take; what is fresh costs nothing."""
        config = step.recipe.config
        refs = all_refs(step.recipe, self.steps.get)
        sources = {role: self.of_step.get(ref.step, str(ref)) for role, ref in refs.items()}
        settings = {key: value for key, value in config.resolved().items() if key not in ("seed", *step.recipe.refs)}
        kind = canonical([step.spec.name, settings, sources])
        self.of_step[step.name], self.steps[step.name] = kind, step.recipe
        self.first.setdefault(kind, step)
        return Cost() if step.state == "fresh" else self._calculate(step, self._cut(kind))

    def _cut(self, kind: str) -> _Cut:
        """A step of the kind, run and cut short, after those whose outputs it takes."""
        if kind not in self.cuts:
            self.cuts[kind] = self._run(self.first[kind])
        return self.cuts[kind]

    def _job(self, step: Step, config: StageConfig, sample: int | None) -> Job[Any]:
        inputs = {}
        for role, ref in all_refs(step.recipe, self.steps.get).items():
            if ref.path is not None:
                foreign = FOREIGN in step.spec.config.references()[role].kinds
                inputs[role] = load_input(str(ref), adopt(ref.path, foreign=foreign))
            elif not step.spec.config.references()[role].series:  # the count of a layer changes no time
                made = self._cut(self.of_step[ref.step]).outputs
                inputs[role] = made.get(ref.output) or next(iter(made.values()))
        units = step.spec.units(config)
        return Job(
            settled(config, self.device), inputs, {}, units, None, None, self.device, self.options.sources, sample
        )

    def _run(self, step: Step) -> _Cut:
        job = self._job(step, _cut_short(step.recipe.config), _SAMPLE)
        outputs: dict[str, Loaded] = {}
        disk = files = 0
        started = time.perf_counter()
        times, solved, measured = [started], list[float](), started
        with closing(runner_of(step.spec)(job)) as events:
            for event in events:
                if isinstance(event, Progress):  # a step of training, or of a criterion; pauses are of measurements
                    (times if event.batch else solved).append(time.perf_counter())
                elif isinstance(event, Pause) and event.what != LOOKING:
                    measured = time.perf_counter()
                elif isinstance(event, Produced):
                    outputs |= {output.name: _loaded(output, job) for output in event.outputs}
                    disk += sum(map(_bytes, event.outputs))
                    files += sum(len(content) for output in event.outputs for content in output.files.values())
        ended = time.perf_counter()
        solving = solved[-1] - solved[0] if solved else 0.0
        if len(times) == 1:
            looking = ended - measured if getattr(job.config, "localize", None) else 0.0
            return _Cut(outputs, disk, files, 0.0, None, ended - started - solving - looking, solving, looking)
        gaps = [after - before for before, after in pairwise(times[1 + _WARM :])]
        return _Cut(
            outputs, disk, files, times[1] - started, statistics.median(gaps), ended - times[-1] - solving, solving
        )

    def _calculate(self, step: Step, cut: _Cut) -> Cost:
        config, n_units = step.recipe.config, len(step.todo)
        if not hasattr(config, "data") or isinstance(config, ImportConfig):
            return Cost(cut.setup + cut.measuring, disk=cut.disk)
        job = self._job(step, config, None)
        images = _images_of(job, cut)
        transfers = isinstance(config, TransferConfig)
        parts = ["validation", "test"] if transfers else [getattr(config, "split", "validation")]
        n_images = sum(len(getattr(images, part).labels) for part in parts)
        n_sampled = sum(min(_SAMPLE, len(getattr(images, part).labels)) for part in parts)
        solving = cut.solving * _longer(config, len(images.train.labels))
        looking = cut.looking * more_to_look_at(job, self._job(step, config, _SAMPLE)) if cut.looking else 0.0
        seconds = cut.setup + looking + n_units * (solving + cut.measuring * n_images / max(1, n_sampled))
        if not isinstance(config, Training) or cut.step is None:
            more = 1 if cut.looking else n_images / max(1, n_sampled)  # pictures of maps are as many as were asked for
            return Cost(seconds, disk=cut.disk + round(cut.files * more))
        n_train = len(images.train.labels)
        n_steps = sum(length.iterations(max(1, n_train // min(config.batch, n_train))) for length in _lengths(step))
        weights = max(map(_weights, cut.outputs.values()))
        saved = _STATES * (1 + _SLOTS[config.optimizer]) * weights
        n_written = len(config.keep) + 1 if isinstance(config, PretrainConfig) else n_units
        disk = n_written * cut.disk
        if isinstance(config, PruneConfig) and not config.goes_on and any(unit.series is None for unit in step.todo):
            disk += weights  # rewound rounds cost their masks, the healed ticket has weights of its own
        return Cost(seconds + n_steps * cut.step, n_steps, cut.step, disk, saved)


def more_to_look_at(job: Job[Any], sampled: Job[Any]) -> float:
    """How many times as many images objects are looked for on as on those of the sample."""
    all_of_it, few = (sought(one, one.config.localize, one.inputs["of"].about).parts for one in (job, sampled))
    return sum(len(part.pictures) for part in all_of_it) / sum(len(part.pictures) for part in few)


def _cut_short(config: StageConfig) -> StageConfig:
    """The same work, with one round and as many training steps as are timed."""
    few = Duration(_WARM + _TIMED + 1, "it")
    if isinstance(config, PruneConfig):
        short: dict[str, Any] = {"finetune": few, "first_finetune": True, "rounds": 1, "heal": Duration(0, "it"),
                                 "recalibrate_bn": min(config.recalibrate_bn, _SAMPLE), "like": "",
                                 "to_sparsity": None if config.schedule == "lth" else config.to_sparsity,
                                 "selection": few, "knockoff_steps": int(few.amount)}  # fmt: skip
        return config.model_copy(update=short)
    if isinstance(config, PretrainConfig):
        return config.model_copy(update={"epochs": few, "keep": ()})
    if isinstance(config, Training):
        return config.model_copy(update={"epochs": few})
    return config


def _longer(config: StageConfig, n_train: int) -> float:
    """How many times as many steps SCOP's selection has, its controls' training included, as the cut one."""
    if not isinstance(config, PruneConfig) or not config.takes_controls:
        return 1.0
    per_epoch, few = max(1, n_train // min(config.batch, n_train)), _WARM + _TIMED + 1
    steps = config.selection.iterations(per_epoch) + config.trains_knockoffs * config.knockoff_steps
    return steps / (few * (1 + config.trains_knockoffs))


def _lengths(step: Step) -> Iterator[Duration]:
    """The trainings that are left to do."""
    config = step.recipe.config
    if not isinstance(config, PruneConfig):
        yield getattr(config, "epochs", Duration(0, "it"))
        return
    for unit in step.todo:
        first = unit.series == "1" and not config.first_finetune
        if unit.series is not None:
            yield Duration(0, "it") if first else config.finetune
        else:
            yield config.healing
            if config.schedule == "gmp":
                yield from [config.finetune] * (config.rounds - (not config.first_finetune))


def _images_of(job: Job[Any], cut: _Cut) -> Splits:
    """The images that a step works on, at the size that it works at."""
    about = [item.about for item in (*job.inputs.values(), *cut.outputs.values())]
    size = next(int(one["image_size"]) for one in reversed(about) if "image_size" in one)
    source = next((one for one in about if one.get("data")), {})
    return splits_of(job, data_of(job.config.data, source), size, outlined=True)


def _loaded(output: Output, job: Job[Any]) -> Loaded:
    values = job.inputs[output.values].values if isinstance(output.values, str) else output.values
    return Loaded(output.name, output.kind, output.about, values, output.mask)


def _weights(item: Loaded) -> int:
    return sum(value.nbytes for value in item.values.values() if isinstance(value, torch.Tensor))


def _bytes(output: Output) -> int:
    """What an output takes on disk; values that another step's file holds take nothing."""
    mask = sum(bits.nbytes for bits in pack(output.mask).values()) if output.mask is not None else 0
    values = {} if isinstance(output.values, str) else output.values
    return sum(value.nbytes for value in values.values() if isinstance(value, torch.Tensor)) + mask + _HEADER
