"""`Config`: the frozen, strict base of every stage's settings; unknown keys are refused, all errors shown at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from ticketcli.errors import TicketError, UsageError, UsageErrors, collected, did_you_mean
from ticketcli.units import Duration as _Duration

_RANGE = re.compile(r"\s*(\d{1,18})\s*-\s*(\d{1,18})\s*")
_MOST_CLASSES = 1_000_000


def _parse_duration(value: object) -> _Duration:
    try:
        return _Duration.parse(value)
    except UsageError as error:
        raise ValueError(f"{error.what}; {error.hint}") from None


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _as_classes(value: object) -> object:
    """Numbers, and ranges such as 0-49 with both ends; one range may stand alone."""
    parts = value if isinstance(value, (list, tuple)) else [value]
    numbers: list[object] = []
    for part in parts:
        match = _RANGE.fullmatch(part) if isinstance(part, str) else None
        if match is not None and int(match[1]) > int(match[2]):
            raise ValueError(f"the range {part} runs backwards; write {match[2]}-{match[1]}")
        if match is not None and int(match[2]) - int(match[1]) + len(numbers) >= _MOST_CLASSES:
            raise ValueError(f"with the range {part} there are more than {_MOST_CLASSES:,} classes")
        numbers += range(int(match[1]), int(match[2]) + 1) if match is not None else [part]
    return tuple(numbers)


Duration = Annotated[_Duration, BeforeValidator(_parse_duration), PlainSerializer(str, return_type=str)]
Durations = Annotated[tuple[Duration, ...], BeforeValidator(_as_tuple)]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Integers = Annotated[tuple[int, ...], BeforeValidator(_as_tuple)]
Floats = Annotated[tuple[float, ...], BeforeValidator(_as_tuple)]
Classes = Annotated[tuple[int, ...], BeforeValidator(_as_classes)]


@dataclass(frozen=True)
class Reference:
    """Marks a config field that names an artifact: ``step``, ``step/output`` or a file.

    Attributes:
        kinds: of artifacts that will do.
        series: one artifact of each round.
        words: what else may be said; a word that ends in a colon begins a name, such as ``timm:resnet50``.
        also: kinds that will do where they are named, and are neither looked for nor offered.
    """

    kinds: tuple[str, ...]
    series: bool = False
    words: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    def is_word(self, text: str) -> bool:
        """Whether `text` is a setting of its own and names no artifact."""
        return any(text == word or (word.endswith(":") and text.startswith(word)) for word in self.words)


@dataclass(frozen=True)
class NoResult:
    """Marks a config field that changes no result, only how it is come to; it is no part of the digest."""


@dataclass(frozen=True)
class Flag:
    """Marks a config field that has a further flag beside the one of its own name."""

    name: str


class Config(BaseModel):
    """Frozen and strict. A field is at once a recipe key, a flag, a line of help and part of the digest."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True, populate_by_name=True,
        allow_inf_nan=False,
    )  # fmt: skip

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Check `values` and build the config.

        Raises:
            UsageErrors: every unknown key and bad value, each with its path and, where one is close, the right name.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise UsageErrors(_translate(cls, item, where) for item in error.errors()) from None

    @classmethod
    def parse_each(cls, several: Mapping[Any, Any], *, where: str, example: str) -> dict[str, Self]:
        """Configs by name, from a mapping of mappings.

        Raises:
            UsageErrors: everything that is wrong with all of them; `example` is the hint where one is no mapping.
        """
        errors: list[TicketError] = []
        found: dict[str, Self] = {}
        for name, values in several.items():
            place = f"{where}.{name}"
            if not isinstance(values, dict):
                errors.append(UsageError("not a mapping", where=place, hint=example))
                continue
            with collected(errors):
                found[str(name)] = cls.parse(values, where=place)
        if errors:
            raise UsageErrors(errors)
        return found

    @classmethod
    def keys(cls) -> list[str]:
        """The names by which recipes and flags call the fields."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @classmethod
    def references(cls) -> dict[str, Reference]:
        """Field name -> what it may refer to, for the fields that name artifacts."""
        found = {}
        for name, field in cls.model_fields.items():
            for mark in field.metadata:
                if isinstance(mark, Reference):
                    found[name] = mark
        return found

    @classmethod
    def without_result(cls) -> frozenset[str]:
        """The fields that change no result."""
        fields = cls.model_fields.items()
        return frozenset(name for name, field in fields if any(isinstance(mark, NoResult) for mark in field.metadata))

    def is_changed(self, name: str) -> bool:
        """Whether a field differs from its default; one that has none does."""
        default = type(self).model_fields[name].get_default(call_default_factory=True)
        return bool(getattr(self, name) != default)

    def identity(self, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
        """What decides a result: the fields that differ from their default, less references and `without`.

        Defaults are left out so that a new option makes no old result stale; a changed default raises the stage's
        version instead. References count by what they point to, not by what they are called; a reserved word in
        a reference (``rewind: none``) is a setting and counts.
        """
        names = {name for name, mark in self.references().items() if not mark.is_word(getattr(self, name))} | without
        names |= self.without_result()
        return self.model_dump(mode="json", exclude=set(names), exclude_defaults=True, by_alias=True)

    def resolved(self) -> dict[str, Any]:
        """Every field with its value, as the manifest records it."""
        return self.model_dump(mode="json", by_alias=True)


def nested(kind: Any) -> type[BaseModel] | None:
    """The config type that a field holds, alone, annotated or optional; None where it holds none."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next(filter(None, map(nested, get_args(kind))), None)


def _translate(cls: type[Config], item: Any, where: str) -> UsageError:
    path = [str(part) for part in item["loc"] if not str(part).startswith(("function-", "tuple[", "literal["))]
    place = ".".join([where, *path])
    kind, message = item["type"], str(item["msg"])
    if kind == "extra_forbidden":
        owner: type[BaseModel] = cls
        for part in path[:-1]:
            owner = (nested(owner.model_fields[part].annotation) if part in owner.model_fields else None) or owner
        known = [field.alias or name for name, field in owner.model_fields.items()]
        return UsageError(f"unknown key '{path[-1]}'", where=place, hint=did_you_mean(path[-1], known))
    if kind == "missing":
        return UsageError(f"'{path[-1]}' is missing", where=place, hint=f"add {path[-1]}:")
    message = message.removeprefix("Value error, ").removeprefix("Input ").removeprefix("input ")
    what, _, hint = message.partition("; ")
    whole = isinstance(item["input"], Mapping)  # settings that do not go together; which do not, the words say
    got = "" if whole else f", got {item['input']!r}"
    return UsageError(f"{path[-1] if path else where}: {what}{got}", where=place, hint=hint)
