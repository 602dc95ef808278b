"""`Subject`: one run, read for a page: its recipe, what is done of it, its tables, and its arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.recipe.recipe import Recipe, RecipeStep
from ticketcli.recipe.tables import REPLICATE
from ticketcli.report.effects import Effect
from ticketcli.report.run import Report
from ticketcli.report.survey import Survey
from ticketcli.stage import STAGES
from ticketcli.store.run_folder import Run

Key = tuple[object, ...]


@dataclass(frozen=True)
class Arm:
    """A pruning and its replicates: the steps that differ in nothing but the seed.

    Attributes:
        key: the step of the recipe and the variables but those of the replicates.
        name: in words for people.
        steps: the replicates, by their label.
        number: its place, which decides how it looks in every figure.
    """

    key: Key
    name: str
    steps: Mapping[str, RecipeStep]
    number: int

    @property
    def config(self) -> PruneConfig:
        """The settings, which the replicates share but for the seed."""
        config = next(iter(self.steps.values())).config
        assert isinstance(config, PruneConfig)
        return config

    @property
    def is_control(self) -> bool:
        """Whether it is there to be beaten: weights fall at random, without finetuning, or for other pixels."""
        config = self.config
        return config.criterion == "random" or config.finetune.amount == 0 or config.target == "placebo"


@dataclass(frozen=True)
class Subject:
    """One run.

    Attributes:
        name: what to call it; no two of a page are called alike.
        run: the folder.
        recipe: what it is a run of.
        found: the finished units.
        report: its tables and how they were made.
        about: the recipe's first comment line.
        effects: contrasts that somebody else has computed, by the section's title.
    """

    name: str
    run: Run
    recipe: Recipe
    found: Survey
    report: Report
    about: str = ""
    effects: Mapping[str, Sequence[Effect]] = field(default_factory=dict)

    @cached_property
    def over(self) -> frozenset[str]:
        """The variables that make replicates."""
        return frozenset({REPLICATE, *(name for table in self.report.tables for name in table.over)})

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """The prunings of the recipe, in its order."""
        groups: dict[Key, dict[str, RecipeStep]] = {}
        for step in self.recipe.steps:
            if step.stage == "prune":
                groups.setdefault(self.key(step), {})[self.replicate(step)] = step
        made = [(key, steps, self._name(next(iter(steps.values())))) for key, steps in groups.items()]
        names = [name for _, _, name in made]
        return tuple(
            Arm(key, name if names.count(name) == 1 else f"{name} ({next(iter(steps.values())).group})", steps, number)
            for number, (key, steps, name) in enumerate(made)
        )

    def arm(self, step: RecipeStep) -> Arm | None:
        """The arm that a pruning belongs to."""
        key = self.key(step)
        return next((arm for arm in self.arms if arm.key == key), None)

    def key(self, step: RecipeStep) -> Key:
        """What replicates have in common."""
        return (step.group, *((name, label) for name, label in step.variables.items() if name not in self.over))

    def replicate(self, step: RecipeStep) -> str:
        """The labels that tell a step from its replicates: ``0``; the seed where there are none."""
        labels = [str(label) for name, label in step.variables.items() if name in self.over]
        return ", ".join(labels) or str(step.config.seed)

    @cached_property
    def labels(self) -> dict[str, str]:
        """The words of all tables for the values of their rows."""
        return {value: words for table in self.report.tables for value, words in table.config.labels.items()}

    def _name(self, step: RecipeStep) -> str:
        """The words that the tables have for its last output, else its own name."""
        output = STAGES[step.stage].default_output(step.config)
        others = [str(label) for name, label in step.variables.items() if name not in self.over]
        for word in (f"{step.group}/{output}", f"{step.group}/healed", step.group):
            if word in self.labels and not others:
                return self.labels[word]
        family = [words for value, words in self.labels.items() if value.partition("/")[0] == step.group]
        if len(family) == 1 and not others:
            return family[0]
        return ", ".join([step.group, *(self.labels.get(other, other) for other in others)])

    def pruning_behind(self, step: RecipeStep) -> tuple[RecipeStep, str] | None:
        """The pruning whose ticket a step takes, through transfers and rewinds, and which output; None if dense."""
        output = ""
        while step.stage != "prune":
            ref = step.refs.get("ticket") or step.refs.get("of")
            if ref is None or not ref.step:
                return None
            step, output = self.recipe[ref.step], ref.output
        return step, output or STAGES[step.stage].default_output(step.config)

    def facts(self, n: str = "", interval: str = "", seeds: str = "") -> tuple[tuple[str, str], ...]:
        """How a figure was made, for its caption; of all seeds, where it does not say which."""
        made = self.report.provenance
        found = [("Command", made.command), ("Seeds", seeds or made.seed_words()), ("n", n), ("Interval", interval)]
        return tuple((name, text) for name, text in found if text)


def counted(numbers: Sequence[int]) -> str:
    """`2`, or `1 to 3` where points have different numbers of replicates."""
    some = sorted({number for number in numbers if number})
    if not some:
        return "0"
    return str(some[0]) if len(some) == 1 else f"{some[0]} to {some[-1]}"


def interval_words(numbers: Sequence[int]) -> str:
    """What the bars are; none of one replicate."""
    if max(numbers, default=0) < 2:
        return "none: one replicate has no interval"
    return "95 %, Student's t, each point on its own; faint dots are the replicates"
