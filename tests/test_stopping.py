import signal
import time

import pytest

from tests.cli.command_line import digests, ticket
from ticketcli.cli import drive
from ticketcli.stopping import StopRequest
from ticketcli.store.run_folder import Run

PRETRAIN = (
    "pretrain", "--data", "{name: digits, classes: [0, 1, 2], per_class: 60}", "--epochs", "3ep", "--milestones", "[]",
    "--batch", "4", "-q",
)  # fmt: skip


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that stands still until it is set."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    made = Clock()
    monkeypatch.setattr("ticketcli.stopping.time", made)
    return made


def test_without_a_limit_and_a_signal_there_is_no_reason_to_stop(clock):
    stop = StopRequest()
    clock.now += 1e9
    assert stop.reason == ""


def test_a_signal_is_a_reason_by_its_name():
    stop = StopRequest()
    with stop.listening():
        signal.raise_signal(signal.SIGUSR2)
    assert stop.reason == "SIGUSR2"


def test_the_limit_counts_from_the_start_of_the_command(clock):
    stop = StopRequest(minutes=1, started=clock.now - 50)
    assert stop.reason == ""
    clock.now += 9
    assert stop.reason == "--max-minutes 1 are nearly over"


def test_twice_the_longest_step_and_the_longest_save_are_left_for_the_end(clock):
    stop = StopRequest(minutes=10)
    stop.stepped()
    for seconds in (30, 5):  # the first is what is remembered
        clock.now += seconds
        stop.stepped()
    stop.saved(20)
    clock.now = 1000 + 600 - 2 * (30 + 20) - 1
    assert stop.reason == ""
    clock.now += 1
    assert stop.reason


def test_saving_is_not_taken_for_a_step(clock):
    stop = StopRequest(minutes=10)
    stop.stepped()
    clock.now += 100
    stop.saved(100)
    clock.now += 3
    stop.stepped()
    assert stop.longest_step == 0


def test_a_limited_command_stops_with_75_and_the_same_command_finishes(tmp_path, monkeypatch):
    straight, run = Run(tmp_path / "straight"), Run(tmp_path / "run")
    assert ticket(*PRETRAIN, "--run", straight.root).code == 0

    class Hurried(StopRequest):
        """Fifty steps are as many as there is time for."""

        polls = 0

        def stepped(self):
            self.polls += 1
            super().stepped()
            if self.polls == 50 and self.until is not None:
                self.until = time.monotonic()

    monkeypatch.setattr(drive, "StopRequest", Hurried)
    cut = ticket(*PRETRAIN, "--run", run.root, "--max-minutes", "60")
    assert cut.code == 75, cut
    assert "--max-minutes 60 are nearly over: dense, step 50 is saved" in cut.err
    assert ticket(*PRETRAIN, "--run", run.root).code == 0
    assert digests(run) == digests(straight)


def test_a_limit_that_is_over_before_the_work_begins_stops_with_75(tmp_path):
    result = ticket(*PRETRAIN, "--run", tmp_path / "run", "--max-minutes", "0")
    assert (result.code, "before pretrain began" in result.err) == (75, True), result


def test_who_began_anew_is_told_how_to_continue_instead(tmp_path):
    flags = ("--max-minutes", "0.05", "--epochs", "900ep", "--resume", "never")
    result = ticket(*PRETRAIN, "--run", tmp_path / "run", *flags)
    assert (result.code, "try: --resume auto continues" in result.err) == (75, True), result
