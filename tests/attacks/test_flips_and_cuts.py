"""Every flipped byte and every cut of every kind of file is found: by `verify`, and by whoever reads it alone."""

import shutil

import pytest
import torch

from tests.attacks.damage import flips, refuses, truncations
from tests.cli.command_line import ticket
from ticketcli.cli.recipe_file import saved_source
from ticketcli.cli.verify import problems_of
from ticketcli.store.codec import read_mask
from ticketcli.store.manifest import read_manifest, write_manifest
from ticketcli.store.run_folder import Run
from ticketcli.tensors.files import read_checkpoint, read_state, write_state

KINDS = {
    "checkpoint": ("dense@seed=0/dense.safetensors", read_checkpoint),
    "mask": ("ours@seed=0/round-02.mask.safetensors", read_mask),
    "decoder": ("dec@seed=0/decoder.safetensors", read_checkpoint),
    "task": ("target@arm=imp-3,seed=0/task.safetensors", read_checkpoint),
    "state": ("imp@seed=0/state/round-02-000000001.safetensors", read_state),
    "manifest": ("ours@seed=0/manifest.json", lambda path: read_manifest(path.parent)),
    "log": ("ours@seed=0/metrics.jsonl", None),
    "log of a unit under way": ("imp@seed=0/metrics.jsonl", None),
    "recipe": ("recipe.json", lambda path: saved_source(Run(path.parent))),
}


@pytest.fixture(scope="module")
def cut(finished, tmp_path_factory):
    """A run of which one step is in its second round, with a saved state."""
    run = Run(tmp_path_factory.mktemp("cut") / "run")
    shutil.copytree(finished.root, run.root)
    folder, manifest = run.step_folder("imp@seed=0"), run.manifest("imp@seed=0")
    units = {"round-01": manifest.units["round-01"]}
    write_manifest(folder, manifest.model_copy(update={"units": units, "status": "partial"}))
    with (folder / "metrics.jsonl").open("r+b") as file:
        file.truncate(units["round-01"].metrics_end)
    tree = {"iteration": 3, "model": {"w": torch.randn(40, 50)}, "rng": [torch.arange(9), None, "x"]}
    write_state(folder / "state" / "round-02-000000001.safetensors", tree, about={"key": "k", "metrics_offset": 5})
    assert not problems_of(run)
    return run


def spoil(run, kind, n_flips, n_cuts):
    name, read = KINDS[kind]
    path = run.root / name
    whole = path.read_bytes()
    try:
        for what, spoiled in (*flips(whole, n_flips), *truncations(whole, n_cuts)):
            path.write_bytes(spoiled)
            assert problems_of(run, [name.partition("/")[0]] if "/" in name else None), what
            assert read is None or refuses(read, path), what
    finally:
        path.write_bytes(whole)
    assert not problems_of(run)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_of_any_kind_of_file_is_found(cut, kind):
    spoil(cut, kind, 8, 4)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_flips_and_fifty_cuts_of_each_kind_are_found(cut, kind):
    spoil(cut, kind, 200, 50)


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_names_the_damaged_file_and_exits_with_6(cut, kind):
    path = cut.root / KINDS[kind][0]
    whole = path.read_bytes()
    try:
        path.write_bytes(next(flips(whole, 1, seed=7))[1])
        result = ticket("verify", "--run", cut.root)
    finally:
        path.write_bytes(whole)
    assert result.code == 6
    assert str(path) in result.err
    assert ticket("verify", "--run", cut.root).code == 0


def test_bytes_after_the_end_of_a_finished_log_are_found(cut):
    path = cut.root / "ours@seed=0/metrics.jsonl"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole + b'{"event": "unit"}\n')
        assert problems_of(cut)
    finally:
        path.write_bytes(whole)


def test_a_line_that_is_being_written_is_no_damage(cut):
    path = cut.root / "imp@seed=0/metrics.jsonl"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole + b'{"event": "unit", "schema": 1}\n{"event": "un')
        assert not problems_of(cut)
    finally:
        path.write_bytes(whole)
