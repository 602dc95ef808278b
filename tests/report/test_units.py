"""What a row of a step says."""

from ticketcli.report.units import _off_by

FOUND = {"output": {"output": 2.0, "measured": 0.1, "masked": 0.5}}


def test_a_mask_alone_is_not_called_as_near_as_the_weights_that_were_adjusted():
    assert _off_by(FOUND, adjusted=False) == "25.0%"
    assert _off_by(FOUND, adjusted=True) == "5.0%"


def test_where_nothing_is_adjusted_there_is_one_number():
    found = {"output": {"output": 2.0, "measured": 0.4}}
    assert (_off_by(found, adjusted=False), _off_by(found, adjusted=True)) == ("20.0%", "")
    assert _off_by({}, adjusted=False) == ""
