import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketcli.channels.choice import drop_lowest
from ticketcli.errors import MismatchError, UsageError


def one(scores, fraction, scales=None, **settings):
    scores = torch.tensor(scores, dtype=torch.float64)
    scales = torch.ones_like(scores) if scales is None else torch.tensor(scales, dtype=torch.float64)
    return drop_lowest({"a": scores}, {"a": scales}, fraction, **settings)["a"].tolist()


def test_the_lowest_scores_fall():
    assert one([3.0, -1.0, 2.0, 0.0], 0.5) == [True, False, True, False]


def test_ties_fall_by_scale_and_then_by_channel():
    assert one([0.0] * 5, 0.4) == [False, False, True, True, True]
    assert one([0.0] * 5, 0.4, scales=[3.0, -1.0, 2.0, 1.0, -4.0]) == [True, False, True, False, True]


def test_a_channel_without_scale_falls_first_where_asked():
    assert one([-1.0, 5.0, 2.0], 0.4, scales=[1.0, 0.0, 1.0]) == [False, True, True]
    assert one([-1.0, 5.0, 2.0], 0.4, scales=[1.0, 0.0, 1.0], constants_first=True) == [True, False, True]


def test_a_fraction_is_the_number_that_was_written():
    """In binary 0.29 times 100 is less than 29."""
    assert sum(one(list(range(100)), 0.29)) == 71


@given(st.integers(1, 70), st.floats(0.01, 0.99), st.integers(1, 16))
def test_what_is_kept_is_the_nearest_multiple_or_all(n, fraction, multiple):
    kept = sum(one([0.0] * n, fraction, multiple=multiple))
    exact = sum(one([0.0] * n, fraction))
    assert kept == n or (kept % multiple == 0 and kept >= multiple)
    assert 1 <= kept <= n
    assert 2 * abs(kept - exact) <= multiple or kept == min(n, multiple)


def test_a_ranking_over_all_layers_drops_the_share_of_all():
    scores = {"a": torch.arange(4.0), "b": torch.arange(4.0) + 2}
    found = drop_lowest(scores, scores, 0.5, scope="global")
    assert found["a"].tolist() == [False, False, False, True]
    assert found["b"].tolist() == [False, True, True, True]


def test_a_layer_that_would_be_empty_is_an_error_that_names_it():
    scores = {"a": torch.arange(4.0), "b": torch.arange(4.0) + 9}
    with pytest.raises(UsageError, match=r"(?s)no channel of 'a'.*scope: layer"):
        drop_lowest(scores, scores, 0.5, scope="global", multiple=8)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_its_range_is_an_error(fraction):
    with pytest.raises(UsageError, match="cannot drop"):
        one([1.0, 2.0], fraction)


def test_scores_that_are_no_numbers_are_an_error():
    with pytest.raises(MismatchError, match="finite"):
        one([1.0, float("nan")], 0.5)
