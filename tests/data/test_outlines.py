import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as oracle

from tests.annotations.small_set import document
from ticketcli.data.outlines import bitmap, run_lengths
from ticketcli.errors import InputMissing

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own


def by_pycocotools(segmentation, height, width):
    if isinstance(segmentation, list):
        runs = oracle.merge(oracle.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        runs = oracle.frPyObjects(segmentation, height, width)
    else:
        runs = dict(segmentation, counts=segmentation["counts"].encode())
    return oracle.decode(runs)


OUTLINES = [entry["segmentation"] for entry in document()["annotations"] if entry["segmentation"]]


@pytest.mark.parametrize("outline", OUTLINES)
def test_every_kind_of_outline_is_drawn_as_pycocotools_draws_it(outline):
    size = (40, 60) if isinstance(outline, list) else tuple(outline["size"])
    drawn = bitmap(outline, *size)
    assert drawn.dtype == np.uint8
    assert drawn.flags.f_contiguous
    assert np.array_equal(drawn, by_pycocotools(outline, *size))


@given(st.lists(st.lists(st.floats(-20, 80, width=32), min_size=6, max_size=14).filter(lambda p: len(p) % 2 == 0), min_size=1, max_size=3))  # fmt: skip
def test_polygons_of_any_shape_are_drawn_as_pycocotools_draws_them(polygons):
    assert np.array_equal(bitmap(polygons, 40, 60), by_pycocotools(polygons, 40, 60))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_run_lengths_there_and_back(height, width, seed):
    drawn = np.random.default_rng(seed).integers(0, 2, (height, width)).astype(bool)
    assert np.array_equal(bitmap(run_lengths(drawn), height, width), drawn)


def test_without_the_extra_polygons_say_what_to_install_and_run_lengths_need_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(InputMissing, match="hotcoco") as caught:
        bitmap(OUTLINES[0], 40, 60)
    assert caught.value.hint == "pip install 'ticketcli[coco]'"
    assert bitmap(OUTLINES[-1], 33, 50).sum() == 12
