"""`Recipe`: named steps, each one use of a stage, chained by references and repeated by `for_each`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ticketcli.canon import digest
from ticketcli.errors import InputMissing, TicketError, UsageError, UsageErrors, collected, did_you_mean, raise_all
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
_VARIABLES = re.compile(r"\w+=[A-Za-z0-9_.+-]+(,\w+=[A-Za-z0-9_.+-]+)*")  # behind the @ of a repetition's name
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


Maker = Callable[[str], RecipeStep | None]  # of a step's name: that step, if it is known
Check = Callable[[RecipeStep, Maker], Iterable[TicketError]]


def parse_recipe(
    source: str,
    configs: Mapping[str, type[StageConfig]],
    *,
    where: str,
    overrides: Sequence[str] = (),
    drops: Sequence[str] = (),
    check: Check | None = None,
) -> Recipe:
    """Read a recipe; `overrides` are ``step.key=value``, `drops` are ``step.key``, `check` finds what cannot run.

    Raises:
        TicketError: the one thing that is wrong with it, or all of them as `UsageErrors`; each has its path and a way
            out.
    """
    raw = load_yaml(source, where=where)
    if not isinstance(raw, dict):
        raise UsageError("a recipe is a mapping with schema: and steps:", where=where, hint="ticket recipes cat demo")
    errors: list[TicketError] = []
    for text in overrides:
        with collected(errors):
            override(raw, text, _TOP)
    for key in drops:
        with collected(errors):
            drop(raw, key, _TOP)
    errors += _wrong_at_the_top(raw, where)
    if not raw.get("steps") or not all(isinstance(raw.get(key, {}), dict) for key in ("steps", "defaults", "for_each")):
        raise_all(errors)
    expansion = _Expansion(raw, configs, errors)
    instances = expansion.expand()
    made = {step.name: step for steps in instances.values() for step in steps}
    if check is not None:
        errors += (error for step in made.values() for error in check(step, made.get))
    asked = raw["report"] if isinstance(raw.get("report"), dict) else {}
    tables = parse_tables(asked, errors)
    contrasts: dict[str, ContrastConfig] = {}
    replicates = 0
    with collected(errors):
        contrasts = parse_contrasts(asked[CONTRASTS]) if CONTRASTS in asked else {}
    with collected(errors):
        replicates = parse_replicates(asked.get(REPLICATES))
    stages = {group: expansion.stages.get(group, "") for group in raw["steps"]}
    variables = {group: found for group, found in expansion.variables.items() if group not in expansion.unsure}
    as_written = not overrides and not drops
    for name, table in tables.items():
        errors += check_table(table, where_of(name), stages, variables, as_written=as_written)
    errors += check_contrasts(contrasts, stages, variables, as_written=as_written)
    raise_all(errors)
    steps = tuple(step for step in made.values() if step.name not in expansion.aliases)
    return Recipe(steps, expansion.aliases, instances, tables, str(raw.get("about") or ""), contrasts, replicates)


def _wrong_at_the_top(raw: dict[str, Any], where: str) -> Iterable[UsageError]:
    """What is wrong with the recipe around its steps."""
    for key in raw:
        if key not in _TOP:
            yield UsageError(f"unknown key '{key}'", where=f"{where}: {key}", hint=did_you_mean(str(key), _TOP))
    if raw.get("schema") != SCHEMA:
        yield UsageError(f"schema is {raw.get('schema')!r}", where=f"{where}: schema", hint=f"write schema: {SCHEMA}")
    for key in ("steps", "defaults", "for_each", "report"):
        if not isinstance(raw.get(key, {}), dict):
            yield UsageError(f"{key} is no mapping", where=f"{where}: {key}", hint=f"{key}: {{NAME: ...}}")
    if not raw.get("steps"):
        yield UsageError("no steps", where=where, hint="add steps: with at least one")


def check_step_name(name: str, where: str) -> None:
    """Refuse what nobody may call a step, which is its folder's name too.

    Raises:
        UsageError: it has other characters, is a reserved word, or is too long.
    """
    if not STEP_NAME.fullmatch(name) or name in _TOP or len(name) > LONGEST_NAME:
        hint = f"at most {LONGEST_NAME} letters, digits, - and _, no reserved word"
        raise UsageError(f"'{name[:40]}' cannot be a step's name", where=where, hint=hint)


def check_own_name(name: str, where: str) -> None:
    """Refuse what no step may be called, nor a repetition of one, such as `ours@seed=0`.

    Raises:
        UsageError: as `check_step_name`.
    """
    group, at, variables = name.partition("@")
    is_repetition = bool(at) and _VARIABLES.fullmatch(variables) is not None and len(name) <= LONGEST_NAME
    check_step_name(group if is_repetition else name, where)


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
    """Resolves defaults, for_each and references, step by step, each after those it needs.

    What is wrong joins `errors`, and it goes on: of a step whose settings are wrong it is still known how it is
    repeated (`variables`). Where that is not known either, the step is `unsure`, and so is what hangs on it.
    """

    def __init__(
        self, raw: dict[str, Any], configs: Mapping[str, type[StageConfig]], errors: list[TicketError]
    ) -> None:
        self.raw_steps: dict[str, Any] = raw["steps"]
        self.defaults: dict[str, Any] = raw.get("defaults") or {}
        self.raw_axes: dict[str, Any] = raw.get("for_each") or {}
        self.shared: dict[str, Axis] = {}
        self.configs = configs
        self.errors = errors
        self.stages: dict[str, str] = {}
        self.variables: dict[str, list[Variables]] = {}
        self.unsure: set[str] = set()
        self.groups: dict[str, list[RecipeStep]] = {}
        self.under_way: list[str] = []
        self.n_instances = 0
        self.names: dict[str, str] = {}
        self.identities: dict[str, str] = {}
        self.firsts: dict[str, str] = {}
        self.aliases: dict[str, str] = {}

    def expand(self) -> dict[str, tuple[RecipeStep, ...]]:
        """The repetitions of each step.

        Raises:
            TicketError: axes or defaults that nobody can read, with all that was found before.
        """
        unreadable: list[TicketError] = []
        with collected(unreadable):
            self.shared = parse_axes(self.raw_axes, "for_each")
        for stage, values in self.defaults.items():
            where = f"defaults.{stage}"
            if stage not in self.configs:
                hint = did_you_mean(stage, self.configs)
                self.errors.append(UsageError(f"unknown stage '{stage}'", where=where, hint=hint))
            elif not isinstance(values, dict):
                unreadable.append(UsageError("no mapping", where=where, hint=f"{stage}: {{KEY: VALUE}}"))
        if unreadable:
            raise_all([*self.errors, *unreadable])
        for group in self.raw_steps:
            self._group(group)
        return {group: tuple(steps) for group, steps in self.groups.items()}

    def _group(self, group: str) -> None:
        if group in self.groups:
            return
        if group in self.under_way:
            circle = " -> ".join([*self.under_way[self.under_way.index(group) :], group])
            what, hint = f"steps refer to each other in a circle: {circle}", "let one of them start from elsewhere"
            self.errors.append(UsageError(what, where=f"steps.{group}", hint=hint))
            return
        if len(self.under_way) >= _LONGEST_CHAIN:
            raise UsageError(
                f"a chain of more than {_LONGEST_CHAIN} steps that refer to each other", where=f"steps.{group}",
                hint="divide the recipe; the second part may refer to files of the first by their paths",
            )  # fmt: skip
        self.under_way.append(group)
        made: list[RecipeStep] = []
        self.variables[group] = []
        self.unsure.add(group)  # until all that it refers to is known
        with collected(self.errors):
            if self._expand_group(group, made):
                self.unsure.discard(group)
        self.under_way.pop()
        self.groups[group] = made

    def _expand_group(self, group: str, made: list[RecipeStep]) -> bool:
        """Make its repetitions; whether all that they refer to is known."""
        where = f"steps.{group}"
        check_step_name(group, where)
        raw = self.raw_steps[group]
        if not isinstance(raw, dict) or "stage" not in raw:
            raise UsageError("a step needs stage:", where=where, hint="one of " + ", ".join(self.configs))
        values = dict(raw)
        stage = str(values.pop("stage"))
        if stage not in self.configs:
            raise UsageError(f"unknown stage '{stage}'", where=f"{where}.stage", hint=did_you_mean(stage, self.configs))
        self.stages[group] = stage
        own = parse_axes(values.pop("for_each", None) or {}, f"{where}.for_each")
        values = {**self.defaults.get(stage, {}), **values}
        # Axes that decide what a reference names come first: each of their values has producers of its own.
        roles = self.configs[stage].references()
        for name in variables_in([values.get(role) for role in roles]):
            if name in self.shared and name not in own:
                own[name] = self.shared[name]
        are_sure = [self._instances(group, values, own, chosen, made) for chosen in combinations(own)]
        return all(are_sure)

    def _instances(
        self, group: str, values: dict[str, Any], own: dict[str, Axis], chosen: dict[str, Label], made: list[RecipeStep]
    ) -> bool:
        """The repetitions under one choice of the own axes: over what the step uses, and what its producers vary in."""
        used = set(variables_in(values))
        known = {name: own[name][label] for name, label in chosen.items()}
        unknown: dict[str, list[TicketError]] = {}  # by role
        is_sure = True
        for role in self.configs[self.stages[group]].references():
            errors: list[TicketError] = []
            with collected(errors):
                is_sure = self._follow(group, role, values.get(role, ""), known, used) and is_sure
            if errors:
                unknown[role] = errors
        axes = {name: axis for name, axis in self.shared.items() if name in used and name not in chosen}
        for inherited in combinations(axes):
            self.n_instances += 1
            if self.n_instances > _MOST_STEPS:
                hint = "make several recipes of it"
                raise UsageError(f"more than {_MOST_STEPS:,} steps", where=f"steps.{group}", hint=hint)
            labels = {**chosen, **inherited}
            self.variables[group].append(labels)
            bound = known | {name: axes[name][label] for name, label in inherited.items()}
            with collected(self.errors):
                made.append(self._instance(group, values, bound, labels, unknown))
        return is_sure and not unknown

    def _follow(self, group: str, role: str, text: Any, known: Mapping[str, Any], used: set[str]) -> bool:
        """Add what the steps that a reference names vary in to `used`; whether that is known.

        Raises:
            UsageError: there is no such step, or none with the values that are pinned.
        """
        where = f"steps.{group}.{role}"
        text = substitute(text, known, where)
        if not self._names_something(group, role, text) or is_file_reference(text):
            return True
        head, pinned, _ = _parts(text, where)
        if head not in self.raw_steps:
            raise UsageError(f"no step '{head}'", where=where, hint=did_you_mean(head, self.raw_steps))
        self._group(head)
        found = self.variables[head]
        for name, value in pinned.items():
            words = list(dict.fromkeys(label_word(one[name]) for one in found if name in one))
            if found and value not in words:
                raise UsageError(f"no '{head}' has {name}={value}", where=where, hint=did_you_mean(value, words))
        used.update(name for one in found for name in one if name not in pinned)
        return head not in self.unsure

    def _names_something(self, group: str, role: str, text: Any) -> bool:
        """Whether it is a step or a file, and no word."""
        mark = self.configs[self.stages[group]].references()[role]
        return isinstance(text, str) and text != "" and not mark.is_word(text)

    def _instance(
        self, group: str, raw: dict[str, Any], bound: Mapping[str, Any], variables: Variables,
        unknown: Mapping[str, list[TicketError]],
    ) -> RecipeStep:  # fmt: skip
        """One repetition; what is wrong with the references in `unknown` is wrong with it, too.

        Raises:
            UsageErrors: all that is wrong with it.
        """
        where, name, stage = f"steps.{group}", step_name(group, variables), self.stages[group]
        errors = [error for found in unknown.values() for error in found]
        with collected(errors):
            check_name(name, self.names, where)
        self.names[name.casefold()] = name
        values: dict[str, Any] = {}
        for key, value in raw.items():
            with collected(errors):
                values[key] = value if key in unknown else substitute(value, bound, f"{where}.{key}")
        refs: dict[str, Ref] = {}
        for role in self.configs[stage].references():
            if role not in unknown and self._names_something(group, role, values.get(role)):
                with collected(errors):
                    refs[role] = self._ref(values[role], variables)
                    values[role] = str(refs[role])
        config = self._config(stage, values, set(raw) - set(values), errors, where)
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

    def _config(
        self, stage: str, values: dict[str, Any], lost: set[str], errors: list[TicketError], where: str
    ) -> StageConfig:
        """The settings; `lost` are those that have no value, because something is wrong with it.

        Raises:
            UsageErrors: these errors, and what is wrong with the other settings.
        """
        try:
            config = self.configs[stage].parse(values, where=where)
        except UsageErrors as several:
            follow = {where, *(f"{where}.{key}" for key in lost)} if lost else set()  # perhaps from what is lost
            raise UsageErrors([*errors, *(error for error in several.errors if error.where not in follow)]) from None
        if errors:
            raise UsageErrors(errors)
        return config

    def _ref(self, text: str, variables: Variables) -> Ref:
        if is_file_reference(text):
            return Ref(path=Path(text).expanduser())
        head, pinned, output = _parts(text, text)
        for producer in self.variables.get(head, []):
            if all(
                label_word(value) == pinned[name] if name in pinned else variables.get(name) == value
                for name, value in producer.items()
            ):
                name = step_name(head, producer)
                return Ref(self.aliases.get(name, name), output)
        if head in self.unsure:  # that is told; this step's own errors are told too
            return Ref(head, output)
        own = {name: None for one in self.variables[head] for name in one if name not in variables}
        hint = f"move {', '.join(own)} to for_each: at the top, which repeats what hangs on '{head}' too" if own else ""
        raise InputMissing(f"no instance of '{head}' fits {dict(variables)}", where=text, hint=hint)
