"""Whatever words go in, an SVG comes out that an XML parser reads, with those words and no others."""

import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from ticketcli.figures.svg import clean, element, shortened, tip, width_of, words, wrapped


@given(st.text())
def test_any_text_is_well_formed_and_comes_back(text):
    tree = ET.fromstring(element("g", words(text, 1, 2), tip(text + "."), data_name=text))
    assert (tree.find("text").text or "").replace("\r", "\n") == clean(text).replace("\r\n", "\n").replace("\r", "\n")
    assert tree.find("title") is not None
    assert len(tree) == 2


def test_markup_in_names_is_text():
    drawn = element("g", words("<script>alert(1)</script>", 0, 0), title='" onload="alert(1)')
    assert "<script" not in drawn
    assert ET.fromstring(drawn).get("title") == '" onload="alert(1)'


def test_numbers_have_no_more_digits_than_a_screen_shows():
    assert element("line", x1=1 / 3, y1=2.0, x2=-0.0001) == '<line x1="0.33" y1="2" x2="0"/>'


@given(st.text(min_size=1), st.floats(20, 500))
def test_what_is_shortened_fits(text, width):
    assert width_of(shortened(text, 12, width), 12) <= max(width, 2 * width_of("x", 12))


@given(st.lists(st.floats(1, 300), max_size=30))
def test_wrapped_items_are_all_there_and_lie_within_the_width(widths):
    lines = wrapped(widths, 300, 10)
    assert [number for line in lines for number, _ in line] == list(range(len(widths)))
    assert all(at + widths[number] <= 300 for line in lines for number, at in line)
