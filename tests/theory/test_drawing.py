import re
from xml.etree import ElementTree

import pytest

from tests.cli.command_line import ticket
from tests.drained import drained
from ticketcli.errors import InputMissing, UsageError
from ticketcli.theory import drawing, lcnn, orcnn

LCNN = lcnn.Lcnn(width=12, length=6, p=(0.05, 0.1, 0.3), seeds=2)
ORCNN = orcnn.Orcnn(width=60, p=(0.2, 0.5), seeds=2)


def test_a_figure_that_could_not_be_written_is_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(UsageError, match=r"does not end in \.svg"):
        drawing.require_drawing(tmp_path / "figure.png")
    with pytest.raises(InputMissing, match="no such folder"):
        drawing.require_drawing(tmp_path / "nowhere" / "figure.svg")


def drawn(path, theorem, found):
    if theorem == "lcnn":
        drawing.draw_lcnn(path, LCNN, found)
    else:
        drawing.draw_orcnn(path, ORCNN, found)
    return path.read_bytes()


@pytest.fixture(scope="module")
def measured():
    return {"lcnn": drained(lcnn.measure(LCNN)), "orcnn": drained(orcnn.measure(ORCNN))}


def tree(content):
    return ElementTree.fromstring(re.sub(rb' xmlns="[^"]*"', b"", content))


@pytest.mark.parametrize("theorem", ["lcnn", "orcnn"])
def test_a_figure_is_svg_and_the_same_bytes_each_time(tmp_path, measured, theorem):
    content = drawn(tmp_path / "one.svg", theorem, measured[theorem])
    assert ElementTree.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg"
    assert content == drawn(tmp_path / "other.svg", theorem, measured[theorem])


@pytest.mark.parametrize(
    ("theorem", "n_marks"), [("lcnn", 2 * 4 * (len(LCNN.p) + 1)), ("orcnn", 4 * (len(ORCNN.p) + 1))]
)
def test_every_mean_has_a_mark_and_a_bar_over_the_seeds(tmp_path, measured, theorem, n_marks):
    root = tree(drawn(tmp_path / "one.svg", theorem, measured[theorem]))
    marks = [one for one in root.iter() if one.tag in ("circle", "polygon")]
    assert len(marks) == n_marks  # those of the legend too
    assert len([one for one in root.iter("path") if "h8" in one.get("d")]) == n_marks - (8 if theorem == "lcnn" else 4)


@pytest.mark.parametrize("theorem", ["lcnn", "orcnn"])
def test_a_figure_says_what_to_type_for_the_same_numbers(tmp_path, measured, theorem):
    root = tree(drawn(tmp_path / "one.svg", theorem, measured[theorem]))
    command = re.search(r"Command: ticket (.*?)\. Seeds: 0, 1\.", root.find("desc").text)[1].split()
    result = ticket(*command, "-q", "--svg", tmp_path / "again.svg")
    assert result.code == 0, result
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "one.svg").read_bytes()


def test_both_panels_of_theorem_3_1_have_one_height(tmp_path, measured):
    root = tree(drawn(tmp_path / "one.svg", "lcnn", measured["lcnn"]))
    ticks = [
        [(one.text, one.get("y")) for one in panel.iter("text") if one.get("text-anchor") == "end"]
        for panel in root.findall("g")
    ]
    assert len(ticks) == 2
    assert ticks[0] == ticks[1]


def test_the_bound_of_theorem_3_1_is_drawn_no_further_than_it_holds(tmp_path, measured):
    root = tree(drawn(tmp_path / "one.svg", "lcnn", measured["lcnn"]))
    panel = root.find("g")
    (bound,) = (one for one in panel.iter("path") if one.get("class") == "reference")
    last = float(re.findall(r"([\d.]+) [\d.]+", bound.get("d"))[-1])
    tick = {one.text: float(one.get("x")) for one in panel.iter("text") if one.text in ("0.1", "0.3")}
    assert tick["0.1"] < last < tick["0.3"]


def test_without_the_theorems_rule_there_is_no_bound(tmp_path, measured):
    controls = [one for one in measured["lcnn"] if one.rule != "kernel-sum"]
    assert b"bound of theorem" not in drawn(tmp_path / "one.svg", "lcnn", controls)


def test_one_seed_has_no_bars(tmp_path):
    sizes = lcnn.Lcnn(width=12, length=6, p=(0.05, 0.1), seeds=1)
    drawing.draw_lcnn(tmp_path / "one.svg", sizes, drained(lcnn.measure(sizes)))
    assert b"h8M" not in (tmp_path / "one.svg").read_bytes()
