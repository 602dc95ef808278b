import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from ticketcli.tensors.seeds import generator
from ticketcli.theory import limits
from ticketcli.theory.limits import alike, lost_norm, lost_sum, map_bound, pool_bound, predicted, slope, threshold


def white(length):
    alone = {0, length // 2} if length % 2 == 0 else {0}
    return [(1 if k in alone else 2) / length for k in range(length // 2 + 1)]


def test_the_threshold_is_two_sided():
    e = threshold(0.3)
    assert norm.cdf(e) - norm.cdf(-e) == pytest.approx(0.3)


@pytest.mark.parametrize("p", [0.02, 0.11, 0.6])
def test_what_small_sums_lose_is_their_part_of_the_second_moment(p):
    e = threshold(p)
    assert lost_sum(p) == pytest.approx(quad(lambda x: x * x * norm.pdf(x), -e, e)[0])


def test_what_small_sums_lose_grows_with_the_cube():
    assert lost_sum(1e-3) == pytest.approx(math.pi * 1e-9 / 6, rel=1e-5)


def test_small_norms_lose_the_same_of_every_direction():
    draws = torch.randn((400_000, 3), dtype=torch.float64, generator=generator(0, "test"))
    norms = draws.square().sum(dim=1)
    small = draws[norms < norms.quantile(0.2)]
    for direction in ([1.0, 0, 0], [1.0, 1, 1], [1.0, -2, 1]):
        unit = torch.tensor(direction, dtype=torch.float64) / torch.tensor(direction).norm()
        assert float((small @ unit).square().sum()) / len(draws) == pytest.approx(lost_norm(0.2, 3), rel=0.02)


@pytest.mark.parametrize(("s", "length"), [(0, 4), (1, 32), (2, 9)])
def test_modes_resemble_the_sum_from_wholly_to_one_nth_in_the_mean(s, length):
    assert alike(0, s, length) == pytest.approx(1)
    assert sum(alike(k, s, length) for k in range(length)) / length == pytest.approx(1 / (2 * s + 1))


@given(st.floats(0.001, 0.11), st.integers(1, 12), st.integers(1, 3), st.integers(7, 40))
def test_the_limit_keeps_to_the_bounds(p, layers, s, length):
    shares = white(length)
    pool, whole = predicted("kernel-sum", p, layers=layers, s=s, length=length, shares=shares)
    assert pool <= pool_bound(p, layers)
    assert whole >= map_bound(p, s, length, shares)


def test_the_constant_of_a_white_input_is_two_s_over_two_s_plus_one():
    assert (map_bound(0.04, 1, 32, white(32)) * limits.SLACK) ** 2 == pytest.approx(0.04 * 2 / 3)


def test_an_input_that_is_constant_in_space_bounds_nothing():
    assert map_bound(0.04, 1, 32, [1.0]) == 0
    pool, whole = predicted("kernel-sum", 0.04, layers=3, s=1, length=32, shares=[1.0])
    assert pool == whole


@pytest.mark.parametrize("rule", ["random", "l2", "1x1"])
def test_no_control_tells_feature_and_map_apart(rule):
    pool, whole = predicted(rule, 0.05, layers=3, s=1, length=32, shares=white(32))
    assert pool == pytest.approx(whole)


def test_kernels_of_one_tap_are_their_own_sums():
    sizes = {"layers": 2, "length": 8, "shares": white(8)}
    assert predicted("kernel-sum", 0.1, s=0, **sizes) == predicted("1x1", 0.1, s=0, **sizes)


def test_the_slope_is_the_exponent_of_a_power():
    p = (0.01, 0.03, 0.1)
    assert slope(p, [7 * one**1.5 for one in p]) == pytest.approx(1.5)


def test_no_slope_goes_through_one_point_or_none():
    assert slope((0.1,), (0.2,)) is None
    assert slope((0.1, 0.2), (0.0, 0.3)) is None
