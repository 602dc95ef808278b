import json

import pytest

from ticketcli.bench.job import BenchJob, same
from ticketcli.bench.row import Goal, Row, Setting
from ticketcli.bench.run import chosen, run_suite, run_suites
from ticketcli.bench.show import as_text, listing
from ticketcli.bench.table import SUITES, Suite
from ticketcli.errors import InputMissing, UsageError
from ticketcli.pairing import Interval

WHERE = Setting("a machine", 1, {"torch": "2"}, 0.01)


def job_of(tmp_path, suite="threshold", **how):
    return BenchJob(suite, WHERE, tmp_path, 0.0, **how)


def row(ratio, goal, low=1.0, high=1.0):
    return Row("s", "w", "p", "s", 1.0, 1.0, Interval(ratio, ratio, ratio, 6), Interval(1.0, low, high, 6), goal)


@pytest.mark.parametrize(
    ("goal", "ratio", "verdict"),
    [
        (Goal("faster", 2), 2.0, "met"),
        (Goal("faster", 2), 1.6, "missed by 25 %"),
        (Goal("cost", 0.5), 0.5, "met"),
        (Goal("cost", 0.5), 0.6, "missed by 20 %"),
        (Goal("cost", 0.5), 0.1, "met"),
        (Goal("faster", 2), 90.0, "met"),
        (None, 5.0, ""),
    ],
)
def test_a_goal_is_met_or_missed_by_so_much(goal, ratio, verdict):
    assert row(ratio, goal).verdict == verdict


def test_goals_are_about_real_sizes():
    from dataclasses import replace

    assert replace(row(0.1, Goal("faster", 2)), setting=WHERE).verdict == ""
    assert replace(row(0.1, Goal("faster", 2)), setting=replace(WHERE, scale=1.0)).verdict == "missed by 1900 %"


def test_a_noisy_row_says_so():
    assert row(3.0, Goal("faster", 2), high=1.2).verdict == "met, noisy"


def test_what_is_unequal_is_never_timed(tmp_path):
    called = []
    found = job_of(tmp_path).compare(
        "w", lambda: called.append(1), "p", lambda: called.append(2), equality=lambda: same("x", False)
    )
    assert found.verdict == "UNEQUAL"
    assert not called
    assert found.failed


def test_the_ratio_points_where_the_goal_points(tmp_path):
    job = job_of(tmp_path)
    good = same("x", True)
    assert job.counted("w", 10, "p", 40, equality=good, goal=Goal("cost", 0.5)).ratio.median == 0.25
    assert job.counted("w", 10, "p", 40, equality=good, goal=Goal("faster", 2)).ratio.median == 4
    assert job.counted("w", 10, "p", 40, equality=good).ratio.median == 4


def test_a_row_is_json_with_its_verdict_and_where_it_was_measured(tmp_path):
    found = json.loads(json.dumps(job_of(tmp_path).absent("w", "p", "no such thing").as_json()))
    assert found["why"] == "no such thing"
    assert found["verdict"] == "not run"
    assert found["setting"]["machine"] == "a machine"


def test_suites_are_known_by_name_and_all_are_chosen_by_default():
    assert chosen([]) == list(SUITES)
    assert chosen(["step", "recon", "step"]) == ["step", "recon"]
    with pytest.raises(UsageError, match=r"no suite 'treshold'\n.*\n.*threshold"):
        chosen(["treshold"])


def test_the_time_is_shared_out_among_comparisons(monkeypatch):
    seen = {}
    monkeypatch.setattr("ticketcli.bench.run.run_suite", lambda job: seen.setdefault(job.suite, [job.seconds]) and [])
    list(run_suites(["recon", "loader-jpeg"], seconds=30, where=WHERE))
    assert seen == {"recon": [10.0], "loader-jpeg": [10.0]}


def _suite(monkeypatch, error):
    def raising(job):
        yield job.absent("first", "p", "of no matter")
        raise error

    monkeypatch.setattr("ticketcli.bench.suites.threshold.run", raising)


def test_an_error_in_a_suite_is_a_row_and_what_it_had_found_stays(monkeypatch, tmp_path):
    _suite(monkeypatch, InputMissing("no images", hint="look elsewhere"))
    assert [row.why for row in run_suite(job_of(tmp_path))] == ["of no matter", "no images; try: look elsewhere"]


def test_an_unexpected_error_is_a_row_that_says_so(monkeypatch, tmp_path):
    _suite(monkeypatch, ZeroDivisionError("by zero\nmore"))
    assert [row.why for row in run_suite(job_of(tmp_path))][1] == "unexpected ZeroDivisionError: by zero"


def test_what_a_suite_needs_and_is_not_here_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(SUITES, "odd", Suite("nowhere:run", "s", 1, ("hotcoco_of_tomorrow",)))
    monkeypatch.setitem(__import__("ticketcli.bench.table").bench.table.HOW, "hotcoco_of_tomorrow", "wait")
    (found,) = run_suite(job_of(tmp_path, "odd"))
    assert found.why == "hotcoco_of_tomorrow is not installed: wait"


def test_the_table_tells_reduced_sizes_misses_and_why_something_did_not_run(tmp_path):
    job = job_of(tmp_path)
    rows = [row(1.6, Goal("faster", 2)), job.absent("w", "p", "no GPU here")]
    text = as_text(rows, WHERE)
    assert "missed by 25 %" in text
    assert "no GPU here" in text
    assert "0.01 OF THE REAL ONES" in text
    assert "REAL ONES" not in as_text(rows, Setting("m", 2, {}, 1.0))


def test_the_list_names_every_suite():
    assert all(f"{name} " in listing() for name in SUITES)
