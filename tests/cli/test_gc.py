"""`ticket gc` deletes what nothing needs, and only when told to."""

import json
import os
import pty
import shutil
import subprocess
import sys

import pytest

from tests.cli.command_line import digests, ticket
from ticketcli.store.codec import write_mask
from ticketcli.store.host import temporary_name
from ticketcli.store.lock import locked
from ticketcli.store.manifest import write_manifest
from ticketcli.store.mask import Mask
from ticketcli.store.run_folder import Run
from ticketcli.store.tensorfile import write_tensors


def write_state(path):
    from safetensors.numpy import save_file

    write_tensors(path, lambda to, metadata: save_file({}, to, metadata=metadata), kind="state", about={"key": "k"})


def litter(run):
    """One of each kind of leftover, and things beside them that have to stay."""
    step = run.step_folder("imp@seed=0")
    dead = temporary_name("x").replace(f"-{os.getpid()}-", "-4194300-")  # above the largest process id
    (step / dead).write_text("half")
    (step / "state" / dead).write_text("half")
    (run.root / dead).write_text("half")
    write_state(step / "state" / "round-01-000000007.safetensors")
    (step / "notes.txt").write_text("mine")
    (run.root / "notes").mkdir()
    (run.root / "notes" / "n.txt").write_text("mine")
    nothing = run.root / "begun"
    nothing.mkdir()
    (nothing / "metrics.jsonl").write_text("")
    shutil.copytree(run.step_folder("plain@seed=0"), run.root / ".old" / "plain@seed=0" / "001")
    return {
        f"imp@seed=0/{dead}": "stray temporary",
        f"imp@seed=0/state/{dead}": "stray temporary",
        dead: "stray temporary",
        "imp@seed=0/state/round-01-000000007.safetensors": "superseded state",
        "begun/metrics.jsonl": "log of nothing",
        ".old/plain@seed=0/001": "old generation",
    }


def listed(run, *more):
    found = json.loads(ticket("gc", "--run", run.root, "--json", *more).out)
    return {one["path"]: one["kind"] for one in found["found"]}


def everything(run):
    return {
        path.relative_to(run.root): path.stat().st_size
        for path in run.root.rglob("*")
        if path.is_file() and ".locks" not in path.parts
    }


def test_a_clean_run_has_nothing_to_delete(finished):
    result = ticket("gc", "--run", finished.root)
    assert result.code == 0
    assert result.out == f"{finished.root}: nothing to delete\n"


@pytest.mark.parametrize("arguments", [(), ("--dry-run",), ("--dry-run", "--yes"), ("--json",)])
def test_it_lists_what_would_go_and_deletes_nothing_unasked(copy, arguments):
    expected = litter(copy)
    before = everything(copy)
    result = ticket("gc", "--run", copy.root, *arguments)
    assert result.code == 0
    assert all(path in result.out for path in expected)
    assert everything(copy) == before
    assert listed(copy) == expected


def test_with_yes_it_deletes_that_and_nothing_else(copy):
    clean = everything(copy)
    expected = litter(copy)
    result = ticket("gc", "--run", copy.root, "--yes")
    assert result.code == 0
    assert "1 old generation" in result.out
    assert "freed" in result.out
    assert all(path in result.out for path in expected)
    mine = {path: size for path, size in everything(copy).items() if path.name in ("notes.txt", "n.txt")}
    assert len(mine) == 2
    assert everything(copy) == clean | mine
    assert not (copy.root / ".old").exists()
    assert ticket("verify", "--run", copy.root).code == 0
    assert listed(copy) == {}


def test_the_json_says_what_was_deleted_and_how_much(copy):
    litter(copy)
    before = sum(everything(copy).values())
    found = json.loads(ticket("gc", "--run", copy.root, "--json", "--yes").out)
    assert found["deleted"] is True
    assert before - sum(everything(copy).values()) == found["bytes"] == sum(one["bytes"] for one in found["found"])


def test_on_a_terminal_it_asks(copy):
    expected = litter(copy)
    for answer, is_left in (("n\n", True), ("y\n", False)):
        master, slave = pty.openpty()
        command = [sys.executable, "-m", "ticketcli", "gc", "--run", str(copy.root)]
        with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave) as process:
            os.write(master, answer.encode())
            process.wait(timeout=60)
        os.close(slave)
        said = os.read(master, 100_000).decode()
        os.close(master)
        assert process.returncode == 0, said
        assert "Delete them? [y/N]" in said
        assert (set(listed(copy)) == set(expected)) == is_left


def test_while_a_step_is_at_work_it_refuses(copy):
    litter(copy)
    before = everything(copy)
    with locked(copy.lock_path("imp@seed=0"), what="imp@seed=0"):
        result = ticket("gc", "--run", copy.root, "--yes")
    assert result.code == 7
    assert f"another process works on 'imp@seed=0': process {os.getpid()}" in result.err
    assert everything(copy) == before


def test_an_old_generation_that_a_step_was_made_from_stays(copy):
    litter(copy)
    mask = ".old/plain@seed=0/001/round-02.mask.safetensors"
    result = ticket(
        "rewind", "--name", "from_old", "--ticket", copy.root / mask, "--to", "dense@seed=0", "--run", copy.root
    )
    assert result.code == 0, result
    assert ".old/plain@seed=0/001" not in listed(copy)
    assert ticket("gc", "--run", copy.root, "--yes").code == 0
    assert (copy.root / mask).is_file()


def test_a_manifest_that_cannot_be_read_may_name_anything_so_nothing_is_deleted(copy):
    litter(copy)
    (copy.step_folder("dec@seed=0") / "manifest.json").write_text("{")
    before = everything(copy)
    assert ticket("gc", "--run", copy.root, "--yes").code == 6
    assert everything(copy) == before


def test_links_lead_it_nowhere(copy, tmp_path):
    precious = tmp_path / "precious"
    (precious / "001").mkdir(parents=True)
    (precious / "001" / "round-01-000000001.safetensors").write_text("mine")
    (precious / "round-01-000000001.safetensors").write_text("mine")
    (copy.root / ".old" / "x").mkdir(parents=True)
    (copy.root / ".old" / "x" / "001").symlink_to(precious)
    (copy.root / ".old" / "y").symlink_to(precious)
    state = copy.step_folder("imp@seed=0") / "state"
    state.rmdir()
    state.symlink_to(precious)
    assert ticket("gc", "--run", copy.root, "--yes").code == 0
    assert len(list(precious.rglob("*.safetensors"))) == 2


def test_states_of_an_unfinished_unit_stay_but_damaged_ones_go(copy):
    manifest = copy.manifest("imp@seed=0")
    units = {name: unit for name, unit in manifest.units.items() if name == "round-01"}
    write_manifest(copy.step_folder("imp@seed=0"), manifest.model_copy(update={"units": units, "status": "partial"}))
    states = copy.step_folder("imp@seed=0") / "state"
    for name in ("round-02-000000001", "round-02-000000002", "round-02-000000003"):
        write_state(states / f"{name}.safetensors")
    damaged = states / "round-02-000000003.safetensors"
    damaged.write_bytes(damaged.read_bytes().replace(b'\\"key\\":\\"k', b'\\"key\\":\\"j'))
    found = {path: kind for path, kind in listed(copy).items() if "state" in path}
    assert found == {"imp@seed=0/state/round-02-000000003.safetensors": "damaged state"}


def test_another_process_temporary_file_stays_while_that_lives(copy):
    (copy.root / temporary_name("recipe.json")).write_text("half")
    assert listed(copy) == {}


def test_a_folder_without_a_manifest_but_with_results_is_left_for_its_owner_to_judge(copy):
    step = copy.step_folder("imp@seed=0")
    (step / "manifest.json").unlink()
    before = everything(copy)
    assert ticket("gc", "--run", copy.root, "--yes").code == 0
    assert everything(copy) == before


def test_verify_tells_of_leftovers_and_calls_none_of_them_damage(copy):
    expected = litter(copy)
    result = ticket("verify", "--run", copy.root, "--json")
    assert result.code == 0, result
    found = {one["path"]: one["kind"] for one in json.loads(result.out)["leftovers"]}
    assert found == {path: kind for path, kind in expected.items() if kind != "old generation"} | {
        "imp@seed=0/notes.txt": "unknown"
    }
    assert "'ticket gc' deletes" in ticket("verify", "--run", copy.root).err


def test_verify_looks_at_old_generations_when_asked(copy):
    litter(copy)
    mask = copy.root / ".old" / "plain@seed=0" / "001" / "round-02.mask.safetensors"
    write_mask(mask, Mask({"w": [True]}), {})
    assert ticket("verify", "--run", copy.root).code == 0
    result = ticket("verify", "--run", copy.root, "--old")
    assert result.code == 6
    assert str(mask) in result.err


def test_a_missing_run_folder_is_named(tmp_path):
    assert ticket("gc", "--run", tmp_path / "none").code == 5


def test_digests_are_the_same_after_a_collection(copy):
    before = digests(copy)
    litter(copy)
    ticket("gc", "--run", copy.root, "--yes")
    assert digests(Run(copy.root)) == before
