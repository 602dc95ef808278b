"""What was measured: one observation for each transferred or evaluated network, or for each round of a pruning."""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ticketcli.recipe.for_each import Variables
from ticketcli.recipe.recipe import Recipe, RecipeStep, Ref
from ticketcli.report.survey import Survey, Units, flat
from ticketcli.stage import STAGES
from ticketcli.store.manifest import Artifact

UNIT = {"transfer": "task", "evaluate": "metrics"}
_ROUND, _HEALED = re.compile(r"round-(\d+)"), re.compile(r"healed-(\d+)")
_SAME = 5e-5  # sparsities this close are one in a table of two digits after the point, in %
Point = int | float | str


@dataclass(frozen=True)
class Observation:
    """One replicate of one row.

    Attributes:
        step: the step as the recipe calls it.
        real: the step that was run; another one where `step` equals it.
        variables: the for_each labels of the step.
        metrics: every number measured, by its dotted name; `sparsity`, `network_sparsity`, `bytes`, and of the ticket
            behind it `ticket.psnr` and `ticket.gradient_ratio`.
        point: of a pruning: the round's number, or the unit's name where it is no round; 0 is the dense network,
            finetuned; for an interpolated value the sparsity.
        interpolated: not measured, but computed from the two rounds around it.
        mask: the ticket's mask file.
    """

    step: str
    real: str
    variables: Variables
    metrics: Mapping[str, float]
    point: Point = ""
    interpolated: bool = False
    mask: Path | None = None


def observe(step: RecipeStep, recipe: Recipe, found: Survey, at: Sequence[float] = ()) -> list[Observation]:
    """All observations that a step has made so far; none where it has not come so far."""
    real = recipe.real(step.name)
    units = found.units.get(real, {})
    if step.stage == "prune":
        rounds = [
            Observation(step.name, real, step.variables, metrics | _own_size(point, found, real), point)
            for point, metrics in prune_points(units).items()
        ]
        return [one for sparsity in at if (one := interpolate(rounds, sparsity))] if at else rounds
    unit = units.get(UNIT[step.stage])
    if unit is None:
        return []
    metrics = {"sparsity": 0.0, "network_sparsity": 0.0, **_numbers(unit.metrics)}  # a dense network records none
    behind, mask = _behind(recipe[step.name].refs["ticket" if step.stage == "transfer" else "of"], recipe, found)
    return [Observation(step.name, real, step.variables, metrics | behind, mask=mask)]


def _numbers(metrics: Mapping[str, object]) -> dict[str, float]:
    return {name: value for name, value in flat(metrics).items() if name != "metrics_end"}


def prune_points(units: Units) -> dict[Point, dict[str, float]]:
    """What is known of the mask of each round, under ``unhealed.*`` and ``healed.*``.

    A round's unit measures first the mask of the round before, finetuned (``healed_before``), then its own, unhealed;
    so what healing made of a round's mask stands in the unit after it. A unit that is no round, such as a gradual
    pruning's, heals its own.
    """
    own: dict[int, Mapping[str, object]] = {}
    healed: dict[int, object] = {}
    others: dict[Point, dict[str, float]] = {}
    for name, unit in units.items():
        if match := _ROUND.fullmatch(name):
            number = int(match[1])
            own[number] = {key: value for key, value in unit.metrics.items() if key != "healed_before"}
            healed.setdefault(number - 1, unit.metrics.get("healed_before"))
        elif match := _HEALED.fullmatch(name):
            healed[int(match[1])] = unit.metrics.get("healed_before")
        elif "sparsity" in unit.metrics:
            rest = {key: value for key, value in unit.metrics.items() if key != "healed_before"}
            others[name] = _numbers({**rest, "healed": unit.metrics.get("healed_before")})
    points: dict[Point, dict[str, float]] = {}
    if healed.get(0):
        points[0] = _numbers({"sparsity": 0.0, "network_sparsity": 0.0, "healed": healed[0]})
    for number in sorted(own):
        points[number] = _numbers({**own[number], "healed": healed.get(number)})
    return points | others


def interpolate(rounds: Sequence[Observation], sparsity: float) -> Observation | None:
    """The values at a sparsity, linear in it between the two rounds around it; None outside of what was pruned.

    A round at just this sparsity is taken as it is.
    """
    curve = sorted((one for one in rounds if "sparsity" in one.metrics), key=lambda one: one.metrics["sparsity"])
    for one in curve:
        if abs(one.metrics["sparsity"] - sparsity) <= _SAME:
            return Observation(one.step, one.real, one.variables, one.metrics, sparsity)
    for before, after in itertools.pairwise(curve):
        low, high = before.metrics["sparsity"], after.metrics["sparsity"]
        if low < sparsity < high:
            share = (sparsity - low) / (high - low)
            metrics = {
                name: value + share * (after.metrics[name] - value)
                for name, value in before.metrics.items()
                if name in after.metrics
            }
            return Observation(before.step, before.real, before.variables, metrics, sparsity, interpolated=True)
    return None


def _own_size(point: Point, found: Survey, real: str) -> dict[str, float]:
    made = found.artifact(real, "healed" if isinstance(point, str) else str(point))
    return {"bytes": _size(made[0])} if made else {}


def _size(artifact: Artifact) -> int:
    """Bytes of the files that are the artifact's own; values that are another checkpoint's cost nothing."""
    return sum(file.size for file in artifact.files.values() if "/" not in file.path)


def _behind(ref: Ref, recipe: Recipe, found: Survey) -> tuple[dict[str, float], Path | None]:
    """Of what was transferred or evaluated: its size, its healed PSNR, its gradient ratio, and its mask."""
    manifest = found.manifest(ref.step) if ref.step else None
    if manifest is None:
        return {}, None
    producer = recipe[ref.step]
    made = found.artifact(ref.step, ref.output or STAGES[producer.stage].default_output(producer.config))
    if made is None:
        return {}, None
    artifact, _, unit = made
    metrics: dict[str, float] = {"bytes": _size(artifact)}
    if producer.stage == "prune":
        metrics |= _pruned(found.units[ref.step], unit)
    elif producer.stage in ("pretrain", "import"):
        metrics |= _rebuilt(ref.step, recipe, found)
    mask = artifact.files.get("mask")
    return metrics, None if mask is None else mask.locate(found.run.step_folder(ref.step))


def _pruned(units: Units, unit: str) -> dict[str, float]:
    match = _ROUND.fullmatch(unit) or _HEALED.fullmatch(unit)
    point: Point = int(match[1]) if match else unit
    points = prune_points(units)
    metrics = {}
    if "healed.psnr" in points.get(point, {}):
        metrics["ticket.psnr"] = points[point]["healed.psnr"]
    so_far = [other for other in points if isinstance(other, int) and isinstance(point, int) and other <= point]
    ratios = [points[other].get("gradient_ratio") for other in so_far or points]
    known = [ratio for ratio in ratios if ratio is not None]
    if known:
        metrics["ticket.gradient_ratio"] = statistics.fmean(known)
    return metrics


def _rebuilt(encoder: str, recipe: Recipe, found: Survey) -> dict[str, float]:
    """The PSNR of the decoder of a dense network, where it has just one."""
    decoders = [
        step.name for step in recipe.steps
        if step.stage == "train-decoder" and step.refs["encoder"].step == encoder
    ]  # fmt: skip
    unit = found.units.get(decoders[0], {}).get("decoder") if len(decoders) == 1 else None
    psnr = flat(unit.metrics).get("validation.psnr") if unit else None
    return {} if psnr is None else {"ticket.psnr": psnr}
