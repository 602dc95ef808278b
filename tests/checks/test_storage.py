import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ticketcli.checks import storage
from ticketcli.checks.storage import check_data, check_files, check_space, file_system, nearest


def contents(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_system_that_does_all_is_good_and_nothing_is_left_behind(tmp_path):
    run = tmp_path / "not" / "yet" / "made"
    found = check_files(run)
    assert found.state in ("ok", "warn"), found  # a temporary folder may lie in memory
    assert "write, sync, rename and lock work" in found.found
    assert contents(tmp_path) == []
    assert nearest(run) == tmp_path


def test_a_lock_that_keeps_nobody_out_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_SECOND_LOCK", "")  # the second process is let in
    found = check_files(tmp_path)
    assert found.state == "fail"
    assert "cannot lock a file" in found.found
    assert "a second process got the same lock" in found.found
    assert contents(tmp_path) == []


@pytest.mark.parametrize("position", range(4))
def test_the_first_thing_that_is_refused_is_named(tmp_path, monkeypatch, position):
    def refuse(folder):
        raise OSError(5, "Input/output error")

    trials = list(storage._TRIALS)
    trials[position] = (*trials[position][:2], refuse)
    monkeypatch.setattr(storage, "_TRIALS", tuple(trials))
    found = check_files(tmp_path)
    assert (found.state, found.code) == ("fail", 1)
    assert f"cannot {trials[position][0]} in {tmp_path}: Input/output error" in found.found
    assert found.hint
    assert contents(tmp_path) == []


def test_a_full_disk_is_told_by_its_own_code(tmp_path, monkeypatch):
    def refuse(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "_TRIALS", (("write", "hint", refuse),))
    assert check_files(tmp_path).code == 8


def test_a_place_that_takes_no_folder_is_refused(tmp_path):
    assert "cannot make a folder in /proc" in check_files(storage.Path("/proc/none")).found
    file = tmp_path / "file"
    file.touch()
    assert check_files(file).code == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_interrupted_check_leaves_nothing_behind(tmp_path, number):
    code = (
        "import sys, time, pathlib\nfrom ticketcli.checks.storage import scratch\n"
        "with scratch(pathlib.Path(sys.argv[1])) as made:\n"
        "    (made / 'file').touch(); print('here', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout.readline() == "here\n"
        assert len(contents(tmp_path)) == 2
        process.send_signal(number)
        assert process.wait(timeout=30) != 0
    assert contents(tmp_path) == []


def test_signals_are_as_they_were(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    check_files(tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def disk(monkeypatch):
    """Say how many bytes and files are free."""

    def say(free, files=10**6):
        found = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_files=10**6, f_favail=files)
        monkeypatch.setattr("os.statvfs", lambda place: found)

    return say


@pytest.mark.parametrize(("share", "state", "code"), [(0.1, "ok", 1), (0.9, "warn", 1), (1.5, "fail", 8)])
def test_space_is_judged_against_what_is_needed(tmp_path, disk, share, state, code):
    disk(50 * 10**9)
    found = check_space(tmp_path, int(share * 50 * 10**9))
    assert (found.state, found.code) == (state, code)
    assert "50 GB free" in found.found


def test_without_an_estimate_little_space_is_a_warning(tmp_path, disk):
    disk(10**8)
    assert check_space(tmp_path).state == "warn"
    disk(10**10)
    assert check_space(tmp_path).state == "ok"


def test_a_disk_without_room_for_files_is_full(tmp_path, disk):
    disk(10**12, files=3)
    found = check_space(tmp_path)
    assert (found.state, found.code) == ("fail", 8)
    assert "room for 3 more files" in found.found


def test_the_data_folder_is_there_or_not_or_no_folder(tmp_path):
    assert check_data(tmp_path, from_variable=False).state == "ok"
    assert check_data(tmp_path / "none", from_variable=False).state == "note"
    (tmp_path / "file").touch()
    found = check_data(tmp_path / "file", from_variable=True)
    assert (found.state, found.code) == ("fail", 5)
    assert "TICKET_DATA" in found.hint


def test_the_file_system_is_the_one_of_the_deepest_mount():
    assert file_system(storage.Path("/proc/self"))[0] == "proc"
