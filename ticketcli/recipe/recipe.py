"""`Recipe`: named steps, each one use of a stage, chained by references and repeated by `for_each`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ticketcli.canon import canonical
from ticketcli.errors import InputMissing, UsageError, UsageErrors, did_you_mean
from ticketcli.recipe.config import Config, Names
from ticketcli.recipe.configs import StageConfig
from ticketcli.recipe.strict_yaml import load_yaml

SCHEMA = 1
STEP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_VARIABLE = re.compile(r"\$(\w+)")
_TOP = ("schema", "about", "for_each", "defaults", "steps", "report")
_WEIGHT_FILES = (".safetensors", ".pth", ".pt", ".bin", ".tar", ".ckpt", ".th")
Variables = Mapping[str, Any]


class ReportConfig(Config):
    """The table that ends a run: a row for each value of `rows`, mean and interval over `over`."""

    table: str = Field(description="the step whose results are compared")
    rows: str = Field(description="the for_each variable that makes the rows")
    over: str = Field(description="the for_each variable that makes the replicates")
    compare: Names = Field((), description="two row values whose paired difference is reported")
    labels: Annotated[dict[str, str], BeforeValidator(lambda value: value)] = Field(
        default_factory=dict, description="row value -> words for people"
    )


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
    """One use of a stage, fully resolved: its config, its references by role, and its for_each variables."""

    name: str
    group: str
    stage: str
    config: StageConfig
    refs: Mapping[str, Ref]
    variables: Variables = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """Steps in an order in which each comes after what it refers to. `aliases` maps repeated steps to their first."""

    steps: tuple[RecipeStep, ...]
    aliases: Mapping[str, str]
    report: ReportConfig | None = None

    def __getitem__(self, name: str) -> RecipeStep:
        name = self.aliases.get(name, name)
        return next(step for step in self.steps if step.name == name)


def parse_recipe(
    text: str,
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
    raw = load_yaml(text, where=where)
    if not isinstance(raw, dict):
        raise UsageError("a recipe is a mapping with schema: and steps:", where=where)
    for override in overrides:
        _override(raw, override)
    for drop in drops:
        _drop(raw, drop)
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
            errors.append(UsageError(f"{key} is no mapping", where=f"{where}: {key}"))
    if not raw.get("steps"):
        errors.append(UsageError("no steps", where=where, hint="add steps: with at least one"))
    if errors:
        raise UsageErrors(errors)
    expansion = _Expansion(raw, configs)
    steps, aliases = expansion.expand()
    report = ReportConfig.parse(raw["report"], where="report") if raw.get("report") else None
    if report is not None:
        _check_report(report, steps)
    return Recipe(steps, aliases, report)


def _check_report(report: ReportConfig, steps: Iterable[RecipeStep]) -> None:
    groups = {step.group for step in steps}
    if report.table not in groups:
        raise UsageError(f"no step '{report.table}'", where="report.table", hint=did_you_mean(report.table, groups))
    variables = {name for step in steps if step.group == report.table for name in step.variables}
    for key, value in (("rows", report.rows), ("over", report.over)):
        if value not in variables:
            raise UsageError(
                f"'{report.table}' is not repeated over '{value}'",
                where=f"report.{key}",
                hint=did_you_mean(value, variables),
            )
    if len(report.compare) not in (0, 2):
        raise UsageError(f"compare has {len(report.compare)} values", where="report.compare", hint="name two rows")


def _path_of(raw: dict[str, Any], dotted: str) -> list[str]:
    parts = dotted.split(".")
    return parts if parts[0] in _TOP else ["steps", *parts]


def _walk(raw: dict[str, Any], parts: list[str], dotted: str) -> dict[str, Any]:
    node = raw
    for part in parts[:-1]:
        inner = node.get(part)
        if inner is None and node is not raw and node is not raw.get("steps"):
            inner = node[part] = {}
        if isinstance(inner, str) and part == "data":
            inner = node[part] = {"name": inner}
        if not isinstance(inner, dict):
            raise UsageError(
                f"'{part}' is not in the recipe",
                where=dotted,
                hint=did_you_mean(part, [str(key) for key in node]),
            )
        node = inner
    return node


def _override(raw: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key.strip():
        raise UsageError(f"'{override}' is no override", hint="write step.key=value")
    parts = _path_of(raw, key.strip())
    if len(parts) < 2:
        raise UsageError(f"'{override}' is no override", hint="write step.key=value")
    _walk(raw, parts, key)[parts[-1]] = load_yaml(value, where=override)


def _drop(raw: dict[str, Any], key: str) -> None:
    parts = _path_of(raw, key)
    node = _walk(raw, parts, key)
    if parts[-1] not in node:
        raise UsageError(
            f"'{parts[-1]}' is not in the recipe",
            where=key,
            hint=did_you_mean(parts[-1], [str(k) for k in node]),
        )
    del node[parts[-1]]


def _substitute(value: Any, variables: Variables, where: str) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(inner, variables, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_substitute(inner, variables, where) for inner in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    whole = _VARIABLE.fullmatch(value)
    for name in _VARIABLE.findall(value):
        if name not in variables:
            raise UsageError(f"no for_each variable '{name}'", where=where, hint=did_you_mean(name, variables))
    return variables[whole[1]] if whole else _VARIABLE.sub(lambda match: str(variables[match[1]]), value)


def _combinations(axes: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def step_name(group: str, variables: Variables) -> str:
    """`target@arm=ours-11,seed=0`: a folder name that tells what it holds."""
    if not variables:
        return group
    words = ",".join(f"{key}={re.sub(r'[^A-Za-z0-9_.+-]', '-', str(value))}" for key, value in variables.items())
    return f"{group}@{words}"


def is_file_reference(text: str) -> bool:
    """Whether a reference is meant as a path: it ends as weights' files do, or is absolute or dotted."""
    return text.endswith(_WEIGHT_FILES) or text.startswith(("/", "./", "../", "~"))


class _Expansion:
    """Resolves defaults, for_each and references, step by step, each after those it needs."""

    def __init__(self, raw: dict[str, Any], configs: Mapping[str, type[StageConfig]]) -> None:
        self.raw_steps: dict[str, Any] = raw["steps"]
        self.defaults: dict[str, Any] = raw.get("defaults") or {}
        self.shared: dict[str, list[Any]] = _axes(raw.get("for_each") or {}, "for_each")
        self.configs = configs
        self.errors: list[UsageError] = []
        self.broken: set[str] = set()
        self.groups: dict[str, list[RecipeStep]] = {}
        self.under_way: list[str] = []
        self.identities: dict[str, str] = {}
        self.aliases: dict[str, str] = {}

    def expand(self) -> tuple[tuple[RecipeStep, ...], dict[str, str]]:
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
                self.errors.append(UsageError("no mapping", where=f"defaults.{stage}"))
        if self.errors:
            raise UsageErrors(self.errors)
        for group in self.raw_steps:
            self._group(group)
        if self.errors:
            raise UsageErrors(self.errors)
        steps = tuple(step for group in self.groups.values() for step in group if step.name not in self.aliases)
        return steps, self.aliases

    def _group(self, group: str) -> list[RecipeStep]:
        if group in self.groups:
            return self.groups[group]
        if group in self.under_way:
            circle = " -> ".join([*self.under_way[self.under_way.index(group) :], group])
            self.broken.add(group)
            self.errors.append(UsageError(f"steps refer to each other in a circle: {circle}", where=f"steps.{group}"))
            return []
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
        if not STEP_NAME.fullmatch(group) or group in _TOP:
            raise UsageError(
                f"'{group}' cannot be a step's name",
                where=where,
                hint="letters, digits, - and _, no reserved word",
            )
        raw = self.raw_steps[group]
        if not isinstance(raw, dict) or "stage" not in raw:
            raise UsageError("a step needs stage:", where=where, hint="one of " + ", ".join(self.configs))
        values = dict(raw)
        stage = str(values.pop("stage"))
        if stage not in self.configs:
            raise UsageError(f"unknown stage '{stage}'", where=f"{where}.stage", hint=did_you_mean(stage, self.configs))
        own = _axes(values.pop("for_each", None) or {}, f"{where}.for_each")
        values = {**self.defaults.get(stage, {}), **values}
        made: list[RecipeStep] = []
        for chosen in _combinations(own):
            made.extend(self._instances(group, stage, values, chosen))
        return made

    def _instances(
        self, group: str, stage: str, values: dict[str, Any], chosen: dict[str, Any]
    ) -> Iterator[RecipeStep]:
        where, config_type = f"steps.{group}", self.configs[stage]
        used = {name for name in _VARIABLE.findall(canonical(values)) if name in self.shared and name not in chosen}
        axes = {name: axis for name, axis in self.shared.items() if name in used}
        producers: dict[str, list[RecipeStep]] = {}
        first = {**{name: axis[0] for name, axis in axes.items()}, **chosen}
        for role, mark in config_type.references().items():
            text = _substitute(values.get(role, ""), first, f"{where}.{role}")
            head = str(text).partition("/")[0]
            if not isinstance(text, str) or not text or mark.is_word(text) or is_file_reference(text):
                continue
            if head not in self.raw_steps:
                raise UsageError(f"no step '{head}'", where=f"{where}.{role}", hint=did_you_mean(head, self.raw_steps))
            producers[role] = self._group(head)
            for producer in producers[role]:
                for name in producer.variables:
                    if name not in chosen and name in self.shared:
                        axes[name] = self.shared[name]
        axes = {name: self.shared[name] for name in self.shared if name in axes}
        for inherited in _combinations(axes):
            variables = {**chosen, **inherited}
            yield self._instance(group, stage, values, variables, config_type)

    def _instance(
        self,
        group: str,
        stage: str,
        values: dict[str, Any],
        variables: dict[str, Any],
        config_type: type[StageConfig],
    ) -> RecipeStep:
        where, name = f"steps.{group}", step_name(group, variables)
        substituted = _substitute(values, variables, where)
        refs: dict[str, Ref] = {}
        for role, mark in config_type.references().items():
            text = substituted.get(role, "")
            if isinstance(text, str) and text and not mark.is_word(text):
                refs[role] = self._ref(text, variables)
                substituted[role] = str(refs[role])
        config = config_type.parse(substituted, where=where)
        targets = {
            role: (self.identities.get(ref.step, ref.step), ref.output, str(ref.path or ""))
            for role, ref in refs.items()
        }
        identity = canonical([stage, config.identity(), targets])
        step = RecipeStep(name, group, stage, config, refs, variables)
        twin = next((other for other, known in self.identities.items() if known == identity), None)
        if twin is not None:
            self.aliases[name] = twin
        self.identities[name] = identity
        return step

    def _ref(self, text: str, variables: Variables) -> Ref:
        if is_file_reference(text):
            return Ref(path=Path(text).expanduser())
        head, _, output = text.partition("/")
        for producer in self.groups.get(head, []):
            if all(variables.get(name) == value for name, value in producer.variables.items()):
                return Ref(self.aliases.get(producer.name, producer.name), output)
        if self.broken:  # its own error is told; go on, so that this step's errors are told too
            return Ref(head, output)
        raise InputMissing(f"no instance of '{head}' fits {dict(variables)}", where=text)


def _axes(raw: object, where: str) -> dict[str, list[Any]]:
    if not isinstance(raw, dict):
        raise UsageError("for_each is a mapping from a name to a list", where=where)
    for name, values in raw.items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"'{name}' needs a list of values", where=f"{where}.{name}", hint=f"{name}: [0, 1, 2]")
        if len({canonical(value) for value in values}) != len(values):
            raise UsageError(f"'{name}' has a value twice", where=f"{where}.{name}")
    return {str(name): list(values) for name, values in raw.items()}
