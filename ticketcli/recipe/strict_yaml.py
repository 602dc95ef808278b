"""YAML as recipes need it: no duplicate keys, no aliases, no tags, and ``1e-4`` is a number.

PyYAML keeps the last of two equal keys, expands alias bombs, reads ``1e-4`` as a string, ``010`` as 8 and ``1:30`` as
90; each of these has silently changed somebody's experiment. Base 60 also takes hours over a line of a million digits.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from ticketcli.errors import UsageError

_FLOAT = re.compile(  # anchored: the resolver asks only whether it matches at the start
    r"[-+]?(?:\d[\d_]*\.[\d_]*(?:[eE][-+]?\d+)?|\.\d[\d_]*(?:[eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+)\Z"
)
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][\d_]{0,99})\Z")  # decimal; what is longer is no number but a mistake
LONGEST = 1_000_000  # characters of a document: hundreds of times the longest recipe, and seconds to parse


class _Loader(yaml.SafeLoader):
    """SafeLoader without its surprises."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (PyYAML's own class attribute)
        first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith((":float", ":int", ":timestamp"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise _error("aliases (*name) are not allowed", event, "write the value out")
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise _error(f"tags ({event.tag}) are not allowed", event, "leave it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str" and key.tag != "tag:yaml.org,2002:int":
                raise _error(f"'{key.value}' cannot be a key", key, "quote it")
            if key.value in seen:
                raise _error(f"the key '{key.value}' is given twice", key, "remove one of them")
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list("-+0123456789"))


def _error(what: str, at: Any, hint: str) -> UsageError:
    return UsageError(what, where=f"line {at.start_mark.line + 1}, column {at.start_mark.column + 1}", hint=hint)


def load_yaml(text: str, *, where: str = "") -> object:
    """Parse one YAML document into dicts, lists, strings, numbers, booleans and None.

    Raises:
        UsageError: not YAML, too long, or a duplicate key, an alias or a tag; names the line.
    """
    if len(text) > LONGEST:
        what = f"{len(text):,} characters of YAML, {LONGEST:,} are the most that is read"
        raise UsageError(what, where=where, hint="is it the file that was meant?")
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: it names no Python objects
    except UsageError as error:
        raise UsageError(
            error.what, where=f"{where}, {error.where}" if where else error.where, hint=error.hint
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = f"not usable YAML: {error.problem}"
        hint = "close what is open, indent with spaces, and quote a text that has a colon or begins with a sign"
        raise UsageError(what, where=", ".join(part for part in (where, place) if part), hint=hint) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).partition("\n")[0]
        hint = "plain text in UTF-8, a few levels deep, is all that is needed"
        raise UsageError(f"not usable YAML: {what}", where=where, hint=hint) from None
