import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import ticketcli
from ticketcli.errors import CorruptError, DivergedError, MismatchError
from ticketcli.tensors.files import copy_of, load_into, read_checkpoint, read_state, write_checkpoint, write_state


def test_a_checkpoint_reads_back_equal(tmp_path):
    tensors = {"a.weight": torch.randn(3, 4).t(), "n": torch.tensor(7)}
    write_checkpoint(tmp_path / "c", tensors, kind="dense", about={"arch": "x", "mean": [0.1]})
    found = read_checkpoint(tmp_path / "c")
    assert all(torch.equal(found.tensors[name], value) for name, value in tensors.items())
    assert (found.kind, found.about) == ("dense", {"arch": "x", "mean": [0.1]})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_diverged_checkpoint_does_not_replace_a_healthy_one(tmp_path, bad):
    """Peer defect 19."""
    write_checkpoint(tmp_path / "c", {"w": torch.ones(2)}, kind="dense", about={})
    with pytest.raises(DivergedError, match="'w' is not finite"):
        write_checkpoint(tmp_path / "c", {"w": torch.tensor([1.0, bad])}, kind="dense", about={})
    assert torch.equal(read_checkpoint(tmp_path / "c").tensors["w"], torch.ones(2))


def test_a_pickle_is_never_opened(tmp_path):
    """Peer defect 16: whole-module pickles run code when they are loaded."""
    torch.save(nn.Linear(2, 2), tmp_path / "c.safetensors")
    with pytest.raises(CorruptError, match="cannot use this file"):
        read_checkpoint(tmp_path / "c.safetensors")


def test_pickles_are_met_in_two_places_only_and_by_restricted_readers_only():
    """The importer of foreign weights, and CIFAR's files."""
    package = Path(ticketcli.__file__).parent
    texts = {str(path.relative_to(package)): path.read_text() for path in package.rglob("*.py")}
    assert {name for name, text in texts.items() if "import pickle" in text} == {"data/cifar.py", "tensors/foreign.py"}
    loads = [line for text in texts.values() for line in text.splitlines() if "torch.load(" in line]
    assert len(loads) == 1
    assert "weights_only=True" in loads[0]
    assert not any("pickle.load" in text for text in texts.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("bias"), "lacks 'bias'"),
        (lambda t: t.update(more=torch.ones(1)), "no 'more'"),
        (lambda t: t.update(weight=torch.ones(3, 2)), r"'weight' is \(3, 2\), the network's is \(2, 3\)"),
    ],
)
def test_every_key_and_shape_is_accounted_for_and_nothing_changes_unless_all_fit(change, message):
    layer = nn.Linear(3, 2)
    before = copy_of(layer)
    tensors = {name: value + 1 for name, value in copy_of(layer).items()}
    change(tensors)
    with pytest.raises(MismatchError, match=message):
        load_into(layer, tensors, where="c")
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


def test_a_copy_shares_no_storage_with_the_network():
    layer = nn.Linear(2, 2)
    kept = copy_of(layer)
    with torch.no_grad():
        layer.weight.add_(1)
    assert not torch.equal(kept["weight"], layer.weight)


def test_a_state_reads_back_whole(tmp_path):
    layer = nn.Linear(3, 2)
    rule = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    rule.step()
    tree = {
        "optimizer": rule.state_dict(),
        "iteration": 3,
        "kept": {"init": copy_of(layer)},
        "none": None,
        "list": [1.5, "x"],
    }
    write_state(tmp_path / "s", tree, about={"key": "k"})
    found, about = read_state(tmp_path / "s")
    assert about == {"key": "k"}
    assert (found["iteration"], found["none"], found["list"]) == (3, None, [1.5, "x"])
    again = torch.optim.AdamW(layer.parameters())
    again.load_state_dict(found["optimizer"])
    assert torch.equal(again.state_dict()["state"][0]["exp_avg"], rule.state_dict()["state"][0]["exp_avg"])


def test_a_truncated_state_is_refused(tmp_path):
    write_state(tmp_path / "s", {"w": torch.randn(100)}, about={})
    whole = (tmp_path / "s").read_bytes()
    (tmp_path / "s").write_bytes(whole[:-7])
    with pytest.raises(CorruptError, match="cannot use"):
        read_state(tmp_path / "s")


def test_a_kill_during_saving_leaves_the_state_before(tmp_path):
    write_state(tmp_path / "s", {"w": torch.ones(3)}, about={"n": 1})
    code = (
        "import os, signal, sys, pathlib, torch\n"
        "from ticketcli.tensors.files import write_state\n"
        "kill = lambda path: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_state(pathlib.Path(sys.argv[1]), {'w': torch.zeros(3)}, about={'n': 2}, check=kill)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], check=False).returncode == -9
    assert read_state(tmp_path / "s")[1] == {"n": 1}
