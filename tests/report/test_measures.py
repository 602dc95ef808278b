"""How numbers are written."""

import pytest

from ticketcli.report.measures import Measure


@pytest.mark.parametrize("name", ["top1", "test.top1", "mnist/top1", "mnist/0.5/test.top1"])
def test_an_accuracy_is_written_in_per_cent_whatever_column_it_stands_in(name):
    measure = Measure(name, "top-1")
    assert (measure.kind, measure.text(0.9832)) == ("share", "98.32%")


@pytest.mark.parametrize("name", ["top1", "psnr", "parameters"])
def test_a_difference_that_rounds_to_nothing_is_never_less_than_nothing(name):
    assert Measure(name, name).difference(-0.0).startswith("+0")
    assert Measure("top1", "top-1").difference(-1e-7) == "+0.00"
