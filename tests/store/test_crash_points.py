"""Killed before any file operation of a save, with or without loss of power: what is left is the old or the new."""

import subprocess
import sys

import pytest


def sweep(save, loss, folder):
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.crash_points", save, loss, folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.mark.parametrize("loss", ["nothing", "data", "names"])
@pytest.mark.parametrize(
    "save", ["commit", "rotate", "keep_gates", "finish", "retire_units", "retire_step", "save_recipe"]
)
def test_a_save_that_dies_anywhere_leaves_the_old_or_the_new(tmp_path, save, loss):
    said = sweep(save, loss, tmp_path)
    at_least = {
        "commit": 20,
        "rotate": 12,
        "keep_gates": 6,
        "finish": 22,
        "retire_units": 12,
        "retire_step": 4,
        "save_recipe": 8,
    }
    assert len(said) >= at_least[save], said


def test_a_new_state_is_synced_and_in_its_place_before_the_oldest_goes(tmp_path):
    said = sweep("rotate", "nothing", tmp_path)
    placed = said.index("rename to round-02-000000003.safetensors")
    gone = said.index("unlink round-02-000000001.safetensors")
    assert said[placed - 1] == "fsync"  # the data, before they get their name
    assert "fsync" in said[placed + 1 : gone]  # the name, before the oldest goes


def test_the_manifest_comes_last(tmp_path):
    said = sweep("finish", "nothing", tmp_path)
    renames = [what for what in said if what.startswith("rename to ")]
    assert renames == ["rename to round-02.mask.safetensors", "rename to manifest.json"]
    assert said.index("unlink round-02-000000001.safetensors") > said.index("rename to manifest.json")
