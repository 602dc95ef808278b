"""Cost as work grows: the fit, the table and the drawing."""

import json
from xml.etree import ElementTree

import pytest

from tests.cli.command_line import ticket
from ticketcli.bench import growth
from ticketcli.bench.growth import Growth, Point, fitted
from ticketcli.bench.growth_page import as_text, figure_of
from ticketcli.bench.row import Setting

HERE = Setting("a machine", 1, {}, 1.0)


@pytest.mark.parametrize(("fixed", "each", "exponent"), [(3.0, 0.2, 1.0), (0.0, 0.5, 1.5), (1.0, 0.001, 2.0)])
def test_the_growth_that_made_the_figures_is_found(fixed, each, exponent):
    points = [Point(n, fixed + each * n**exponent) for n in (1, 2, 4, 10, 30)]
    found = fitted("work", "rounds", points)
    assert found.exponent == pytest.approx(exponent, abs=0.02)
    assert found.fixed == pytest.approx(fixed, abs=0.02)


def test_three_sizes_are_too_few_for_a_fit():
    found = fitted("work", "rounds", [Point(n, float(n)) for n in (1, 2, 4)])
    assert found.exponent is None
    assert "too few sizes" in as_text([found], HERE)


def test_a_size_that_does_not_fit_into_memory_is_left_out_and_named(monkeypatch):
    monkeypatch.setattr(growth, "_free_memory", lambda: 8 * 40_000)
    found = growth._selection([10_000, 30_000, 100_000], lambda text: None)
    assert [point.n for point in found.points] == [10_000, 30_000]
    assert "1e+05 weights do not fit" in found.left_out


def test_the_drawing_has_a_curve_for_each_work_and_its_formula():
    found = [fitted("select", "weights", [Point(n, n / 1e6) for n in (1000, 3000, 10_000, 30_000)])]
    svg = figure_of(found, HERE).file()
    ElementTree.fromstring(svg)
    assert "select: weights (n^1.00)" in " ".join(svg.split())


def test_memory_is_told_as_a_share_of_the_weights():
    text = as_text([Growth("select", "weights", (Point(1000, 0.1, 40),))], HERE)
    assert "(1.0%)" in text


@pytest.mark.parametrize("words", [["threshold", "--growth"], ["--svg", "x.svg"]])
def test_options_that_do_not_go_together_are_refused(words):
    found = ticket("bench", *words)
    assert found.code == 2
    assert "--growth" in found.err


@pytest.mark.slow
def test_every_work_is_measured_and_drawn(tmp_path):
    answer = ticket("bench", "--growth", "--scale", "0.001", "--svg", tmp_path / "g.svg", "--json", "-q")
    assert answer.code == 0
    found = json.loads(answer.out)["growths"]
    assert [one["unit"] for one in found] == ["weights", "rounds", "tickets", "tickets", "processes"]
    assert (tmp_path / "g.svg").exists()
