import errno
import os
import stat
import subprocess
import sys

import pytest

from ticketcli.errors import LockedError, NoSpaceError, UsageError
from ticketcli.store.atomic import write_atomic, write_json, write_text
from ticketcli.store.lock import locked


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "f"
    target.write_text("old")

    def fails(temporary):
        temporary.write_text("half")
        raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        write_atomic(target, fails)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_check_that_refuses_leaves_the_old_file(tmp_path):
    target = tmp_path / "f"
    target.write_text("old")

    def refuse(temporary):
        raise ValueError("not good")

    with pytest.raises(ValueError, match="not good"):
        write_atomic(target, lambda temporary: temporary.write_text("new") and None, check=refuse)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_kill_in_the_middle_of_a_write_leaves_the_old_file(tmp_path):
    """A file that exists is whole (peer defect 7)."""
    (tmp_path / "f").write_text("old")
    code = (
        "import os, signal, sys, pathlib\n"
        "from ticketcli.store.atomic import write_atomic\n"
        "def half(t):\n    t.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomic(pathlib.Path(sys.argv[1]), half)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "f")], check=False)
    assert done.returncode == -9
    assert (tmp_path / "f").read_text() == "old"


def test_the_umask_is_honoured(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "f", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o640


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_a_target_that_is_no_regular_file_is_refused(tmp_path, kind):
    target = tmp_path / "f"
    if kind == "link":
        (tmp_path / "elsewhere").write_text("precious")
        target.symlink_to(tmp_path / "elsewhere")
    elif kind == "folder":
        target.mkdir()
    else:
        os.mkfifo(target)
    with pytest.raises(UsageError, match="no regular file"):
        write_text(target, "x")
    if kind == "link":
        assert (tmp_path / "elsewhere").read_text() == "precious"


def test_a_full_disk_is_named_and_leaves_no_litter(tmp_path):
    def full(temporary):
        temporary.write_text("part")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(NoSpaceError, match="no space left"):
        write_atomic(tmp_path / "f", full)
    assert list(tmp_path.iterdir()) == []


def test_json_is_canonical(tmp_path):
    write_json(tmp_path / "f", {"b": 1, "a": [1.5, "ü"]})
    assert (tmp_path / "f").read_text() == '{"a":[1.5,"ü"],"b":1}\n'


def test_a_held_lock_is_refused_at_once_and_freed_by_the_death_of_its_holder(tmp_path):
    lock = tmp_path / "locks" / "a.lock"
    code = (
        "import sys, time, pathlib\n"
        "from ticketcli.store.lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), what='a'):\n    print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match="another process works on 'a'"), locked(lock, what="a"):
            pass
        holder.kill()
        holder.wait()
    with locked(lock, what="a"):
        pass
