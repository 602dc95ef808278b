import os
import signal

import pytest

from ticketcli.cli.drive import drive
from ticketcli.data.sources import Sources
from ticketcli.errors import Stopped
from ticketcli.execution import execute
from ticketcli.plan import plan_step, recorded_step
from ticketcli.stopping import StopRequest
from ticketcli.store.run_folder import Run

SETTINGS = {
    "device": "cpu", "resume": "never", "save_every": 60.0, "quiet": True, "sources": Sources(),
}  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_a_signal_at_the_very_end_of_a_step_stops_the_run_before_the_next(finished, monkeypatch, number):
    def ends_under_a_signal(*_given, **_settings):
        os.kill(os.getpid(), number)

    monkeypatch.setattr(execute, "execute", ends_under_a_signal)
    name = "dense@seed=0"
    plan = lambda: plan_step(recorded_step(finished, name), finished, lambda other: None)  # noqa: E731
    with pytest.raises(Stopped, match=f"{number.name}: {name} is finished"):
        drive(name, finished, plan, last=False, **SETTINGS)
    drive(name, finished, plan, last=True, **SETTINGS)


def test_a_second_interrupt_ends_at_once_with_130():
    with StopRequest().listening() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(SystemExit) as ended:
            os.kill(os.getpid(), signal.SIGINT)
    assert ended.value.code == 130


def test_handlers_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest().listening():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
    assert Run(tmp_path).steps() == []
