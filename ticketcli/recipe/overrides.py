"""Overrides on the command line: `step.key=value` sets, `--drop step.key` removes, before a recipe is understood."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ticketcli.errors import UsageError, did_you_mean
from ticketcli.recipe.for_each import choose
from ticketcli.recipe.strict_yaml import load_yaml


def override(raw: dict[str, Any], text: str, top: Collection[str]) -> None:
    """Set one key. A path that begins with none of the `top` keys is one of a step.

    A list of names given to an axis whose values are named chooses among them.

    Raises:
        UsageError: no override, or of something that the recipe does not have.
    """
    key, separator, value = text.partition("=")
    parts = _path_of(key.strip(), top)
    if not separator or not key.strip():
        raise UsageError(f"'{text}' is no override", hint="write step.key=value")
    node, last = _walk(raw, parts, key), parts[-1]
    wanted = load_yaml(value, where=text)
    if parts[-2:-1] == ["for_each"] and isinstance(node.get(last), dict) and isinstance(wanted, list):
        wanted = choose(node[last], wanted, where=key)
    node[last] = wanted


def drop(raw: dict[str, Any], key: str, top: Collection[str]) -> None:
    """Remove one key.

    Raises:
        UsageError: the recipe does not have it.
    """
    parts = _path_of(key, top)
    node = _walk(raw, parts, key)
    if parts[-1] not in node:
        raise UsageError(
            f"'{parts[-1]}' is not in the recipe",
            where=key,
            hint=did_you_mean(parts[-1], [str(k) for k in node]),
        )
    del node[parts[-1]]


def _path_of(dotted: str, top: Collection[str]) -> list[str]:
    parts = dotted.split(".")
    return parts if parts[0] in top else ["steps", *parts]


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
