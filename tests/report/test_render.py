"""Tables in a narrow terminal: numbers and names stay whole."""

import pytest

from ticketcli.report import render

HEAD, RIGHT = ["unit", "kept", "why"], ["kept"]
ROWS = [["round-01", "1,234.5 kB", "words that may well be folded because they are only words"]]


@pytest.mark.parametrize("columns", [80, 60, 40, 10])
def test_numbers_and_short_names_are_never_folded(monkeypatch, columns):
    monkeypatch.setattr(render, "width", lambda: columns)
    text = render.table(HEAD, ROWS, right=RIGHT)
    assert "1,234.5 kB" in text
    assert "round-01" in text


def test_a_table_that_can_be_made_to_fit_fits(monkeypatch):
    monkeypatch.setattr(render, "width", lambda: 42)
    assert max(map(len, render.table(HEAD, ROWS, right=RIGHT).splitlines())) <= 42


def test_gaps_shrink_before_a_line_runs_over(monkeypatch):
    numbers = [["round-01", "1,234,567", "12.5%"]]
    monkeypatch.setattr(render, "width", lambda: 24)
    assert max(map(len, render.table(HEAD, numbers, right=["kept", "why"]).splitlines())) <= 24


def test_a_number_stays_beside_its_unit_even_where_the_line_runs_over(monkeypatch):
    monkeypatch.setattr(render, "width", lambda: 24)
    text = render.table(HEAD, [["round-01", "1,234.5 kB", "12.5 kB"]], right=["kept", "why"])
    assert "1,234.5 kB 12.5 kB" in text
