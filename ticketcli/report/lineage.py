"""Where an output comes from: the steps that made it, back to the dense network; and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ticketcli.errors import TicketError
from ticketcli.recipe.recipe import is_file_reference
from ticketcli.store.manifest import Artifact, Manifest, UnitRecord
from ticketcli.store.run_folder import Run

BACK: Mapping[str, str] = {
    "transfer": "ticket",
    "rewind": "ticket",
    "compact": "ticket",
    "prune": "encoder",
}  # stage -> its source's role


@dataclass(frozen=True)
class Maker:
    """A step of the lineage: its manifest, and the unit that made the output in question where that is known."""

    manifest: Manifest
    unit: UnitRecord | None

    @property
    def config(self) -> dict[str, Any]:
        """The step's settings."""
        return self.manifest.config


def lineage(run: Run, step: str, output: str) -> tuple[Maker, ...]:
    """The steps that an output comes from, the last one first; it ends where a file or a lost step stands."""
    found: list[Maker] = []
    seen: set[str] = set()
    while step and step not in seen:
        seen.add(step)
        try:
            manifest = run.manifest(step)
        except TicketError:
            break
        if manifest is None:
            break
        found.append(Maker(manifest, _unit_of(manifest, output)))
        ref = str(manifest.inputs.get("refs", {}).get(BACK.get(manifest.stage, ""), ""))
        if not ref or is_file_reference(ref):
            break
        step, _, output = ref.partition("/")
    return tuple(found)


def _unit_of(manifest: Manifest, output: str) -> UnitRecord | None:
    """The unit that made an output; of a step's bare name, its last."""
    units = list(manifest.units.values())
    named = (unit for unit in units if any(one.name == output for one in unit.outputs))
    return next(named, units[-1] if units and not output else None)


def evaluations(run: Run, artifact: Artifact) -> tuple[Manifest, ...]:
    """The finished evaluations in a run that were of exactly this output."""
    found = []
    for name in run.steps():
        try:
            manifest = run.manifest(name)
        except TicketError:
            continue
        if manifest is None or manifest.stage != "evaluate" or manifest.status != "done":
            continue
        if manifest.inputs.get("identities", {}).get("of") == artifact.identity:
            found.append(manifest)
    return tuple(found)


def run_of(path: Path) -> tuple[Run, str]:
    """The run folder and the step that a file of one lies in, as its place says."""
    return Run(path.parent.parent), path.parent.name
