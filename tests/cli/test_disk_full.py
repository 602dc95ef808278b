"""A full disk is told by its exit code, 8; what was there before verifies, and with more room the same command goes on."""

import resource
import subprocess
import sys

import pytest

from tests.cli.command_line import digests, ticket
from ticketcli.store.run_folder import Run

PRETRAIN = (
    "pretrain", "--data", "{name: digits, classes: [0, 1], per_class: 16}", "--epochs", "2ep", "--milestones", "[]",
    "--batch", "8", "--save-every", "0",
)  # fmt: skip


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own: a function that makes it, or makes it another size, in bytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def resize(size):
        nonlocal mounted
        options = f"{'remount,' if mounted else ''}size={size},nr_inodes=10000"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"a small file system can be mounted by root only: {done.stderr.strip()}")
        mounted = True
        return place

    yield resize
    if mounted:
        subprocess.run(["umount", place], check=True)


def is_whole(run):
    result = ticket("verify", "--run", run)
    return result.code == 0 or (result.code == 5 and "no steps to verify" in result.err)


def slowly(*sizes):
    return [pytest.param(size, marks=pytest.mark.slow) for size in sizes]


@pytest.mark.parametrize("size", [0, 8, 300, 2500, *slowly(4, 16, 24, 64, 1250, 3700, 5200, 7600)])
def test_wherever_the_disk_becomes_full_it_is_told_and_nothing_is_broken(small_disk, size):
    """Kilobytes, from no room for a lock to no room for the last checkpoint."""
    place = small_disk(max(size, 1) * 1024)
    if size == 0:
        (place / "full").write_bytes(bytes(4096))
    result = ticket(*PRETRAIN, "--run", place / "run")
    assert result.code == (8 if size < 7600 else 0), result
    if result.code:
        assert "no space left on device" in result.err
        assert "run the same command again" in result.err
    assert is_whole(place / "run")
    assert not list(place.rglob("*.tmp"))
    small_disk(64_000_000)
    (place / "full").unlink(missing_ok=True)
    assert ticket(*PRETRAIN, "--run", place / "run").code == 0
    assert is_whole(place / "run")


@pytest.mark.slow
def test_a_recipe_that_fills_the_disk_goes_on_where_it_was_to_the_same_bytes(small_disk, tiny_recipe, finished):
    place, size, codes = small_disk(2_000_000), 2_000_000, []
    while not codes or codes[-1]:
        result = ticket("run", tiny_recipe, "--run", place / "run", "-q")
        codes.append(result.code)
        assert result.code in (0, 8), result
        assert is_whole(place / "run")
        size += 4_000_000
        small_disk(size)
    assert len(codes) > 4
    assert digests(Run(place / "run")) == digests(finished)


def test_a_limit_on_file_sizes_is_told_the_same_way(tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    command = [sys.executable, "-m", "ticketcli", *PRETRAIN, "--run", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == 8, done.stderr
    assert "file too large" in done.stderr
    assert "ulimit -f" in done.stderr
    assert is_whole(tmp_path / "run")
    assert not list(tmp_path.rglob("*.tmp"))
