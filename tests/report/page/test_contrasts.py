"""Paired differences on the page: those of the tables, and those that a study hands in."""

from dataclasses import replace

import pytest

from tests.report.page.test_families import subject
from tests.report.test_tables import ARMS, A, B, arms
from ticketcli.report.effects import Effect, table_effects
from ticketcli.report.intervals import summarize
from ticketcli.report.measures import Measure
from ticketcli.report.page.contrasts import answers, contrasts
from ticketcli.report.page.page import chapters
from ticketcli.report.page.section import Names, Shown, Words


def grids(section):
    return [block.grid for block in section.blocks if isinstance(block, Shown)]


def test_the_tables_differences_are_drawn_with_their_intervals():
    one = subject(ARMS, arms(a=A, b=B))
    section = contrasts(one, Names())
    (line,) = section.figures[0].drawing.lines
    told = one.report.tables[0].against["test.top1"][1].summary
    assert (line.value, line.low, line.high) == (told.mean, told.low, told.high)
    assert dict(section.figures[0].facts)["n"] == "3 pairs"


def test_a_difference_that_is_told_twice_is_shown_once():
    (table,) = subject(ARMS, arms(a=A, b=B)).report.tables
    assert [effect.name for effect in table_effects(table)] == ["b, less a"]


def test_contrasts_that_are_handed_in_come_first_with_margin_power_and_verdict():
    values = [0.01, 0.03, 0.02, 0.00]
    effect = Effect(
        "with, less without", Measure("miou", "mIoU"), summarize(values), tuple(values), 0.04, 0.005, 0.019, "primary",
        "equivalent within the margin",
    )  # fmt: skip
    one = replace(subject(ARMS, arms(a=A, b=B)), effects={"the study": [effect]})
    section = contrasts(one, Names())
    assert [figure.title for figure in section.figures] == ["Differences in mIoU: the study", "Differences in top-1: t"]
    (row,) = grids(section)[0].rows
    shown = dict(zip(grids(section)[0].columns, row, strict=True))
    assert (shown["role"], shown["verdict"]) == ("primary", "equivalent within the margin")
    assert (shown["detectable"], shown["p, adjusted"], shown["pairs"]) == ("1.90", "0.04", "4")
    assert section.figures[0].drawing.lines[0].margin == 0.005
    assert "power of 80 %" in " ".join(section.blocks[1].notes)


def test_what_the_recipe_asks_is_answered_first_and_what_is_only_described_is_not():
    asked = "better: {what: b is better, role: primary, of: t, metric: test.top1, plus: b, less: a}"
    described = "beside: {of: t, metric: test.top1, plus: a, less: b}"
    text = ARMS.replace("compare: [b, a]}", f"contrasts: {{{asked}, {described}}}}}")
    one = subject(text, arms(a=A, b=B))
    assert [section.name for section in chapters([one])[0].sections][:2] == ["answers", "results"]
    line, numbers = answers(one).blocks
    assert line.text.startswith('better (primary) "b is better": ')
    assert [row[0] for row in numbers.grid.rows] == ["better"]
    assert answers(subject(ARMS, arms(a=A, b=B))) is None


def test_without_a_pair_there_are_words_and_no_figure():
    section = contrasts(subject(ARMS, arms(a=A)), Names())
    assert not section.figures
    assert isinstance(section.blocks[0], Words)


@pytest.mark.parametrize(
    ("values", "words"),
    [([0.1], "one pair has no interval"), ([0.1, 0.1], "no interval"), ([0.1, -0.1], "inconclusive"),
     ([0.1, 0.11, 0.12], "higher in this run"), ([-0.1, -0.11, -0.12], "lower in this run")],
)  # fmt: skip
def test_a_verdict_says_no_more_than_the_interval(values, words):
    from ticketcli.report.effects import verdict

    assert words in verdict(summarize(values))
