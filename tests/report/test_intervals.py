import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ticketcli.report.intervals import holm, summarize

values = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=8).filter(
    lambda v: len(set(v)) > 1
)


def test_three_values_have_students_interval():
    """T for 2 degrees of freedom is 4.303."""
    found = summarize([1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.sd) == (3, 2.0, 1.0)
    assert found.high - found.mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-5)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


@given(values)
def test_interval_and_p_are_those_of_scipy(given_values):
    found, oracle = summarize(given_values), stats.ttest_1samp(given_values, 0.0)
    interval = oracle.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-9)
    assert found.p == pytest.approx(oracle.pvalue, rel=1e-6, abs=1e-12)


def test_one_value_has_neither_spread_nor_interval():
    found = summarize([0.5])
    assert (found.n, found.mean, found.sd, found.low, found.p) == (1, 0.5, None, None, None)


def test_no_values_have_no_mean():
    assert summarize([]).mean is None


def test_equal_values_have_no_interval_since_none_of_width_zero_is_true():
    found = summarize([0.25, 0.25, 0.25])
    assert (found.sd, found.low, found.p) == (0.0, None, None)


def test_rounding_is_no_spread():
    differences = [0.3 - 0.2, 0.2 - 0.1, 0.4 - 0.3]
    assert len(set(differences)) > 1
    assert summarize(differences, scale=0.4).low is None


def test_holm_multiplies_the_smallest_most_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, None, 0.02]) == pytest.approx([0.02, None, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_rejects_what_its_step_down_rule_rejects(probabilities):
    """The rule itself: go up the sorted p while p(k) <= 0.05 / (m - k + 1); stop at the first that is not."""
    rejected = set()
    for rank, index in enumerate(sorted(range(len(probabilities)), key=probabilities.__getitem__)):
        if probabilities[index] * (len(probabilities) - rank) > 0.05:
            break
        rejected.add(index)
    assert {index for index, p in enumerate(holm(probabilities)) if p <= 0.05} == rejected
