"""How a table was made: command, recipe, seeds, versions, machine, time; in words that name no folder and no host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ticketcli.recipe.recipe import Recipe
from ticketcli.report.survey import Survey
from ticketcli.store.manifest import UnitRecord
from ticketcli.units import human_seconds


@dataclass(frozen=True)
class Provenance:
    """What has to be known to make a table again.

    Attributes:
        command: what was typed; "" for a folder that no recipe made.
        recipe: digest of all steps with their settings; words and tables are not in it.
        seeds: that steps are repeated over; of all steps, where none is.
        fixed: those that the repetitions of a step have in common, by step, where they are none of `seeds`.
        versions: of ticketcli and torch.
        machines: the device in general words, with CPU capability and threads.
        seconds: computing, summed over all units.
        days: first and last day on which a unit was finished.
    """

    command: str
    recipe: str
    seeds: tuple[int, ...]
    fixed: dict[str, int]
    versions: tuple[str, ...]
    machines: tuple[str, ...]
    seconds: float
    days: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)

    def seed_words(self) -> str:
        """`2, 3`; or `2, 3 (order: 7)`, where the repetitions of `order` have the seed 7."""
        fixed = "; ".join(f"{step}: {seed}" for step, seed in self.fixed.items())
        return ", ".join(map(str, self.seeds)) + f" ({fixed})" * bool(fixed)

    def facts(self) -> list[tuple[str, str]]:
        """Name and words of all that is known."""
        found = [
            ("command", self.command),
            ("recipe", f"{self.recipe[:12]}, seeds {self.seed_words()}"),
            ("versions", "; ".join(self.versions)),
            ("machine", "; ".join(self.machines)),
            ("made", f"{' to '.join(self.days)}, {human_seconds(self.seconds)} of computing" if self.days else ""),
        ]
        return [(name, words) for name, words in found if words]


def provenance(recipe: Recipe, found: Survey, command: str) -> Provenance:
    """Gather it from the finished units of the recipe's steps."""
    units = [unit for step in recipe.steps for unit in found.units.get(step.name, {}).values()]
    days = sorted({unit.finished[:10] for unit in units})
    return Provenance(
        command,
        recipe.digest,
        *_seeds(recipe),
        _distinct(f"ticketcli {unit.environment.get('ticketcli', '?')}, torch {unit.environment.get('torch', '?')}"
                  for unit in units),
        _distinct(machine_of(unit) for unit in units),
        sum(unit.seconds for unit in units),
        (days[0], days[-1]) if len(days) > 1 else tuple(days),
    )  # fmt: skip


def _seeds(recipe: Recipe) -> tuple[tuple[int, ...], dict[str, int]]:
    """The seeds that repetitions differ in, and by step the others, which its repetitions share."""
    found: dict[str, set[int]] = {}
    for step in recipe.steps:
        found.setdefault(step.group, set()).add(step.config.seed)
    repeated = set().union(*(some for some in found.values() if len(some) > 1))
    if not repeated:
        return tuple(sorted(set().union(*found.values()))), {}
    fixed = {group: min(some) for group, some in found.items() if len(some) == 1 and not some <= repeated}
    return tuple(sorted(repeated)), fixed


def _distinct(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def machine_of(unit: UnitRecord) -> str:
    """Where a unit was computed: the device in general words, CPU capability, threads."""
    known = unit.environment
    threads = known.get("threads", "?")
    processor = f"{known.get('machine', '')} CPU ({known.get('cpu', '')}), {threads} thread{'s' * (threads != 1)}"
    device = str(known.get("device", "cpu"))
    return processor if device.startswith("cpu") else f"{device}, {processor}"
