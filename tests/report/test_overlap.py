import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketcli.errors import MismatchError
from ticketcli.report.overlap import Pair, layer_overlaps, layers_table, whole_overlap
from ticketcli.store.mask import Mask

ONE = Mask({"a": [1, 1, 0, 0], "b": [[1, 0], [1, 1]]})
OTHER = Mask({"a": [1, 0, 1, 0], "b": [[1, 1], [0, 1]]})


def test_counts_and_ratios_of_a_layer_are_those_worked_out_by_hand():
    found = layer_overlaps(ONE, OTHER)["a"]
    assert (found.first, found.second, found.total, found.shared, found.expected) == (2, 2, 4, 1, 1.0)
    assert found.jaccard == 1 / 3
    assert found.chance == 1 / 3
    assert found.above_chance == 0
    assert found.first_in_second == 1 / 2


def test_the_whole_sums_the_layers_expected_counts():
    whole = whole_overlap(layer_overlaps(ONE, OTHER))
    assert (whole.first, whole.second, whole.total, whole.shared) == (5, 5, 8, 3)
    assert whole.expected == 2 * 2 / 4 + 3 * 3 / 4
    assert whole.jaccard == 3 / 7
    assert whole.chance == 3.25 / 6.75


def test_two_masks_that_merely_thin_the_same_layers_are_not_taken_for_alike():
    draw = np.random.default_rng(0)
    one, other = (Mask({"thin": draw.random(20_000) < 0.05, "thick": draw.random(20_000) < 0.9}) for _ in "12")
    found = whole_overlap(layer_overlaps(one, other))
    assert found.jaccard > 0.7
    assert abs(found.above_chance) < 0.01


def test_the_expected_count_is_the_mean_over_random_masks():
    draw = np.random.default_rng(1)
    base = np.zeros(60, dtype=bool)
    base[:20] = True
    shared = []
    for _ in range(3000):
        one, other = Mask({"w": draw.permutation(base)}), Mask({"w": draw.permutation(base)})
        shared.append(layer_overlaps(one, other)["w"].shared)
    assert np.mean(shared) == pytest.approx(20 * 20 / 60, rel=0.02)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12))
def test_ratios_stay_in_their_ranges_and_whatever_is_undefined_is_null(bits):
    one, other = (Mask({"w": [pair[side] for pair in bits]}) for side in (0, 1))
    found = layer_overlaps(one, other)["w"]
    for value in (found.jaccard, found.chance, found.first_in_second, found.second_in_first):
        assert value is None or 0 <= value <= 1
    assert (found.jaccard is None) == (one.kept == other.kept == 0)
    assert (found.first_in_second == 1) == (one.kept > 0 and one <= other)
    json.dumps(Pair("A", "B", {"w": found}).as_json(), allow_nan=False)


def test_an_empty_layer_reads_as_not_available():
    empty = Mask({"w": [0, 0, 0]})
    text = layers_table(Pair("A", "B", layer_overlaps(empty, empty)))
    assert text.count("n/a") == 5


def test_masks_of_different_networks_are_refused_by_the_first_name_that_differs():
    with pytest.raises(MismatchError, match="has 'b'"):
        layer_overlaps(ONE, Mask({"a": [1, 1, 0, 0]}))
    with pytest.raises(MismatchError, match=r"\(4,\)"):
        layer_overlaps(ONE, Mask({"a": [1, 1], "b": ONE["b"]}))
