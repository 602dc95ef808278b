"""A parent, torchrun, and two processes that need no torch: what becomes of arguments, codes, signals and the dead."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.slurm.cluster import free_port
from ticketcli.errors import UsageError
from ticketcli.launch.torchrun import Several, threads_each

ROOT = Path(__file__).parents[2]


@contextmanager
def started(folder, *deed, **environment):
    """The parent, in a folder of its own; it and all below it are gone at the end. `ended()` waits: code, out, err."""
    known = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOGLEVEL")}
    out, err = (folder / name for name in ("out", "err"))  # no pipes: orphans would keep them open
    with out.open("w") as out_file, err.open("w") as err_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.launch.part", *deed], cwd=folder, stdout=out_file, stderr=err_file,
            env=known | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)} | environment,
        )  # fmt: skip
    process.ended = lambda: (process.wait(timeout=40), out.read_text(), err.read_text())
    try:
        yield process
    finally:
        process.kill()  # what it started ends with it
        process.wait()


def run(folder, *deed, **environment):
    with started(folder, *deed, **environment) as process:
        return process.ended()


def until(what, done, seconds=30):
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def listening(folder):
    """The process ids of both, once they listen to signals."""
    paths = [folder / f"listening-{rank}" for rank in (0, 1)]
    until("they do not come to listen", lambda: all(path.is_file() and path.read_text() for path in paths))
    return [int(path.read_text()) for path in paths]


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize(
    ("codes", "code", "said"),
    [("0 0", 0, ""), ("0 9", 9, "error: process 1 of 2: code 9\n  try: \n"), ("75 0", 75, "error: code 75\n  try: \n")],
)
def test_the_code_of_the_cause_survives_and_its_error_is_all_that_is_said(tmp_path, codes, code, said):
    assert run(tmp_path, "codes", *codes.split()) == (code, "light\n", said)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "err"}  # no folder is left behind


def test_arguments_arrive_as_they_were_given(tmp_path):
    words = ("--run", "a b", "${local_rank}$$$x", "--node=3", "-m", "--", "é")
    _, _, err = run(tmp_path, "codes", "2", "0", *words)
    assert err == f"error: code 2\n  try: {' '.join(words)}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2], ids=lambda number: number.name)
def test_a_signal_reaches_every_process_once_and_may_take_its_time(tmp_path, number):
    with started(tmp_path, "wait") as process:
        listening(tmp_path)
        process.send_signal(number)
        code, out, err = process.ended()
    assert (code, err) == (75, "stopped: SIGNAL: saved\n")
    assert out == f"0: {number.name}\nlight\n"


def test_a_cluster_may_send_a_signal_to_every_process_itself(tmp_path):
    with started(tmp_path, "wait", "1") as process:
        pids = listening(tmp_path)
        for _ in range(2):
            for pid in (parent_of(pids[0]), process.pid, *pids):
                os.kill(pid, signal.SIGUSR2)
            time.sleep(0.3)
        code, out, err = process.ended()
    assert (code, err) == (75, "stopped: SIGNAL: saved\n")
    assert {*out.splitlines()} == {"0: SIGUSR2", "light"}


@pytest.mark.slow
def test_further_signals_do_not_disturb_the_saving(tmp_path):
    """Torchrun would leave its processes at the third."""
    with started(tmp_path, "wait", "1.5") as process:
        listening(tmp_path)
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
            time.sleep(0.1)
        assert process.ended()[::2] == (75, "stopped: SIGNAL: saved\n")


def test_a_second_interrupt_unwinds_and_ends_with_130(tmp_path):
    with started(tmp_path, "hang") as process:
        pids = listening(tmp_path)
        process.send_signal(signal.SIGINT)
        until("the first is not heard", lambda: "SIGINT" in (tmp_path / "out").read_text())
        process.send_signal(signal.SIGINT)
        code, out, _ = process.ended()
    assert code == 130
    assert out == "0: SIGINT\n0: SIGINT\nlight\n"
    assert not any(map(lives, pids))


def test_a_signal_before_anything_has_begun_ends_it_without_ado(tmp_path):
    with started(tmp_path, "wait") as process:
        until("nothing is started", lambda: list(tmp_path.glob("ticket-*")))
        process.send_signal(signal.SIGINT)
        code, _, err = process.ended()
    assert code == 75
    assert err == "stopped: SIGINT: ended before anything more was saved\n  try: the same command continues\n"


@pytest.mark.parametrize(
    ("how", "said"),
    [("killed", "process 1 of 2 was ended by SIGKILL\n"), ("aborted", "  | the last words of process 1\n")],
)
def test_a_process_that_dies_without_a_word_is_named(tmp_path, how, said):
    code, _, err = run(tmp_path, "lost", how)
    assert code == 1
    assert said in err
    assert "another process" not in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_who_does_not_notice_that_another_failed_is_ended(tmp_path):
    code, _, err = run(tmp_path, "stubborn")
    assert (code, err) == (9, "error: process 1 of 2: not finite\n   at: here\n")


@pytest.mark.skipif(sys.platform != "linux", reason="it is the kernel of Linux that does it")
@pytest.mark.parametrize(
    ("victim", "deed"),
    [("parent", "hang"), pytest.param("torchrun", "hang", marks=pytest.mark.slow), ("process 0", "wait")],
)
def test_whoever_is_killed_nobody_is_left_behind(tmp_path, victim, deed):
    with started(tmp_path, deed) as process:
        pids = listening(tmp_path)
        agent = parent_of(pids[0])
        os.kill({"parent": process.pid, "torchrun": agent, "process 0": pids[0]}[victim], signal.SIGKILL)
        code, _, err = process.ended()
        assert code == (-9 if victim == "parent" else 1)
        until("somebody is left behind", lambda: not any(map(lives, [agent, *pids])), seconds=5)
    assert err == "" or err.startswith(f"error: {victim}")


@pytest.mark.parametrize(
    ("codes", "expected", "said"),
    [("75 0 0 0", [75, 0], ["error: code 75\n  try: 0 0\n", ""]),
     ("0 0 0 9", [0, 9], ["", "error: process 3 of 4: code 9\n  try: 0 9\n"])],
)  # fmt: skip
@pytest.mark.slow
def test_two_nodes_meet_and_each_returns_what_became_of_its_own(tmp_path, codes, expected, said):
    several = {"nproc": 2, "nodes": 2, "rendezvous": f"127.0.0.1:{free_port()}"}
    folders = [tmp_path / str(node) for node in (0, 1)]
    with ExitStack() as stack:
        nodes = []
        for node, folder in enumerate(folders):
            folder.mkdir()
            told = json.dumps(several | {"node": node})
            nodes.append(stack.enter_context(started(folder, "codes", *codes.split(), SEVERAL=told)))
        ends = [node.ended() for node in nodes]
    assert [code for code, _, _ in ends] == expected
    assert [err for _, _, err in ends] == said


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux tells")
def test_who_outlives_a_torchrun_of_the_users_own_is_asked_to_stop_and_may_save(tmp_path):
    launcher = f"import subprocess; subprocess.run([{sys.executable!r}, '-m', 'tests.launch.part', 'wait'])"
    known = {name: value for name, value in os.environ.items() if name not in ("TICKET_PROCESSES", "TICKET_STARTED_BY")}
    environment = known | {"PYTHONPATH": str(ROOT), "RANK": "0", "WORLD_SIZE": "2"}
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen([sys.executable, "-c", launcher], cwd=tmp_path, env=environment, stdout=out)
    path = tmp_path / "listening-0"
    until("it does not come to listen", lambda: path.is_file() and path.read_text())
    process.kill()
    process.wait()
    until("it is still there", lambda: not lives(int(path.read_text())))
    assert (tmp_path / "out").read_text() == "0: SIGTERM\n"


def test_cores_are_shared_out_unless_threads_were_said(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert [threads_each(n) for n in (1, 2, 3, 16)] == ["8", "4", "2", "1"]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads_each(2) == "5"


@pytest.mark.parametrize(
    ("several", "where"),
    [
        (Several(2, nodes=2, node=0), "--rendezvous"),
        (Several(2, nodes=2, node=0, rendezvous="host"), "--rendezvous"),
        (Several(2, nodes=2, node=0, rendezvous="host:70000"), "--rendezvous"),
        (Several(2, nodes=2, rendezvous="host:29500"), "--node"),
        (Several(2, nodes=2, node=2, rendezvous="host:29500"), "--node"),
        (Several(2, rendezvous="host:29500"), "--rendezvous"),
    ],
)
def test_processes_that_would_never_meet_are_refused(several, where):
    with pytest.raises(UsageError) as raised:
        several.check()
    assert raised.value.where == where


def test_every_node_knows_the_numbers_of_its_own():
    assert [*Several(2, nodes=3, node=1, rendezvous="h:1").ranks] == [2, 3]
    assert [*Several(3).ranks] == [0, 1, 2]
