"""Maps and boxes: known answers, and nothing that is not a number."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketcli.errors import UsageError
from ticketcli.explain.boxes import box_of
from ticketcli.explain.maps import energy_map, summation_map


def test_energy_is_the_length_over_colours_divided_by_its_largest():
    gradient = torch.zeros(2, 3, 2, 2)
    gradient[0, :, 0, 1] = torch.tensor([3.0, -4.0, 0.0])
    gradient[0, 2, 1, 0] = -1.0
    found = energy_map(gradient)
    assert found[0].tolist() == [[0.0, 1.0], [pytest.approx(0.2), 0.0]]
    assert found[1].tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_layers_count_alike_in_the_summation_map():
    one, other = torch.zeros(1, 2, 2, 2), torch.zeros(1, 5, 4, 4)
    one[0, :, 0, 0] = 100.0
    other[0, 3, 3, 3] = 0.001
    found = summation_map([one, other], (4, 4))[0]
    assert found.shape == (4, 4)
    assert float(found.max()) == 1.0
    assert float(found[0, 0]) == float(found[3, 3]) == 1.0
    assert float(found[0, 3]) == 0.0


def test_a_summation_of_nothing_is_zero_everywhere():
    assert bool((summation_map([torch.zeros(2, 3, 2, 2)], (5, 7)) == 0).all())


def drawn(*rows):
    return torch.tensor([[float(one) for one in row] for row in rows])


def test_the_box_is_tight_around_the_largest_part_from_edge_to_edge():
    map_ = drawn("90000", "00550", "00555", "00000")
    assert box_of(map_, 0.5).tolist() == [2, 1, 5, 3]
    assert box_of(map_, 0.6).tolist() == [0, 0, 1, 1]


def test_parts_that_touch_at_corners_are_apart_and_of_equal_ones_the_first_counts():
    assert box_of(drawn("100", "011", "000"), 1.0).tolist() == [1, 1, 3, 2]
    assert box_of(drawn("010", "101", "010"), 1.0).tolist() == [1, 0, 2, 1]


def test_a_map_without_a_positive_value_is_the_whole_image():
    assert box_of(torch.zeros(3, 5), 0.2).tolist() == [0, 0, 5, 3]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**36 - 1), st.sampled_from([0.2, 0.5, 1.0]))
def test_a_box_holds_a_connected_part_as_large_as_any(height, width, bits, threshold):
    values = torch.tensor([(bits >> k) % 4 for k in range(height * width)], dtype=torch.float32).view(height, width)
    x0, y0, x1, y1 = box_of(values, threshold).int().tolist()
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    if values.max() > 0:
        alive = values >= threshold * values.max()
        parts = flooded(alive)
        largest = max(parts, key=len)
        boxes = [
            (min(c for _, c in p), min(r for r, _ in p), max(c for _, c in p) + 1, max(r for r, _ in p) + 1)
            for p in parts
            if len(p) == len(largest)
        ]
        assert (x0, y0, x1, y1) == boxes[0]


def flooded(alive):
    """Parts, by a slow and obvious walk, in the order of their first pixels."""
    left, parts = [tuple(one) for one in alive.nonzero().tolist()], []
    while left:
        part, waiting = [], [left[0]]
        left = left[1:]
        while waiting:
            row, column = waiting.pop()
            part.append((row, column))
            for next_ in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if next_ in left:
                    left.remove(next_)
                    waiting.append(next_)
        parts.append(part)
    return parts


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5, float("nan")])
def test_a_threshold_that_is_no_share_is_refused(threshold):
    with pytest.raises(UsageError, match="threshold"):
        box_of(torch.ones(2, 2), threshold)


@pytest.mark.parametrize("map_", [torch.ones(2), torch.ones(1, 2, 2), torch.ones(0, 3)])
def test_what_is_no_map_is_refused(map_):
    with pytest.raises(UsageError, match="a map is"):
        box_of(map_, 0.5)
