"""`Recipe`: named steps, each one use of a stage, chained by references and repeated by `for_each`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ticketcli.canon import digest
from ticketcli.errors import InputMissing, UsageError, UsageErrors, did_you_mean
from ticketcli.recipe.computing import StageConfig
from ticketcli.recipe.contrasts import ContrastConfig, check_contrasts, parse_contrasts, parse_replicates
from ticketcli.recipe.for_each import (
    LONGEST_NAME,
    Axis,
    Label,
    Variables,
    check_name,
    combinations,
    label_word,
    parse_axes,
    step_name,
    substitute,
    variables_in,
)
from ticketcli.recipe.overrides import drop, override
from ticketcli.recipe.strict_yaml import load_yaml
from ticketcli.recipe.tables import CONTRASTS, REPLICATES, TableConfig, check_table, parse_tables, where_of

SCHEMA = 1
STEP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_MOST_STEPS = 10_000
_LONGEST_CHAIN = 100  # of steps of which each refers to the next
_TOP = ("schema", "about", "for_each", "defaults", "steps", "report")
_WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".bin", ".tar", ".ckpt", ".th")


@dataclass(frozen=True)
class Ref:
    """What a config field names: a step's output, or a file."""

    step: str = ""
    output: str = ""
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        return f"{self.step}/{self.output}" if self.output else self.step


@dataclass(frozen=True)
class RecipeStep:
    """One use of a stage, fully resolved: its config, its references by role, and the labels of its variables."""

    name: str
    group: str
    stage: str
    config: StageConfig
    refs: Mapping[str, Ref]
    variables: Variables = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """Steps in an order in which each comes after what it refers to.

    `aliases` maps a step that equals an earlier one, and so is not run again, to that step; `instances` maps each step
    of the file to all its repetitions, those that are aliases too; `tables` and `contrasts` are what `report:` asks
    for, and `replicates` with how many, 0 where it does not say.
    """

    steps: tuple[RecipeStep, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    instances: Mapping[str, tuple[RecipeStep, ...]] = field(default_factory=dict)
    tables: Mapping[str, TableConfig] = field(default_factory=dict)
    about: str = ""
    contrasts: Mapping[str, ContrastConfig] = field(default_factory=dict)
    replicates: int = 0

    def __getitem__(self, name: str) -> RecipeStep:
        name = self.real(name)
        return next(step for step in self.steps if step.name == name)

    def real(self, name: str) -> str:
        """The step that is run where `name` is asked for: itself, or the equal one before it."""
        return self.aliases.get(name, name)

    def named(self, word: str) -> tuple[str, ...]:
        """The steps that a word stands for: one by its name, or all repetitions of a step of the file.

        Raises:
            UsageError: there is no such step.
        """
        if word in self.instances:
            return tuple(dict.fromkeys(self.real(step.name) for step in self.instances[word]))
        known = [step.name for step in self.steps]
        if self.real(word) not in known:
            raise UsageError(
                f"no step '{word}' in the recipe", where=word, hint=did_you_mean(word, {*self.instances, *known})
            )
        return (self.real(word),)

    @property
    def digest(self) -> str:
        """What decides the results: every step's stage, settings and references; not words, comments or tables."""
        steps = [
            [step.name, step.stage, step.config.identity(), {role: str(ref) for role, ref in step.refs.items()}]
            for step in self.steps
        ]
        return digest(steps)


def parse_recipe(
    source: str,
    configs: Mapping[str, type[StageConfig]],
    *,
    where: str,
    overrides: Sequence[str] = (),
    drops: Sequence[str] = (),
) -> Recipe:
    """Read a recipe; `overrides` are ``step.key=value``, `drops` are ``step.key``.

    Raises:
        UsageErrors: everything that is wrong with it, each with its path and a way out.
    """
    raw = load_yaml(source, where=where)
    if not isinstance(raw, dict):
        raise UsageError("a recipe is a mapping with schema: and steps:", where=where, hint="ticket recipes cat demo")
    for text in overrides:
        override(raw, text, _TOP)
    for key in drops:
        drop(raw, key, _TOP)
    errors: list[UsageError] = [
        UsageError(f"unknown key '{key}'", where=f"{where}: {key}", hint=did_you_mean(str(key), _TOP))
        for key in raw
        if key not in _TOP
    ]
    if raw.get("schema") != SCHEMA:
        errors.append(
            UsageError(f"schema is {raw.get('schema')!r}", where=f"{where}: schema", hint=f"write schema: {SCHEMA}")
        )
    for key in ("steps", "defaults", "for_each", "report"):
        if not isinstance(raw.get(key, {}), dict):
            errors.append(UsageError(f"{key} is no mapping", where=f"{where}: {key}", hint=f"{key}: {{NAME: ...}}"))
    if not raw.get("steps"):
        errors.append(UsageError("no steps", where=where, hint="add steps: with at least one"))
    if errors:
        raise UsageErrors(errors)
    expansion = _Expansion(raw, configs)
    instances = expansion.expand()
    asked = raw.get("report") or {}
    tables = parse_tables(asked)
    contrasts = parse_contrasts(asked[CONTRASTS]) if CONTRASTS in asked else {}
    stages = {group: str(step["stage"]) for group, step in raw["steps"].items()}
    variables = {group: [step.variables for step in steps] for group, steps in instances.items()}
    for name, table in tables.items():
        check_table(table, where_of(name), stages, variables, as_written=not overrides and not drops)
    check_contrasts(contrasts, stages, variables, as_written=not overrides and not drops)
    steps = tuple(step for made in instances.values() for step in made if step.name not in expansion.aliases)
    replicates = parse_replicates(asked.get(REPLICATES))
    return Recipe(steps, expansion.aliases, instances, tables, str(raw.get("about") or ""), contrasts, replicates)


def check_step_name(name: str, where: str) -> None:
    """Refuse what nobody may call a step, which is its folder's name too.

    Raises:
        UsageError: it has other characters, is a reserved word, or is too long.
    """
    if not STEP_NAME.fullmatch(name) or name in _TOP or len(name) > LONGEST_NAME:
        hint = f"at most {LONGEST_NAME} letters, digits, - and _, no reserved word"
        raise UsageError(f"'{name[:40]}' cannot be a step's name", where=where, hint=hint)


def is_file_reference(text: str) -> bool:
    """Whether a reference is meant as a path: it ends as weights' files do, or is absolute or dotted."""
    return text.endswith(_WEIGHT_FILES) or text.startswith(("/", "./", "../", "~"))


def _parts(text: str, where: str) -> tuple[str, dict[str, str], str]:
    """`step@arm=dense/7`: the step, the variables that are pinned to a value, as step names write it, and the output.

    Raises:
        UsageError: what is pinned is no ``name=value``.
    """
    place, _, output = text.partition("/")
    head, at, pins = place.partition("@")
    pinned = dict(pin.partition("=")[::2] for pin in pins.split(",")) if at else {}
    if not all(pinned.keys()) or not all(pinned.values()):
        raise UsageError(f"'{text}' pins no variable", where=where, hint="write step@arm=dense")
    return head, pinned, output


class _Expansion:
    """Resolves defaults, for_each and references, step by step, each after those it needs."""

    def __init__(self, raw: dict[str, Any], configs: Mapping[str, type[StageConfig]]) -> None:
        self.raw_steps: dict[str, Any] = raw["steps"]
        self.defaults: dict[str, Any] = raw.get("defaults") or {}
        self.shared: dict[str, Axis] = parse_axes(raw.get("for_each") or {}, "for_each")
        self.configs = configs
        self.errors: list[UsageError] = []
        self.broken: set[str] = set()
        self.groups: dict[str, list[RecipeStep]] = {}
        self.under_way: list[str] = []
        self.names: dict[str, str] = {}
        self.identities: dict[str, str] = {}
        self.firsts: dict[str, str] = {}
        self.aliases: dict[str, str] = {}

    def expand(self) -> dict[str, tuple[RecipeStep, ...]]:
        for stage, values in self.defaults.items():
            if stage not in self.configs:
                self.errors.append(
                    UsageError(
                        f"unknown stage '{stage}'",
                        where=f"defaults.{stage}",
                        hint=did_you_mean(stage, self.configs),
                    )
                )
            elif not isinstance(values, dict):
                hint = f"{stage}: {{KEY: VALUE}}"
                self.errors.append(UsageError("no mapping", where=f"defaults.{stage}", hint=hint))
        if self.errors:
            raise UsageErrors(self.errors)
        for group in self.raw_steps:
            self._group(group)
        if self.errors:
            raise UsageErrors(self.errors)
        return {group: tuple(steps) for group, steps in self.groups.items()}

    def _group(self, group: str) -> list[RecipeStep]:
        if group in self.groups:
            return self.groups[group]
        if group in self.under_way:
            circle = " -> ".join([*self.under_way[self.under_way.index(group) :], group])
            self.broken.add(group)
            what, hint = f"steps refer to each other in a circle: {circle}", "let one of them start from elsewhere"
            self.errors.append(UsageError(what, where=f"steps.{group}", hint=hint))
            return []
        if len(self.under_way) >= _LONGEST_CHAIN:
            raise UsageError(
                f"a chain of more than {_LONGEST_CHAIN} steps that refer to each other", where=f"steps.{group}",
                hint="divide the recipe; the second part may refer to files of the first by their paths",
            )  # fmt: skip
        self.under_way.append(group)
        made: list[RecipeStep] = []
        try:
            made = self._expand_group(group)
        except UsageErrors as errors:
            self.errors.extend(errors.errors)
            self.broken.add(group)
        except UsageError as error:
            self.errors.append(error)
            self.broken.add(group)
        self.under_way.pop()
        self.groups[group] = made
        return made

    def _expand_group(self, group: str) -> list[RecipeStep]:
        where = f"steps.{group}"
        check_step_name(group, where)
        raw = self.raw_steps[group]
        if not isinstance(raw, dict) or "stage" not in raw:
            raise UsageError("a step needs stage:", where=where, hint="one of " + ", ".join(self.configs))
        values = dict(raw)
        stage = str(values.pop("stage"))
        if stage not in self.configs:
            raise UsageError(f"unknown stage '{stage}'", where=f"{where}.stage", hint=did_you_mean(stage, self.configs))
        own = parse_axes(values.pop("for_each", None) or {}, f"{where}.for_each")
        values = {**self.defaults.get(stage, {}), **values}
        # Axes that decide what a reference names come first: each of their values has producers of its own.
        roles = self.configs[stage].references()
        for name in variables_in([values.get(role) for role in roles]):
            if name in self.shared and name not in own:
                own[name] = self.shared[name]
        made: list[RecipeStep] = []
        for chosen in combinations(own):
            made.extend(self._instances(group, stage, values, own, chosen))
        return made

    def _instances(
        self, group: str, stage: str, values: dict[str, Any], own: dict[str, Axis], chosen: dict[str, Label]
    ) -> Iterator[RecipeStep]:
        """The repetitions under one choice of the own axes: over what the step uses, and what its producers vary in."""
        where = f"steps.{group}"
        used = set(variables_in(values))
        known = {name: own[name][label] for name, label in chosen.items()}
        for role, mark in self.configs[stage].references().items():
            text = substitute(values.get(role, ""), known, f"{where}.{role}")
            if not isinstance(text, str) or not text or mark.is_word(text) or is_file_reference(text):
                continue
            head, pinned, _ = _parts(text, f"{where}.{role}")
            if head not in self.raw_steps:
                raise UsageError(f"no step '{head}'", where=f"{where}.{role}", hint=did_you_mean(head, self.raw_steps))
            found = [producer.variables for producer in self._group(head)]
            for name, value in pinned.items():
                words = list(dict.fromkeys(label_word(one[name]) for one in found if name in one))
                if found and value not in words:
                    what = f"no '{head}' has {name}={value}"
                    raise UsageError(what, where=f"{where}.{role}", hint=did_you_mean(value, words))
            used.update(name for one in found for name in one if name not in pinned)
        axes = {name: axis for name, axis in self.shared.items() if name in used and name not in chosen}
        for inherited in combinations(axes):
            labels = {**chosen, **inherited}
            bound = known | {name: axes[name][label] for name, label in inherited.items()}
            yield self._instance(group, stage, substitute(values, bound, where), labels)

    def _instance(self, group: str, stage: str, values: dict[str, Any], variables: Variables) -> RecipeStep:
        where, name, config_type = f"steps.{group}", step_name(group, variables), self.configs[stage]
        if len(self.names) >= _MOST_STEPS:
            raise UsageError(f"more than {_MOST_STEPS:,} steps", where=where, hint="make several recipes of it")
        check_name(name, self.names, where)
        self.names[name.casefold()] = name
        refs: dict[str, Ref] = {}
        for role, mark in config_type.references().items():
            text = values.get(role, "")
            if isinstance(text, str) and text and not mark.is_word(text):
                refs[role] = self._ref(text, variables)
                values[role] = str(refs[role])
        config = config_type.parse(values, where=where)
        targets = {
            role: (self.identities.get(ref.step, ref.step), ref.output, str(ref.path or ""))
            for role, ref in refs.items()
        }
        identity = digest([stage, config.identity(), targets])
        self.identities[name] = identity
        first = self.firsts.setdefault(identity, name)
        if first != name:
            self.aliases[name] = first
        return RecipeStep(name, group, stage, config, refs, variables)

    def _ref(self, text: str, variables: Variables) -> Ref:
        if is_file_reference(text):
            return Ref(path=Path(text).expanduser())
        head, pinned, output = _parts(text, text)
        for producer in self.groups.get(head, []):
            if all(
                label_word(value) == pinned[name] if name in pinned else variables.get(name) == value
                for name, value in producer.variables.items()
            ):
                return Ref(self.aliases.get(producer.name, producer.name), output)
        if self.broken:  # its own error is told; go on, so that this step's errors are told too
            return Ref(head, output)
        own = {name: None for step in self.groups.get(head, []) for name in step.variables if name not in variables}
        hint = f"move {', '.join(own)} to for_each: at the top, which repeats what hangs on '{head}' too" if own else ""
        raise InputMissing(f"no instance of '{head}' fits {dict(variables)}", where=text, hint=hint)
