import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from ticketcli.metrics.resampling import estimate


def shares(values, images=None, **settings):
    values = np.asarray(values, dtype=np.float64)
    images = np.arange(len(values)) if images is None else np.asarray(images)
    return estimate(values, images, least=0.0, greatest=1.0, **settings)


def test_the_mean_is_that_of_all_values_and_lies_within_its_interval():
    found = shares([1, 0, 0, 1, 1, 0, 1, 1])
    assert found.mean == 5 / 8
    assert 0 <= found.low < found.mean < found.high <= 1


def test_the_interval_is_about_that_of_the_normal_distribution_where_there_are_many_images():
    values = np.arange(2000) % 4 == 0
    found = shares(values)
    half = 1.96 * (0.25 * 0.75 / 2000) ** 0.5
    assert found.low == pytest.approx(0.25 - half, abs=0.004)
    assert found.high == pytest.approx(0.25 + half, abs=0.004)


def test_values_of_one_image_stay_together_so_that_copies_narrow_nothing():
    once = shares([0, 1, 1, 0, 1, 0, 0, 1, 1, 1])
    five_times = shares(np.repeat([0, 1, 1, 0, 1, 0, 0, 1, 1, 1], 5), np.repeat(np.arange(10), 5))
    assert five_times == once


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("n", [1, 7, 60])
def test_where_all_images_agree_the_interval_is_the_exact_one(value, n):
    found = shares([value] * n)
    exact = binomtest(int(value * n), n).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_equal_differences_may_be_off_to_both_sides():
    found = estimate(np.zeros(40), np.arange(40), least=-1.0, greatest=1.0)
    assert found.mean == 0
    assert found.low == -found.high < 0


def test_of_no_values_there_is_no_mean():
    assert shares([]).mean is None


def test_the_seed_alone_moves_the_interval():
    values = np.arange(30) ** 2 / 900  # of shares many draws have the same mean
    assert shares(values, seed=1) == shares(values, seed=1)
    assert shares(values, seed=1) != shares(values, seed=2)


@given(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=12))
def test_no_interval_leaves_what_a_value_can_be(values):
    found = shares(values)
    assert 0 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= 1
