"""What a run folder holds of a recipe: finished units that belong to the recipe as it stands, and what is lacking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ticketcli.errors import CorruptError, TicketError
from ticketcli.plan import Step, plan_step
from ticketcli.recipe.recipe import Recipe
from ticketcli.stage import STAGES
from ticketcli.store.manifest import Artifact, Manifest, UnitRecord
from ticketcli.store.run_folder import Run

Units = Mapping[str, UnitRecord]


@dataclass(frozen=True)
class Survey:
    """Finished units by step, and words about the steps that lack some; all from manifests, so that these suffice.

    Attributes:
        run: the folder.
        units: step -> name -> unit, of those that are what the recipe asks for.
        lacking: step -> why not all of its units are there.
        notes: what else a reader has to know: versions, steps that could not be checked.
    """

    run: Run
    units: Mapping[str, Units]
    lacking: Mapping[str, str]
    notes: tuple[str, ...]

    def manifest(self, step: str) -> Manifest | None:
        """A step's manifest, if any of its units counts."""
        return self.run.manifest(step) if self.units.get(step) else None

    def artifact(self, step: str, output: str) -> tuple[Artifact, UnitRecord, str] | None:
        """An output, the unit that made it, and that unit's name."""
        for name, unit in self.units.get(step, {}).items():
            for artifact in unit.outputs:
                if artifact.name == output:
                    return artifact, unit, name
        return None


def survey(recipe: Recipe, run: Run) -> Survey:
    """See which units of the recipe's steps are done. A stale step counts for nothing, and is told."""
    plans: dict[str, Step] = {}
    units: dict[str, Units] = {}
    lacking: dict[str, str] = {}
    notes: list[str] = []
    for step in recipe.steps:
        try:
            manifest = run.manifest(step.name)
        except CorruptError as error:
            lacking[step.name] = error.what
            continue
        try:
            plan = plans[step.name] = plan_step(step, run, plans.get, as_recorded=True)
        except TicketError as error:  # such as weights from elsewhere that are gone: the manifest is all there is
            units[step.name] = dict(manifest.units) if manifest else {}
            if manifest:
                notes.append(f"{step.name} is shown as recorded, and was not compared with the recipe: {error.what}.")
            else:
                lacking[step.name] = error.what
            continue
        units[step.name] = {unit.name: manifest.units[unit.name] for unit in plan.done} if manifest else {}
        if plan.todo:
            lacking[step.name] = f"{plan.state}, {plan.why}"
    notes += _versions(recipe, run, units)
    return Survey(run, units, lacking, tuple(notes))


def _versions(recipe: Recipe, run: Run, units: Mapping[str, Units]) -> list[str]:
    found: dict[tuple[str, int], None] = {}
    for step in recipe.steps:
        manifest = run.manifest(step.name) if units.get(step.name) else None
        if manifest is not None and manifest.stage_version != STAGES[step.stage].version:
            found[step.stage, manifest.stage_version] = None
    return [
        f"Made by version {version} of stage {stage}; the present one, {STAGES[stage].version}, computes otherwise."
        for stage, version in found
    ]


def flat(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Every number among the metrics, by its dotted name."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[f"{prefix}{name}"] = value
    return found
