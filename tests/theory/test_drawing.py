from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.drained import drained
from ticketcli.errors import InputMissing, UsageError
from ticketcli.theory import drawing, lcnn, orcnn


def test_a_figure_that_could_not_be_written_is_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(UsageError, match=r"does not end in \.svg"):
        drawing.require_drawing(tmp_path / "figure.png")
    with pytest.raises(InputMissing, match="no such folder"):
        drawing.require_drawing(tmp_path / "nowhere" / "figure.svg")


def test_without_matplotlib_it_is_said_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"matplotlib is not installed") as caught:
        drawing.require_drawing(Path(tmp_path / "figure.svg"))
    assert "pip install 'ticketcli[report]'" in caught.value.hint


def drawn(tmp_path, theorem):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"{theorem}.svg"
    if theorem == "lcnn":
        sizes = lcnn.Lcnn(width=12, length=6, p=(0.05, 0.1, 0.3), seeds=2)
        drawing.draw_lcnn(path, sizes, drained(lcnn.measure(sizes)))
    else:
        wide = orcnn.Orcnn(width=60, p=(0.2, 0.5), seeds=2)
        drawing.draw_orcnn(path, wide, drained(orcnn.measure(wide)))
    return path.read_bytes()


@pytest.mark.parametrize("theorem", ["lcnn", "orcnn"])
def test_a_figure_is_svg_and_the_same_bytes_each_time(tmp_path, theorem):
    content = drawn(tmp_path, theorem)
    assert ElementTree.fromstring(content).tag.endswith("svg")
    assert content == drawn(tmp_path, theorem)
