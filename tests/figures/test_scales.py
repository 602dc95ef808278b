import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketcli.figures.scales import Axis, scale

PLAIN, LOG, BACK = Axis("x"), Axis("x", is_log=True), Axis("x", is_log=True, is_reversed=True)


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=8), st.sampled_from([PLAIN, LOG]))
def test_values_keep_their_order_and_stay_inside(values, axis):
    across = scale(axis, values, 10, 110)
    pixels = [across(value) for value in sorted(values)]
    assert pixels == sorted(pixels)
    assert 10 <= pixels[0] <= pixels[-1] <= 110


def test_equal_factors_take_equal_room_on_a_logarithmic_axis():
    across = scale(LOG, [1, 100], 0, 100)
    assert across(10) - across(1) == pytest.approx(across(100) - across(10))


def test_a_reversed_axis_begins_with_the_largest():
    across = scale(BACK, [0.1, 1.0], 0, 100)
    assert across(1.0) < across(0.5) < across(0.1)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 9))
def test_there_are_ticks_and_not_too_many(low, span, most):
    found = scale(PLAIN, [low, low + span], 0, 100).ticks(most)
    assert 1 <= len(found) <= most + 1


@pytest.mark.parametrize("values", [[], [5.0], [5.0, 5.0], [float("nan"), 1.0], [0.0]])
def test_hardly_any_values_make_a_range_all_the_same(values):
    for axis in (PLAIN, LOG):
        across = scale(axis, values, 0, 100)
        assert across.low < across.high
        assert across.ticks(5)


@given(st.floats(1e-4, 1e4), st.floats(1.01, 1e5))
def test_a_logarithmic_axis_has_two_ticks_at_least_wherever_it_lies(low, factor):
    found = scale(LOG, [low, low * factor], 0, 100).ticks(9)
    assert len(found) >= 1
    assert found == sorted(found)
