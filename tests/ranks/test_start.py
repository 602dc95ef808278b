"""`--nproc 2`, and torchrun itself: when processes are started, and what is left of codes and messages."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.command_line import ticket, write
from tests.cli.test_start import HEAVY, start
from ticketcli.store.lock import locked
from ticketcli.store.run_folder import Run

ROOT = Path(__file__).parents[2]
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "--", "ticketcli")
RECIPE = """
schema: 1
steps:
  dense: {stage: pretrain, batch: 16, epochs: 4it, milestones: [], lr: 0.05, data: {name: digits, classes: [0, 1, 2], per_class: 20}}
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "recipe.yaml", RECIPE)


@contextmanager
def started(*words, module=("ticketcli",)):
    """A command in a process of its own, which writes to out and err; it and all below it are gone at the end."""
    out, err = Path("out"), Path("err")
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    with out.open("w") as out_file, err.open("w") as err_file:
        process = subprocess.Popen(
            [sys.executable, "-m", *module, *words], stdout=out_file, stderr=err_file,
            env=environment | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    process.ended = lambda: (process.wait(timeout=120), out.read_text(), err.read_text())
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ended(*words, **how):
    with started(*words, **how) as process:
        return process.ended()


def until(what, done, seconds=60):
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.mark.parametrize("words", [("--dry-run",), ("--run", "FINISHED"), ("--run", "FINISHED", "--only", "dense")])
def test_nothing_is_started_where_nothing_is_to_do(words, tiny_recipe, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = [str(finished.root) if word == "FINISHED" else word for word in words]
    assert start(("torch", "torchvision", "sklearn"), "run", tiny_recipe, *told, "--nproc", "2")


def test_what_cannot_be_done_is_said_by_the_parent(recipe):
    result = ticket("prune", "--nproc", "2")
    assert result.code == 5, result
    assert "processes" not in result.err


def test_another_number_than_that_of_torchrun_is_refused(recipe, monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("ticketcli.launch.member.end_with_launcher", lambda _by: None)
    before = signal.getsignal(signal.SIGINT)
    result = ticket("run", recipe, "--nproc", "2")
    signal.signal(signal.SIGINT, before)
    assert result.code == 2, result
    assert "torchrun started 1 processes on this machine, --nproc says 2" in result.err
    assert "the exit code of ticket is 2" in result.err


@pytest.mark.slow
def test_the_parent_of_a_whole_run_loads_no_torch(recipe):
    out = start(HEAVY, "run", recipe, "--nproc", "2", "--json")
    assert json.loads(out)
    assert Run(Path("run")).manifest("dense").status == "done"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("dense.lr=1e30",), 9, "error: "),
        (("dense.data={name: cifar10}",), 5, "error: "),
        (("--resume", "must"), 4, "error: nothing to resume for 'dense'"),
        (("--resume", "now"), 2, "error: --resume is 'now'"),
        (("--device", "cuda:7"), 2, "error: "),
    ],
)
def test_errors_keep_their_code_and_are_said_once(recipe, words, code, said):
    result = ended("run", str(recipe), *words, "--nproc", "2")
    assert result[0] == code, result
    assert result[2].count("error: ") == 1, result[2]
    assert said in result[2]
    assert "Traceback" not in result[2]
    assert "torchrun" not in result[2]


@pytest.mark.slow
def test_a_locked_step_is_refused_with_7(recipe):
    with locked(Run(Path("run")).lock_path("dense"), what="dense"):
        code, _, err = ended("run", str(recipe), "--nproc", "2")
    assert code == 7, err
    assert err.count("error: ") == 1


@pytest.mark.slow
def test_a_signal_saves_and_ends_with_75_and_the_same_command_continues(recipe):
    words = ("run", str(recipe), "dense.epochs=40it", "--nproc", "2", "--save-every", "0")
    with started(*words) as process:
        until("no state is saved", lambda: [*Path("run").glob("dense/state/*.safetensors")])
        process.send_signal(signal.SIGTERM)
        code, _, err = process.ended()
    assert code == 75, err
    assert "stopped: SIGTERM: dense, step " in err
    code, _, err = ended(*words)
    assert code == 0, err
    assert "resume: dense, step " in err


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_is_killed_ends_all_and_the_last_good_state_stays(recipe, rank):
    words = ("run", str(recipe), "dense.epochs=9000it", "--nproc", "2", "--save-every", "0.2")
    with started(*words) as process:
        until("no state is saved", lambda: [*Path("run").glob("dense/state/*.safetensors")])
        os.kill(pid_of(rank), signal.SIGKILL)
        began = time.monotonic()
        code, _, err = process.ended()
    assert time.monotonic() - began < 15
    assert code == 1
    assert err.count("error: ") == 1
    assert f"error: process {rank} of 2 was ended by SIGKILL" in err
    assert ticket("verify").code == 0
    assert "its state is saved" in ticket("run", str(recipe), "dense.epochs=9000it", "--dry-run").out


def pid_of(rank):
    """The process with this rank of the run in this folder."""
    here = str(Path.cwd())
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            known = (folder / "environ").read_bytes().split(b"\0")
            if str((folder / "cwd").readlink()) == here and f"RANK={rank}".encode() in known:
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError(f"no process {rank}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code"),
    [(("--version",), 0), (("run", "recipe.yaml", "--dry-run"), 0), (("run", "recipe.yaml"), 0), (("run", "no.yaml"), 5),
     (("run", "recipe.yaml", "dense.lr=1e30"), 9)],
)  # fmt: skip
def test_under_a_torchrun_of_the_users_own_all_is_the_same_but_the_code(recipe, words, code):
    returned, _, err = ended(*words, module=TORCHRUN)
    assert returned == bool(code), err
    own = err.replace("error: process 1 of 2: ", "")  # which may have met the same
    assert own.count("error: ") == bool(code), err
    assert (f"note: torchrun is going to exit with 1; the exit code of ticket is {code}" in err) == (code > 1)
