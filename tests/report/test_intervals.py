import math

import pytest

from ticketcli.report.intervals import summarize


def test_three_values_have_students_interval():
    """T for 2 degrees of freedom is 4.303."""
    found = summarize([1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.sd) == (3, 2.0, 1.0)
    assert found.high - found.mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-5)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_one_value_has_no_interval():
    assert summarize([0.5]).low == -math.inf


def test_no_values_have_no_mean():
    assert math.isnan(summarize([]).mean)
