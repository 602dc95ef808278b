"""-v: every command has it, so that what an unexpected error says to type can be typed; it changes no exit code."""

import importlib
import re

import pytest

from tests.cli.command_line import ticket
from ticketcli.cli import status
from ticketcli.cli.app import COMMANDS


def commands():
    """The words of every command, those in groups too."""
    for name, (module, _, _) in COMMANDS.items():
        made = importlib.import_module(f"ticketcli.cli.{module}").command(name)
        yield from ([name, inner] for inner in made.commands) if hasattr(made, "commands") else [[name]]


@pytest.fixture
def broken(monkeypatch):
    def breaks(root):
        raise KeyError("oops")

    monkeypatch.setattr(status, "Run", breaks)


def hinted():
    """The flag that an unexpected error says to add."""
    result = ticket("status")
    assert result.code == 1, result
    assert "error: unexpected KeyError: 'oops'" in result.err
    assert "Traceback" not in result.err
    return re.search(r"the same command with (-\S+),", result.err)[1]


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_takes_the_flag_that_an_unexpected_error_names(words, broken):
    shown = ticket(*words, hinted(), "--help")
    assert shown.code == 0, shown
    assert "--verbose" in shown.out


@pytest.mark.parametrize("flag", ["HINTED", "-v", "-vv", "--verbose"])
def test_the_flag_shows_where_an_unexpected_error_comes_from(broken, flag):
    result = ticket("status", hinted() if flag == "HINTED" else flag)
    assert result.code == 1
    assert "Traceback" in result.err
    assert "in breaks" in result.err
    assert "error: unexpected KeyError: 'oops'" in result.err


def test_the_flag_may_be_joined_with_another_and_changes_no_exit_code(tmp_path):
    plain = ticket("pretrain", "--data", "digit", "--run", tmp_path, "-q")
    told = ticket("pretrain", "--data", "digit", "--run", tmp_path, "-qv")
    assert (plain.code, told.code) == (2, 2)
    assert "Traceback" in told.err
    assert told.err.endswith(plain.err)


def test_nothing_but_an_error_is_said_otherwise(tmp_path):
    assert ticket("recipes", "ls", "-v").out == ticket("recipes", "ls").out
