"""The tests beside the t test, on worked examples and on simulated replicates with a known effect and with none."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ticketcli.report.intervals import holm, summarize
from ticketcli.report.paired import detectable, equivalence, sign_flip

N, REPEATS = 8, 2000  # of a share of 5 % the standard error is then 0.5 %
differences = st.lists(st.integers(-50, 50).map(lambda x: x / 7), min_size=1, max_size=7)


def simulated(effect, *, sd=1.0, n=N, repeats=REPEATS, seed=0):
    return np.random.default_rng(seed).normal(effect, sd, (repeats, n)).tolist()


def share(outcomes):
    return sum(outcomes) / len(outcomes)


@pytest.mark.parametrize(("n", "effect"), [(8, 1.16), (3, 3.26)])
def test_so_many_pairs_see_an_effect_of_so_many_standard_deviations(n, effect):
    assert detectable(n) == pytest.approx(effect, abs=0.005)


@pytest.mark.parametrize("n", [3, 5, 8, 30])
def test_what_is_visible_has_the_power_that_scipys_noncentral_t_says(n):
    critical, away = stats.t.ppf(0.975, n - 1), detectable(n) * math.sqrt(n)
    assert stats.nct.sf(critical, n - 1, away) + stats.nct.cdf(-critical, n - 1, away) == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_what_is_visible_is_seen_in_four_of_five_simulated_studies(n):
    found = [summarize(values).p < 0.05 for values in simulated(detectable(n), n=n)]
    assert share(found) == pytest.approx(0.8, abs=0.03)


def test_one_pair_sees_nothing():
    assert detectable(1) is None


def test_eight_equal_signs_are_two_of_256():
    assert sign_flip([0.5, 1, 2, 3, 4, 5, 6, 7]) == 2 / 256
    assert sign_flip([-0.5, -1, -2]) == 2 / 8


@given(differences)
def test_sign_flips_are_all_sign_flips(values):
    """The definition, in whole numbers."""
    whole = [round(7 * value) for value in values]
    flipped = [
        sum(sign * value for sign, value in zip(signs, whole, strict=True))
        for signs in itertools.product((1, -1), repeat=len(whole))
    ]
    wanted = sum(abs(one) >= abs(sum(whole)) for one in flipped) / len(flipped)
    assert sign_flip(values) == wanted


def test_sign_flips_are_not_decided_by_rounding():
    assert sign_flip([0.1, 0.2, 0.3]) == sign_flip([1, 2, 3]) == 2 / 8
    assert sign_flip([0.1 + 0.2, -0.3, 0.1]) == sign_flip([0.3, -0.3, 0.1])


def test_no_pairs_and_too_many_have_no_exact_test():
    assert sign_flip([]) is None
    assert sign_flip([1.0] * 21) is None


@given(differences.filter(lambda values: len(set(values)) > 1), st.floats(0.1, 20))
def test_equivalence_is_the_larger_of_scipys_two_one_sided_tests(values, margin):
    above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(values, margin, alternative="less").pvalue
    assert equivalence(values, [margin] * len(values)) == pytest.approx(max(above, below), abs=1e-9)


def test_equal_differences_prove_no_equivalence():
    assert equivalence([0.1, 0.1, 0.1], [1.0] * 3) is None


@pytest.mark.parametrize("effect", [0.0, 0.8, -3.0])
def test_the_interval_covers_the_true_mean_in_95_of_100_studies(effect):
    found = [summarize(values) for values in simulated(effect, seed=1)]
    assert share([one.low <= effect <= one.high for one in found]) == pytest.approx(0.95, abs=0.015)


def test_without_an_effect_both_tests_are_wrong_in_5_of_100_studies():
    studies = simulated(0.0, seed=2)
    assert share([summarize(values).p < 0.05 for values in studies]) == pytest.approx(0.05, abs=0.015)
    exact = 12 / 256  # the largest share of sign flips below 5 %
    assert share([sign_flip(values) < 0.05 for values in studies]) == pytest.approx(exact, abs=0.015)


def test_sign_flips_hold_their_level_where_differences_are_not_normal():
    draws = np.random.default_rng(3).standard_cauchy((REPEATS, N)).tolist()
    assert share([sign_flip(values) < 0.05 for values in draws]) == pytest.approx(12 / 256, abs=0.015)


def test_of_several_questions_without_an_effect_holm_answers_one_wrongly_in_5_of_100_studies():
    three = zip(*(simulated(0.0, seed=seed) for seed in (4, 5, 6)), strict=True)
    families = [[summarize(values).p for values in family] for family in three]
    assert share([min(family) < 0.05 for family in families]) > 0.12  # uncorrected, 14 %
    assert share([min(holm(family)) < 0.05 for family in families]) == pytest.approx(0.05, abs=0.015)


def test_a_difference_as_large_as_the_margin_is_called_equivalent_in_5_of_100_studies():
    found = [equivalence(values, [1.0] * len(values)) < 0.05 for values in simulated(1.0, sd=0.5, seed=7)]
    assert share(found) == pytest.approx(0.05, abs=0.015)


def test_no_difference_is_called_equivalent_where_the_margin_is_wide_for_the_spread():
    found = [equivalence(values, [1.0] * len(values)) < 0.05 for values in simulated(0.0, sd=0.5, seed=8)]
    assert share(found) > 0.95
