"""A refusal says what to type instead."""

import ast
from pathlib import Path

import pytest

import ticketcli

PACKAGE = Path(ticketcli.__file__).parent
FILES = sorted(path for room in ("recipe", "launch") for path in (PACKAGE / room).rglob("*.py"))


def without_hint(source):
    """The lines of usage errors that are made without `hint=`, or with an empty one."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    made = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "UsageError"]
    hints = [(call.lineno, [word.value for word in call.keywords if word.arg == "hint"]) for call in made]
    return [line for line, hint in hints if not hint or getattr(hint[0], "value", "text") == ""]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_usage_error_has_a_hint(path):
    assert without_hint(path.read_text()) == []


@pytest.mark.parametrize(("hint", "lines"), [("", [1]), (', hint=""', [1]), (', hint="this"', []), (", hint=word", [])])
def test_a_usage_error_without_a_hint_is_seen(hint, lines):
    assert without_hint(f'UsageError("what", where="there"{hint})') == lines
