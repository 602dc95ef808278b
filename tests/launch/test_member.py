import time

from ticketcli.launch.member import BEGAN, began


def test_a_command_begins_when_it_was_given_not_when_its_processes_are_there(monkeypatch):
    monkeypatch.delenv(BEGAN, raising=False)
    assert abs(began() - time.monotonic()) < 1
    monkeypatch.setenv(BEGAN, "12.5")
    assert began() == 12.5
