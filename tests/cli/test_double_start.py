"""The same command twice at once: one works, the other says who does, and what is left is what one alone would leave."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.cli.command_line import digests, ticket
from ticketcli.canon import canonical
from ticketcli.execution.execute import _Execution
from ticketcli.store.lock import owner_path
from ticketcli.store.run_folder import Run

PRETRAIN = (
    "pretrain",
    "--data",
    "{name: digits, classes: [0, 1, 2], per_class: 60}",
    "--epochs",
    "4ep",
    "--milestones",
    "[]",
)


def twice(run):
    command = [sys.executable, "-m", "ticketcli", *PRETRAIN, "--run", str(run.root)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = {process.pid: process.communicate()[1] for process in processes}
    codes = {process.pid: process.returncode for process in processes}
    if 7 in codes.values():
        winner, loser = sorted(codes, key=codes.get)
        assert codes[winner] == 0, said
        assert re.search(rf"another process works on 'pretrain': process {winner} on .*, since 20", said[loser])
        assert f"kill {winner}" in said[loser]
    else:  # the second came when the first was done, and found it fresh
        assert set(codes.values()) == {0}, said
    assert sum("done in" in words for words in said.values()) == 1, said
    assert ticket("verify", "--run", run.root).code == 0
    return digests(run), 7 in codes.values()


def test_two_starts_at_once_make_what_one_makes(tmp_path):
    alone = Run(tmp_path / "alone")
    assert ticket(*PRETRAIN, "--run", alone.root).code == 0
    assert twice(Run(tmp_path / "twice"))[0] == digests(alone)


@pytest.mark.parametrize("during", ["_commit", "_maybe_save"])
def test_whom_the_lock_was_taken_from_writes_no_manifest_and_no_state(tmp_path, monkeypatch, during):
    """Somebody said --break-lock on another machine, too early."""
    run = Run(tmp_path / "run")
    before = getattr(_Execution, during)

    def robbed(self, *arguments, **named):
        owner = replace(self.held.owner, host="node7", boot="another", pid=4711)
        owner_path(run.lock_path("pretrain")).write_text(canonical(owner.as_json()))
        return before(self, *arguments, **named)

    monkeypatch.setattr(_Execution, during, robbed)
    result = ticket(*PRETRAIN, "--save-every", "0", "--run", run.root)
    assert result.code == 7, result
    assert "the lock on 'pretrain' was taken from this process" in result.err
    assert run.manifest("pretrain").units == {}
    assert during == "_commit" or not list(run.root.rglob("state/*"))
    result = ticket(*PRETRAIN, "--run", run.root)
    assert result.code == 7
    assert "on node7" in result.err
    monkeypatch.undo()
    result = ticket(*PRETRAIN, "--run", run.root, "--break-lock")
    assert result.code == 0, result
    assert "the lock of another is broken (process 4711 on node7" in result.err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_double_starts_of_a_command_make_what_one_makes(tmp_path):
    alone = Run(tmp_path / "alone")
    assert ticket(*PRETRAIN, "--run", alone.root).code == 0
    found = [twice(Run(tmp_path / str(number))) for number in range(10)]
    assert all(made == digests(alone) for made, _ in found)
    assert sum(was_refused for _, was_refused in found) >= 5
