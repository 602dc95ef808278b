import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as oracle

from ticketcli.annotations.run_lengths import area_of, unpacked


@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=30))
def test_what_pycocotools_packs_is_unpacked(counts):
    packed = oracle.frPyObjects({"size": [1, sum(counts)], "counts": counts}, 1, sum(counts))
    assert unpacked(packed["counts"].decode()) == counts


@pytest.mark.parametrize("text", ["o", "0 0", "é", "00N", "\x7f"])
def test_what_is_no_packed_string_is_refused(text):
    with pytest.raises(ValueError):
        unpacked(text)


def test_the_area_of_run_lengths_is_pycocotools(tmp_path):
    drawn = np.asfortranarray(np.random.default_rng(0).integers(0, 2, (13, 17), dtype=np.uint8))
    packed = oracle.encode(drawn)
    assert area_of(packed | {"counts": packed["counts"].decode()}) == drawn.sum()


def test_the_area_of_a_polygon_does_not_hang_on_its_direction():
    square = [2, 2, 6, 2, 6, 6, 2, 6]
    turned = [2, 6, 6, 6, 6, 2, 2, 2]
    assert area_of([square]) == area_of([turned]) == 16
