"""Cut anywhere, continued by the same command, the run holds the bytes of one that was never cut."""

import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.command_line import digests, ticket
from ticketcli.store.run_folder import Run


def begin(recipe, folder, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "ticketcli", "run", str(recipe), "--run", str(folder), "--save-every", "0", *more],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(process, words):
    """Read what the process says until it says `words`."""
    said = []
    for line in process.stderr:
        said.append(line)
        if words in line:
            return
    raise AssertionError("".join(said))


def test_sigterm_saves_the_state_and_the_same_command_continues_to_the_same_bytes(tiny_recipe, finished, tmp_path):
    folder = tmp_path / "run"
    process = begin(tiny_recipe, folder)
    wait_for(process, "weights prunable")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert "stopped: SIGTERM" in said
    assert "the same command continues" in said
    result = ticket("run", tiny_recipe, "--run", folder)
    assert result.code == 0, result
    assert "resume:" in result.err
    assert digests(Run(folder)) == digests(finished)
    assert not list(folder.rglob("*.tmp"))


def test_metrics_of_a_cut_run_are_those_of_a_straight_one(tiny_recipe, finished, tmp_path):
    folder = tmp_path / "run"
    process = begin(tiny_recipe, folder)
    wait_for(process, "round-02 done")
    process.kill()
    process.communicate()
    assert ticket("run", tiny_recipe, "--run", folder, "-q").code == 0
    for step in Run(folder).steps():
        assert (folder / step / "metrics.jsonl").read_bytes() == (finished.root / step / "metrics.jsonl").read_bytes()


def test_a_corrupt_newest_state_falls_back_to_the_one_before_and_says_so(tiny_recipe, finished, tmp_path):
    folder = tmp_path / "run"
    process = begin(tiny_recipe, folder, "plain.finetune=4it")
    deadline = time.monotonic() + 120
    states = []
    while len(states) < 2 and time.monotonic() < deadline and process.poll() is None:
        states = sorted(folder.glob("dense@seed=0/state/*.safetensors"))
        time.sleep(0.01)
    process.kill()
    process.communicate()
    states = sorted(folder.glob("*/state/*.safetensors"))
    assert len(states) >= 2
    newest = max(states, key=lambda path: path.name)
    newest.write_bytes(newest.read_bytes()[:-5])
    result = ticket("run", tiny_recipe, "--run", folder)
    assert result.code == 0, result
    assert "falling back" in result.err
    assert digests(Run(folder)) == digests(finished)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_ten_cuts_at_random_times_leave_the_masks_of_an_uninterrupted_run(tiny_recipe, finished, tmp_path, how):
    folder, straight, times = tmp_path / "run", tmp_path / "straight", random.Random(0)
    longer = "defaults.prune.finetune=8it"
    assert ticket("run", tiny_recipe, longer, "--run", straight, "-q").code == 0
    cuts, codes = 0, []
    while cuts < 10:
        process = begin(tiny_recipe, folder, longer)
        try:
            process.communicate(timeout=times.uniform(2.0, 6.0))
        except subprocess.TimeoutExpired:
            process.send_signal(how)
            process.communicate(timeout=120)
            cuts += 1
        codes.append(process.returncode)
        if process.returncode == 0:  # finished before the next cut: compare, and begin again
            assert digests(Run(folder)) == digests(Run(straight))
            shutil.rmtree(folder)
            continue
        assert process.returncode in ((75, -15) if how == signal.SIGTERM else (-9,)), codes  # -15: still starting
    result = ticket("run", tiny_recipe, longer, "--run", folder, "-q")
    assert result.code == 0, result
    assert digests(Run(folder)) == digests(Run(straight))
    assert ticket("verify", "--run", folder).code == 0
