import json

import pytest

from tests.cli.command_line import ticket
from ticketcli.bench.suites import loader_jpeg, mask_io
from ticketcli.bench.table import SUITES


def test_the_list_is_told_to_people_and_programs():
    assert "loader-jpeg" in ticket("bench", "--list").out
    suites = json.loads(ticket("bench", "--list", "--json").out)["suites"]
    assert [one["name"] for one in suites] == list(SUITES)
    assert suites[[one["name"] for one in suites].index("train-gpu")]["needs"] == ["a GPU"]


def test_an_unknown_suite_is_refused_before_anything_is_measured():
    found = ticket("bench", "tresholds")
    assert found.code == 2
    assert "threshold" in found.err


def test_rows_are_one_json_object_on_stdout_and_progress_goes_to_stderr():
    found = ticket("bench", "loader-jpeg", "train-gpu", "--json", "--scale", "0.01", "--budget", "0")
    rows = json.loads(found.out)["rows"]
    assert [row["suite"] for row in rows] == ["loader-jpeg", "train-gpu"]
    assert rows[0]["equality"]["holds"]
    assert rows[0]["ratio"]["n"] >= 6
    assert rows[0]["setting"]["scale"] == 0.01
    assert "GPU" in rows[1]["why"]
    assert "bench: loader-jpeg" in found.err
    assert found.code == 0


@pytest.mark.parametrize("flags", [(), ("-q",)])
def test_quiet_says_nothing_but_the_result(flags):
    found = ticket("bench", "loader-jpeg", "--scale", "0.01", "--budget", "0", *flags)
    assert ("bench:" in found.err) is not bool(flags)
    assert "equal: crops" in found.out


def test_what_is_unequal_ends_with_one(monkeypatch):
    monkeypatch.setattr(mask_io, "read_mask", lambda path: (None, {}))
    found = ticket("bench", "mask-io", "--scale", "0.01", "--budget", "0", "-q")
    assert found.code == 1
    assert "UNEQUAL" in found.out
    assert "NOT EQUAL: masks" in found.out


def test_a_suite_that_breaks_ends_with_one_and_says_what_broke(monkeypatch):
    monkeypatch.setattr(loader_jpeg, "run", lambda job: iter([1 / 0]))
    found = ticket("bench", "loader-jpeg", "--scale", "0.01", "-q")
    assert found.code == 1
    assert "unexpected ZeroDivisionError: division by zero" in found.out
