"""`Cells`: the results that a contrast combines, by replicate and by the name that recipes call them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ticketcli.errors import TicketError
from ticketcli.recipe.contrasts import MASKS, ContrastConfig, between, label_of
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.recipe.recipe import Recipe, RecipeStep
from ticketcli.report.observations import observe
from ticketcli.report.survey import Survey
from ticketcli.store.codec import read_mask

Replicate = tuple[tuple[str, str], ...]  # the variables that make it, with their values as recipes write them


@dataclass(frozen=True)
class Cell:
    """One result: the run that it is of, and its value or its mask file."""

    run: str
    value: float | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class Cells:
    """What is known of a contrast.

    Attributes:
        planned: every replicate of the recipe, finished or not, in its order.
        names: every cell that a replicate will have, in order; of prunings the rounds that lose weights.
        known: replicate -> cell -> result.
    """

    planned: tuple[Replicate, ...]
    names: tuple[str, ...]
    known: Mapping[Replicate, Mapping[str, Cell]]


def cells_of(config: ContrastConfig, recipe: Recipe, found: Survey) -> Cells:
    """Gather the results of the steps that a contrast is of.

    A step that does not depend on a variable of `over` belongs to every replicate.
    """
    steps = [step for group in config.of for step in recipe.instances[group]]
    axes = {
        name: tuple(dict.fromkeys(str(step.variables[name]) for step in steps if name in step.variables))
        for name in config.over
    }
    axes = {name: values for name, values in axes.items() if values}
    planned = tuple(tuple(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))
    known: dict[Replicate, dict[str, Cell]] = {replicate: {} for replicate in planned}
    names: dict[str, None] = {}
    for step in steps:
        label = label_of(step.group, step.variables, config.over, prunes=step.stage == "prune")
        read = _masks if config.metric == MASKS else _measured
        made = read(step, label, config.metric, recipe, found)
        names |= dict.fromkeys([label] if step.stage != "prune" else _rounds(step, label))
        for replicate in planned:
            if all(str(step.variables.get(name, value)) == value for name, value in replicate):
                known[replicate] |= made
    return Cells(planned, tuple(names), known)


def _rounds(step: RecipeStep, label: str) -> list[str]:
    config = step.config
    assert isinstance(config, PruneConfig)
    return [f"{label}/gmp"] if config.schedule == "gmp" else [f"{label}/{n + 1}" for n in range(config.n_rounds)]


def _measured(step: RecipeStep, label: str, metric: str, recipe: Recipe, found: Survey) -> dict[str, Cell]:
    return {
        label if step.stage != "prune" else f"{label}/{one.point}": Cell(one.real, one.metrics[metric])
        for one in observe(step, recipe, found)
        if metric in one.metrics
    }


def _masks(step: RecipeStep, label: str, _metric: str, recipe: Recipe, found: Survey) -> dict[str, Cell]:
    """The mask file of each round that a pruning has finished."""
    real = recipe.real(step.name)
    folder = found.run.step_folder(real)
    return {
        f"{label}/{artifact.name}": Cell(real, mask=artifact.files["mask"].locate(folder))
        for unit in found.units.get(real, {}).values()
        for artifact in unit.outputs
        if "mask" in artifact.files and artifact.name.isdigit()
    }


def value_of(cell: str, known: Mapping[str, Cell]) -> float | None:
    """The value of a cell, or the distance of a pair of masks; None where it is not there."""
    there = [known[part] for part in between(cell) if part in known]
    if len(there) != len(between(cell)):
        return None
    if len(there) == 1:
        return there[0].value
    try:
        first, second = (read_mask(one.mask)[0] for one in there if one.mask is not None)
    except TicketError:  # a copy of the manifests alone has no masks; verify is the place to complain
        return None
    return 1 - first.overlap(second)


def runs_of(cells: Sequence[str], known: Mapping[str, Cell]) -> set[str]:
    """The runs behind cells."""
    return {known[part].run for cell in cells for part in between(cell)}
