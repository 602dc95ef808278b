"""Saved states and logs that were damaged between two starts: fallen back from, or refused, and never taken."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from tests.cli.command_line import digests, ticket
from ticketcli.store.run_folder import Run
from ticketcli.tensors.files import read_state, write_state

PRETRAIN = (
    "pretrain", "--data", "{name: digits, classes: [0, 1, 2], per_class: 60}", "--epochs", "3ep", "--milestones", "[]",
    "--batch", "4",
)  # fmt: skip


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("straight") / "run")
    assert ticket(*PRETRAIN, "--run", run.root, "-q").code == 0
    return run


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A run that was killed with two saved states and at least two lines in its log."""
    run = Run(tmp_path_factory.mktemp("cut") / "run")
    command = [sys.executable, "-m", "ticketcli", *PRETRAIN, "--save-every", "0", "--run", str(run.root), "-q"]
    log = run.metrics_path("pretrain")
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and not (log.is_file() and log.read_bytes().count(b"\n") >= 2):
            time.sleep(0.005)
        process.kill()
    assert len(states(run)) >= 2
    return run


@pytest.fixture
def again(cut, tmp_path):
    shutil.copytree(cut.root, tmp_path / "run")
    return Run(tmp_path / "run")


def states(run):
    return sorted((run.step_folder("pretrain") / "state").glob("*.safetensors"))


def go_on(run):
    return ticket(*PRETRAIN, "--run", run.root)


def is_straight(run, straight):
    logs = [one.metrics_path("pretrain").read_bytes() for one in (run, straight)]
    return digests(run) == digests(straight) and logs[0] == logs[1]


def test_a_flipped_bit_in_the_newest_state_is_found_and_the_one_before_continues(again, straight):
    """The library loads it silently, and training would go on from other weights."""
    newest = states(again)[-1]
    data = newest.read_bytes()
    newest.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    result = go_on(again)
    assert result.code == 0, result
    assert f"{newest.name} is damaged" in result.err
    assert "resume: dense, step" in result.err
    assert is_straight(again, straight)


def test_with_all_states_damaged_the_unit_begins_anew(again, straight):
    for path in states(again):
        path.write_bytes(b"")
    result = go_on(again)
    assert result.code == 0, result
    assert "resume: dense, step" not in result.err
    assert is_straight(again, straight)


@pytest.mark.parametrize("damage", ["short", "gone", "other"])
def test_states_that_count_on_a_log_that_is_damaged_are_passed_over(again, straight, damage):
    """Else the log would be filled up with zero bytes, or go on after a line that nobody wrote."""
    log = again.metrics_path("pretrain")
    if damage == "short":
        log.write_bytes(log.read_bytes()[:20])
    elif damage == "other":
        log.write_bytes(log.read_bytes().replace(b"loss", b"Loss", 1))
    else:
        log.unlink()
    result = go_on(again)
    assert result.code == 0, result
    assert "is damaged" in result.err
    assert is_straight(again, straight)


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_a_log_that_is_no_regular_file_is_not_written_to(again, kind, tmp_path):
    log, precious = again.metrics_path("pretrain"), tmp_path / "precious"
    precious.write_text("mine")
    log.unlink()
    {"link": lambda: log.symlink_to(precious), "folder": log.mkdir, "fifo": lambda: os.mkfifo(log)}[kind]()
    result = go_on(again)
    assert result.code == 2, result
    assert "no regular file" in result.err
    assert precious.read_text() == "mine"


def test_a_log_of_finished_units_that_is_damaged_is_refused_with_a_way_out(copy):
    log = copy.metrics_path("imp@seed=0")
    log.write_bytes(log.read_bytes().replace(b"0", b"1", 1))
    more = ("prune", "--name", "imp@seed=0", "--encoder", "dense@seed=0", "--lambda", "0", "--rewind", "none", "--rounds", "4",
            "--finetune", "2it", "--batch", "16", "--lr", "0.02", "--recalibrate-bn", "32", "--run", copy.root)  # fmt: skip
    result = ticket(*more)
    assert result.code == 6, result
    assert str(log) in result.err
    assert "--resume never" in result.err
    result = ticket(*more, "--resume", "never")
    assert result.code == 0, result
    assert ticket("verify", "--run", copy.root).code == 0


@pytest.mark.parametrize("lacking", ["metrics_offset", "seconds", "iteration"])
def test_a_state_that_lacks_something_is_passed_over(again, straight, lacking):
    newest = states(again)[-1]
    tree, about = read_state(newest)
    (tree if lacking == "iteration" else about).pop(lacking)
    newest.unlink()
    write_state(newest, tree, about=about)
    result = go_on(again)
    assert result.code == 0, result
    assert f"{newest.name} is damaged (it lacks what every state has" in result.err
    assert is_straight(again, straight)


def test_the_manifest_tells_what_the_log_held(straight):
    unit = straight.manifest("pretrain").units["dense"]
    assert unit.metrics_end == straight.metrics_path("pretrain").stat().st_size
    assert len(unit.metrics_sha256) == 64
    assert json.loads(straight.metrics_path("pretrain").read_text().splitlines()[-1])["event"] == "unit"
