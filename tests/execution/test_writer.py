"""Work in the background: one at a time, its errors told where somebody listens."""

import threading

import pytest

from ticketcli.errors import NoSpaceError
from ticketcli.execution.writer import Writer


def full():
    raise NoSpaceError("the disk is full")


@pytest.fixture
def writer():
    made = Writer()
    yield made
    made.end()


def test_the_caller_goes_on_while_the_work_is_done(writer):
    gate, told = threading.Event(), []
    writer.begin(lambda: gate.wait(10) or None, told.append)
    writer.look()
    assert writer.is_busy
    assert told == []
    gate.set()
    writer.finish()
    assert not writer.is_busy
    assert len(told) == 1
    assert told[0] > 0


def test_what_goes_wrong_is_raised_at_the_next_look_and_only_once(writer):
    told = []
    writer.begin(full, told.append)
    writer._thread.join()
    with pytest.raises(NoSpaceError, match="the disk is full"):
        writer.look()
    writer.look()
    writer.finish()
    assert told == []


def test_the_next_work_waits_for_the_one_before_and_for_its_error(writer):
    order, gate = [], threading.Timer(0.1, lambda: order.append("opened"))
    gate.start()
    writer.begin(gate.join)
    writer.begin(lambda: order.append("next"))
    writer.finish()
    assert order == ["opened", "next"]
    writer.begin(full)
    with pytest.raises(NoSpaceError):
        writer.begin(lambda: order.append("never"))
    assert order[-1] == "next"


def test_an_end_waits_and_says_nothing(writer):
    gate = threading.Timer(0.1, lambda: None)
    gate.start()

    def fail_late():
        gate.join()
        full()

    writer.begin(fail_late)
    writer.end()
    assert not gate.is_alive()
    writer.finish()
