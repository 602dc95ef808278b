"""Charts, heatmaps and forests: what has to be seen is drawn, and where it belongs."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

from ticketcli.figures.chart import WIDTH, Chart, Curve, Level, Point, thinned
from ticketcli.figures.figure import Figure, Raster
from ticketcli.figures.forest import Forest, Line
from ticketcli.figures.heatmap import Heatmap, shade
from ticketcli.figures.panels import Panels
from ticketcli.figures.scales import Axis

AXES = Axis("x"), Axis("y")


def tree(drawing, **words):
    figure = Figure("name", words.get("title", "title"), "caption", (("n", "3"),), drawing)
    ET.fromstring(figure.inline())
    return ET.fromstring(re.sub(' xmlns="[^"]*"', "", figure.file()))


def marks(root, look):
    return [one for one in root.iter("circle") if one.get("class") == f"fill s{look}" and one.get("r") == "4.5"]


def test_a_greater_value_is_drawn_higher_and_a_later_one_further_right():
    root = tree(Chart(*AXES, (Curve("a", (Point(1, 1), Point(2, 5), Point(3, 2))),)))
    places = [(float(one.get("cx")), float(one.get("cy"))) for one in marks(root, 0)][:3]  # then the legend's
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert places[1][1] < places[2][1] < places[0][1]


def test_an_interval_reaches_from_its_low_to_its_high_end():
    root = tree(Chart(*AXES, (Curve("a", (Point(1, 2, 1, 4), Point(2, 2))),), (Level("low", 1), Level("high", 4))))
    bar = next(one.get("d") for one in root.iter("path") if "h8" in one.get("d"))
    low, high = (float(one) for one in re.match(r"M\S+ (\S+)V([\d.]+)", bar).groups())
    levels = [float(one.get("y1")) for one in root.iter("line") if one.get("class") == "reference"][:2]
    assert [low, high] == [round(level, 1) for level in levels]
    assert high < low


def test_points_at_one_place_do_not_hide_each_other():
    curves = tuple(Curve(f"c{k}", (Point(1, 2), Point(2, 3)), 0) for k in range(3))
    places = [(one.get("cx"), one.get("cy")) for one in marks(tree(Chart(*AXES, curves)), 0)]
    assert len(set(places)) == len(places) == 9  # six, and three in the legend


def test_points_that_are_set_apart_stay_nearer_to_each_other_than_to_the_next_place():
    curves = tuple(Curve(f"c{k}", tuple(Point(x, 2) for x in range(1, 16)), 0) for k in range(8))
    places = [float(one.get("cx")) for one in marks(tree(Chart(*AXES, curves)), 0)][:-8]  # then the legend's
    at = [sorted(places[k::15]) for k in range(15)]
    assert all(after[0] - one[-1] > (one[-1] - one[0]) / 2 for one, after in pairwise(at))


def test_everything_lies_within_the_figure():
    points = tuple(Point(x, x**2, x**2 - 5, x**2 + 5, (x**2 - 4, x**2 + 4)) for x in range(1, 6))
    curves = tuple(Curve("a very long name " * 9, points, k, is_control=k > 1) for k in range(9))
    root = tree(Chart(*AXES, curves, (Level("dense " * 30, 20, 15, 25),), ((2, "r2"), (4, "r4"))))
    high = float(root.get("height"))
    for one in root.iter():
        for name, limit in (("x", WIDTH), ("cx", WIDTH), ("x1", WIDTH), ("x2", WIDTH), ("y", high), ("cy", high)):
            assert 0 <= float(one.get(name, 0)) <= limit, ET.tostring(one)


def test_the_legend_names_every_curve_and_level_and_no_hidden_one():
    curves = (Curve("one", (Point(1, 1), Point(2, 2))), Curve("two", (Point(1, 2), Point(2, 1)), 1, in_legend=False))
    words = [one.text for one in tree(Chart(*AXES, curves, (Level("dense", 1.5),))).iter("text")]
    assert {"one", "dense"} <= set(words)
    assert "two" not in words


def test_a_long_curve_is_thinned_and_keeps_its_mean_and_its_end():
    points = [Point(x, x % 7) for x in range(1000)]
    found = thinned(points, 100)
    assert len(found) == 100
    assert found[-1].x == 999
    assert abs(sum(one.y for one in found) / 100 - sum(one.y for one in points) / 1000) < 1e-9
    assert thinned(points[:50], 100) == tuple(points[:50])


def test_a_cell_of_nothing_has_a_cross_and_the_shades_darken():
    drawing = Heatmap(("r",), ("a", "b"), ((0.0, 1.0),), (("0%", "100%"),), crossed=frozenset({(0, 0)}))
    root = tree(drawing)
    assert [one.get("d") is not None for one in root.iter("path")] == [True]
    assert root.find("path/title").text == "r, a: 0%"
    brightness = [sum(int(shade(k / 10)[i : i + 2], 16) for i in (1, 3, 5)) for k in range(11)]
    assert brightness == sorted(brightness, reverse=True)


def test_a_wide_heatmap_is_wider_than_a_phone_and_says_so():
    columns = tuple(f"layer{k}" for k in range(120))
    drawing = Heatmap(("r",), columns, ((0.5,) * 120,), (("50%",) * 120,))
    assert float(tree(drawing).get("width")) > 1000
    assert "min-width:1" in Figure("n", "t", "c", (), drawing).inline()


def test_a_forest_shows_the_line_of_no_difference_and_the_margin():
    lines = (Line("a, less b", 1.0, -1.0, 3.0, margin=0.5), Line("c, less d", -2.0))
    root = tree(Forest(Axis("difference"), lines))
    zero = float(next(one for one in root.iter("line") if one.get("class") == "reference").get("x1"))
    band = next(one for one in root.iter("rect") if one.get("class") == "quiet")
    left, width = float(band.get("x")), float(band.get("width"))
    assert abs(left + width / 2 - zero) < 0.05
    assert "a, less b" in [one.text for one in root.iter("text")]


def test_a_figure_says_what_it_shows_to_those_who_do_not_see_it():
    root = tree(Chart(*AXES, (Curve("a", (Point(1, 1),)),)), title="<b>")
    assert root.get("role") == "img"
    named = {one.get("id"): one.text for one in root if one.get("id")}
    assert named[root.get("aria-labelledby")] == "<b>"
    assert named[root.get("aria-describedby")] == "caption n: 3."


def test_a_picture_is_a_file_like_the_others():
    root = tree(Raster(b"12", "image/png", 40, 30))
    assert root.find("image").get("href") == "data:image/png;base64,MTI="
    assert (root.get("width"), root.get("height")) == ("40", "30")


def test_what_was_measured_may_be_left_unjoined_and_a_bound_looks_like_a_level():
    points = (Point(1, 1), Point(2, 2))
    root = tree(Chart(*AXES, (Curve("a", points, is_joined=False), Curve("bound", points, 1, is_bound=True))))
    (path,) = root.iter("path")
    assert path.get("class") == "reference"
    assert not [one for one in root.iter() if one.get("class") in ("line s0", "fill s1")]
    assert len(marks(root, 0)) == 3  # with the legend's


def test_controls_lie_under_what_they_are_controls_of():
    curves = (Curve("a", (Point(1, 1),)), Curve("b", (Point(1, 1),), 2, is_control=True))
    drawn = [one.get("class") for one in tree(Chart(*AXES, curves, sets_apart=False)).iter()]
    assert drawn.index("line s2 hollow") < drawn.index("fill s0")


def test_points_that_are_not_set_apart_stand_where_they_are():
    curves = tuple(Curve(f"c{k}", (Point(1, 2), Point(2, 3)), 0) for k in range(3))
    places = {one.get("cx") for one in marks(tree(Chart(*AXES, curves, sets_apart=False)), 0)[:6]}
    assert len(places) == 2


def test_heights_are_shown_whatever_the_curves_reach():
    root = tree(Chart(*AXES, (Curve("a", (Point(1, 5), Point(2, 6))),), heights=(0.0,)))
    assert "0" in [one.text for one in root.iter("text") if one.get("text-anchor") == "end"]


def test_panels_stand_beside_each_other_under_their_headings():
    chart = Chart(*AXES, (Curve("a", (Point(1, 1), Point(2, 2))),))
    root = tree(Panels("both", (("left", chart), ("right", chart))))
    assert [one.text for one in root.findall("text")] == ["both", "left", "right"]
    first, second = (float(re.match(r"translate\((\S+) ", one.get("transform"))[1]) for one in root.findall("g"))
    assert first + WIDTH <= second
    assert float(root.get("width")) == second + WIDTH
    assert float(root.get("height")) > chart.draw()[2]
