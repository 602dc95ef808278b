import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketcli.report.grid import Grid

LONG = "a label of many words that says everything there is to say about this one arm"
words = st.text(st.sampled_from("ab c"), min_size=1, max_size=60).map(str.strip).filter(bool)


def test_a_table_that_fits_is_one_block():
    grid = Grid(("arm", "n", "top-1"), (("a", "3", "90.00%"), ("long one", "12", "9.00%")))
    assert grid.as_text(80) == "arm        n   top-1\na          3  90.00%\nlong one  12   9.00%"


@given(st.lists(words, min_size=1, max_size=4), st.integers(1, 9), st.integers(40, 130))
def test_no_line_is_wider_than_asked_and_no_number_is_broken(labels, n_numbers, width):
    numbers = tuple(f"{1000 + index}.5%" for index in range(n_numbers))
    text = Grid(("arm", *("x" * 9,) * n_numbers), tuple((label, *numbers) for label in labels)).as_text(width)
    assert all(len(line) <= width for line in text.splitlines())
    assert all(text.count(number) == len(labels) for number in numbers)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_long_label_is_broken_between_words(width):
    text = Grid(("arm", "sparse", "top-1"), ((LONG, "91.41%", "93.00%"),)).as_text(width)
    assert all(len(line) <= width for line in text.splitlines())
    assert [word for line in text.splitlines()[1:] for word in line.split() if "%" not in word] == LONG.split()


def test_columns_that_do_not_fit_go_below_with_the_labels_repeated_and_groups_together():
    grid = Grid(("arm", "sparse", "top-1", "sd"), (("some arm", "91.41%", "93.00%", "0.52"),), 1, (0, 1, 2, 2))
    assert grid.as_text(25) == "arm       sparse\nsome arm  91.41%\n\narm        top-1    sd\nsome arm  93.00%  0.52"


def test_empty_columns_go_but_labels_stay():
    grid = Grid(("arm", "a", "b"), (("", "", "1"),)).without_empty()
    assert grid.columns == ("arm", "b")


def test_markdown_keeps_its_columns_whatever_the_label():
    lines = Grid(("arm", "n"), (("a|b", "3"),)).as_markdown().splitlines()
    assert lines == ["| arm | n |", "| --- | ---: |", r"| a\|b | 3 |"]
