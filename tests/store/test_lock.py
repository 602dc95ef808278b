"""One writer a step: who holds the lock is named, a dead one's is taken over, a living one's never."""

import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketcli.errors import LockedError, UsageError
from ticketcli.store import lock as lock_module
from ticketcli.store import owner as owner_module
from ticketcli.store.host import boot_id, host_name, process_space, process_start
from ticketcli.store.lock import locked, owner_path, read_owner
from ticketcli.store.owner import Owner

HOLD = """
import pathlib, sys
from ticketcli.store.lock import locked
with locked(pathlib.Path(sys.argv[1]), what="a"):
    print("held", flush=True)
    sys.stdin.read()
"""

FORKING = """
import os, pathlib, sys, time
from ticketcli.store.lock import locked
with locked(pathlib.Path(sys.argv[1]), what="a"):
    child = os.fork()
    if child == 0:
        print("held", flush=True)
        time.sleep(60)
    (pathlib.Path({folder!r}) / "child").write_text(str(child))
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".locks" / "a.lock"


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_CLUSTER_NAME", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)


def holder(path, code=HOLD):
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def end(process):
    process.kill()
    process.communicate()


def write_owner(path, **changes):
    """An owner's file as another process left it."""
    owner = replace(Owner.here("a"), **changes)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    owner_path(path).write_text(json.dumps(owner.as_json()))
    return owner


ELSEWHERE = {"host": "node7", "boot": "another", "pid": 4711}


def test_the_second_start_is_told_who_works_since_when_and_what_to_do(path):
    process = holder(path)
    try:
        with pytest.raises(LockedError) as caught, locked(path, what="a"):
            pass
    finally:
        end(process)
    error = caught.value
    assert error.code == 7
    assert f"another process works on 'a': process {process.pid} on {host_name()}, since 20" in error.what
    assert " UTC (" in error.what
    assert error.where == str(path)
    assert error.hint == f"wait for it, or end it (kill {process.pid}), or give this one another --run or --name"


def test_a_killed_owner_is_forgotten_at_once(path):
    process = holder(path)
    end(process)
    assert read_owner(path).pid == process.pid
    with locked(path, what="a") as held:
        assert read_owner(path).pid == os.getpid()
        assert held.broken == ""
    assert read_owner(path) is None


def test_workers_that_an_owner_forked_do_not_keep_its_lock(path, tmp_path):
    process = holder(path, FORKING.format(folder=str(tmp_path)))
    try:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with locked(path, what="a"):
            pass
    finally:
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
        process.communicate()


def test_a_process_id_that_is_another_process_by_now_fools_nobody(path):
    write_owner(path, pid=os.getppid(), started=process_start(os.getppid()) - 1)
    with locked(path, what="a"):
        pass


def test_a_living_owner_is_believed_even_where_its_lock_is_not_seen(path):
    """As on a file system that answers every lock with yes."""
    write_owner(path, pid=os.getppid(), started=process_start(os.getppid()))
    for break_lock in (False, True):
        with (
            pytest.raises(LockedError, match=f"process {os.getppid()} "),
            locked(path, what="a", break_lock=break_lock),
        ):
            pass


def test_a_process_that_nobody_buried_yet_is_gone():
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process_start(child.pid) is None


def test_a_machine_that_was_started_anew_holds_nothing(path):
    write_owner(path, boot="before", pid=1)
    with locked(path, what="a"):
        pass


def test_a_container_of_this_machine_holds_only_what_the_system_says(path):
    write_owner(path, host="0123456789ab", space="pid:[1]", pid=os.getppid())
    with locked(path, what="a"):
        pass


def test_another_machines_lock_stays_until_somebody_who_knows_says_so(path):
    owner = write_owner(path, **ELSEWHERE)
    with pytest.raises(LockedError, match="process 4711 on node7") as caught, locked(path, what="a"):
        pass
    assert "--break-lock" in caught.value.hint
    assert read_owner(path) == owner
    with locked(path, what="a", break_lock=True) as held:
        assert held.broken.startswith("process 4711 on node7")
        assert held.broken.endswith("by --break-lock")


def test_whom_the_lock_was_taken_from_notices_before_it_writes(path):
    with locked(path, what="a") as held:
        held.check()
        write_owner(path, **ELSEWHERE)
        with pytest.raises(LockedError, match="the lock on 'a' was taken from this process"):
            held.check()
    assert read_owner(path).pid == 4711  # and does not remove what is another's


def test_a_lock_that_a_dead_machine_left_on_a_server_is_begun_anew(path):
    process = holder(path)
    try:
        write_owner(path, **ELSEWHERE)
        with pytest.raises(LockedError), locked(path, what="a"):
            pass
        with locked(path, what="a", break_lock=True):
            assert read_owner(path).pid == os.getpid()
    finally:
        end(process)


def test_a_living_process_of_this_machine_is_never_robbed(path):
    process = holder(path)
    try:
        with (
            pytest.raises(LockedError, match=f"process {process.pid}") as caught,
            locked(path, what="a", break_lock=True),
        ):
            pass
        assert "--break-lock" not in caught.value.hint
        assert read_owner(path).pid == process.pid
    finally:
        end(process)


def test_what_a_dead_owner_began_and_still_runs_keeps_the_lock(path):
    """It may still write; no owner is alive to be asked."""
    with locked(path, what="a") as held:
        left = subprocess.Popen(["sleep", "60"], pass_fds=(held._descriptor,))
    write_owner(path, pid=os.getppid(), started=1)
    try:
        with pytest.raises(LockedError, match="it has ended, but what it began goes on"), locked(path, what="a"):
            pass
    finally:
        end(left)
    with locked(path, what="a"):
        pass


# ------------------------------------------------------------------ SLURM


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Programs that answer as SLURM's do."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def answers(squeue, scontrol="echo 'ClusterName             = big'"):
        for name, body in (("squeue", squeue), ("scontrol", scontrol)):
            (folder / name).write_text(f"#!/bin/sh\n{body}\n")
            (folder / name).chmod(0o755)

    return answers


GONE = [
    ("echo COMPLETED", "job 99 is COMPLETED"),
    ("echo 'CANCELLED by 1000'", "job 99 is CANCELLED"),
    ("echo NODE_FAIL", "job 99 is NODE_FAIL"),
    ("true", "job 99 is over"),
    ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", "knows no job 99"),
]
NOT_GONE = [
    ("echo RUNNING", "job 99 is RUNNING"),
    ("echo COMPLETING", "job 99 is COMPLETING"),
    ("echo PENDING", "job 99 is PENDING"),
    ("echo COMPLETED; echo RUNNING", "job 99 is RUNNING"),
    ("echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1", "SLURM does not answer"),
    ("sleep 60", "SLURM cannot be asked"),
]


@pytest.mark.parametrize(("answer", "why"), GONE)
def test_a_job_that_slurm_says_is_over_holds_nothing(path, slurm, answer, why):
    slurm(answer)
    write_owner(path, **ELSEWHERE, job="99", cluster="big")
    with locked(path, what="a") as held:
        assert "process 4711 on node7, SLURM job 99" in held.broken
        assert why in held.broken


@pytest.mark.parametrize(("answer", "why"), NOT_GONE)
def test_a_job_that_may_still_run_keeps_its_lock(path, slurm, answer, why, monkeypatch):
    monkeypatch.setattr(owner_module, "_PATIENCE", 0.5)
    slurm(answer)
    write_owner(path, **ELSEWHERE, job="99", cluster="big")
    with pytest.raises(LockedError, match=why) as caught, locked(path, what="a"):
        pass
    assert "scancel 99" in caught.value.hint


def test_another_clusters_controller_is_not_believed(path, slurm):
    """Two clusters over one file system: their jobs have equal numbers."""
    slurm("echo COMPLETED", "echo 'ClusterName = small'")
    write_owner(path, **ELSEWHERE, job="99", cluster="big")
    with pytest.raises(LockedError, match="of the cluster 'big'"), locked(path, what="a"):
        pass


def test_a_requeued_job_takes_over_from_itself_and_two_nodes_of_one_job_do_not(path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "99")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "big")
    write_owner(path, **ELSEWHERE)
    with pytest.raises(LockedError, match="this very job"), locked(path, what="a"):
        pass
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with locked(path, what="a") as held:
        assert "job 99 was requeued" in held.broken
        assert read_owner(path).restarts == 1


# ------------------------------------------------------------------ many at once

RACE = """
import os, pathlib, sys, time
sys.path.insert(0, {root!r})
from ticketcli.store import flock, lock, owner, host
from ticketcli.errors import LockedError
path, log, n, blind = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "blind"
if blind:  # two machines over a file system that keeps locks to each
    flock.fcntl.flock = lambda *_: None
def say(what):
    with log.open("a") as file:
        file.write(what + "\\n")

for trial in range(n):
    at = time.monotonic() + 0.1
    children = []
    for which in range(2):
        child = os.fork()
        if child == 0:
            if blind:
                for module in (owner, lock):
                    setattr(module, "boot_id", lambda: f"boot{{which}}") if hasattr(module, "boot_id") else None
                owner.host_name = lambda: f"host{{which}}"
            while time.monotonic() < at:
                pass
            code = 0
            try:
                with lock.locked(path, what="a"):
                    say(f"{{trial}} in")
                    patience = time.monotonic() + 10
                    while f"{{trial}} refused" not in log.read_text() and time.monotonic() < patience:
                        time.sleep(0.01)
                    say(f"{{trial}} out")
            except LockedError:
                say(f"{{trial}} refused")
                code = 7
            os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(*codes, flush=True)
"""


def race(path, tmp_path, n, how):
    log = tmp_path / "log"
    path.parent.mkdir(exist_ok=True)
    root = str(lock_module.__file__).rpartition("/ticketcli/")[0]
    done = subprocess.run(
        [sys.executable, "-c", RACE.format(root=root), path, log, str(n), how],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    codes = [sorted(map(int, line.split())) for line in done.stdout.splitlines()]
    lines = log.read_text().splitlines()
    assert sorted(lines) == sorted(f"{trial} {what}" for trial in range(n) for what in ("in", "refused", "out"))
    assert codes == [[0, 7]] * n
    assert [entry.name for entry in path.parent.iterdir()] in ([path.name], [])


@pytest.mark.parametrize("how", ["seeing", "blind"])
def test_of_two_starts_at_once_exactly_one_writes(path, tmp_path, how):
    race(path, tmp_path, 8, how)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["seeing", "blind"])
def test_of_fifty_double_starts_exactly_one_writes_each_time(path, tmp_path, how):
    race(path, tmp_path, 50, how)


def test_of_two_that_find_a_dead_owner_one_takes_over(path, monkeypatch):
    """What the slower one moves aside is the faster one's new file: it is put back."""
    dead = write_owner(path, **ELSEWHERE, job="99")
    faster = replace(dead, host="node8", pid=1)
    look = lock_module.look_for

    def slowly(owner, **more):
        finding = replace(look(owner, **more), is_gone=owner == dead)
        if owner == dead:
            owner_path(path).write_text(json.dumps(faster.as_json()))
        return finding

    monkeypatch.setattr(lock_module, "look_for", slowly)
    with pytest.raises(LockedError, match="node8"), locked(path, what="a"):
        pass
    assert read_owner(path) == faster


# ------------------------------------------------------------------ files that are no locks


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_a_lock_that_is_no_regular_file_is_refused(path, kind, tmp_path):
    path.parent.mkdir()
    {"link": lambda: path.symlink_to(tmp_path / "x"), "folder": path.mkdir, "fifo": lambda: os.mkfifo(path)}[kind]()
    with pytest.raises(UsageError, match="the lock is no regular file"), locked(path, what="a"):
        pass
    assert not (tmp_path / "x").exists()


def spoil(path, kind):
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(10**12)
    else:
        path.write_bytes({"empty": b"", "garbage": b"\xff\xfe", "deep": b"[" * 10**4, "other": b'{"pid": 1}'}[kind])


@pytest.mark.parametrize("kind", ["fifo", "device", "huge", "empty", "garbage", "deep", "other"])
def test_an_owners_file_that_cannot_be_read_keeps_everybody_out_until_it_is_broken(path, kind):
    path.parent.mkdir()
    spoil(owner_path(path), kind)
    with pytest.raises(LockedError, match="'a' is locked") as caught, locked(path, what="a"):
        pass
    assert "--break-lock" in caught.value.hint
    with locked(path, what="a", break_lock=True) as held:
        assert "could not be read" in held.broken
        assert read_owner(path).pid == os.getpid()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
)


@given(st.dictionaries(st.sampled_from(sorted(Owner.here("").as_json())), json_values))
def test_an_owner_is_parsed_or_refused(changes):
    try:
        owner = Owner.parse({**Owner.here("a").as_json(), **changes})
    except ValueError:
        return
    assert str(owner).isprintable()


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o027, 0o640), (0o077, 0o600)])
def test_lock_files_have_the_permissions_that_the_umask_leaves(path, umask, mode):
    before = os.umask(umask)
    try:
        with locked(path, what="a"):
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert stat.S_IMODE(owner_path(path).stat().st_mode) == mode
    finally:
        os.umask(before)


def test_what_is_known_of_this_process_is_what_the_system_says():
    assert boot_id()
    assert process_space().startswith("pid:[")
    assert process_start(os.getpid()) == Owner.here("a").started
