"""Gates on disk: they come back to the bit, in eight times less than a byte each; and damage is never believed."""

import json
import math

import pytest
import torch

from tests.cli.command_line import ticket
from tests.explain.nets import classes, images, resnet
from ticketcli.errors import CorruptError, InputMissing, MismatchError
from ticketcli.explain.gate_file import read_gates, write_gates
from ticketcli.explain.search import GatedNetwork
from ticketcli.store.codec import read_mask, write_mask
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import write_checkpoint


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.gates.safetensors"


def found(n=3):
    return GatedNetwork(resnet(0)).search(images(n, 16), classes(n), mode="fr").gates


def save(path, gates, n=3, **about):
    write_gates(path, gates, images=[f"{k}.png" for k in range(n)], targets=["top1"] * n, about=about)


def test_gates_come_back_to_the_bit_with_their_images_targets_and_order(path):
    gates = found()
    save(path, gates, mode="fr", digest="0" * 64)
    saved = read_gates(path)
    assert list(saved.gates) == list(gates)
    assert list(saved.gates) != sorted(gates)
    assert all(
        torch.equal(saved.gates[name], one) and saved.gates[name].dtype == torch.bool for name, one in gates.items()
    )
    assert saved.images == ("0.png", "1.png", "2.png")
    assert saved.targets == ("top1",) * 3
    assert saved.about == {"mode": "fr", "digest": "0" * 64}


def test_a_gate_takes_a_bit(path):
    gates = {"relu": torch.rand(4, 64, 25, 25, generator=torch.Generator().manual_seed(0)) > 0.5}
    save(path, gates, 4)
    assert math.prod(gates["relu"].shape) / 8 < path.stat().st_size < math.prod(gates["relu"].shape) / 8 + 1000


def test_equal_gates_are_equal_bytes(path, tmp_path):
    other = tmp_path / "y.gates.safetensors"
    for to in (path, other):
        save(to, found())
    assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("gates", "n"),
    [({"relu": torch.ones(2, 3) > 0}, 3), ({"relu": torch.ones(3, 3)}, 3), ({"relu": torch.ones(3) > 0}, 3)],
)
def test_gates_that_are_not_of_these_images_are_not_written(path, gates, n):
    with pytest.raises(MismatchError, match="'relu' has"):
        save(path, gates, n)
    assert not path.exists()


def test_a_name_that_does_not_say_what_it_holds_is_refused(tmp_path):
    with pytest.raises(MismatchError, match="does not say that it holds gates"):
        save(tmp_path / "x.safetensors", found())


def test_a_mask_is_no_gates_and_gates_are_no_mask(path, tmp_path):
    save(path, found())
    with pytest.raises(CorruptError, match="expected a mask, this is gates"):
        read_mask(path)
    write_mask(path, Mask({"w": torch.ones(3, 3).numpy() > 0}), {})
    with pytest.raises(CorruptError, match="expected gates, this is mask"):
        read_gates(path)
    write_checkpoint(path, {"w": torch.ones(3)}, kind="dense", about={})
    with pytest.raises(CorruptError, match="expected gates, this is dense"):
        read_gates(path)
    with pytest.raises(InputMissing):
        read_gates(tmp_path / "none.gates.safetensors")


def test_inspect_counts_what_is_open(path):
    gates = found()
    save(path, gates, mode="fr")
    n_open, total = (sum(int(one.sum()) for one in gates.values()), sum(one.numel() for one in gates.values()))
    told = ticket("inspect", path)
    assert told.code == 0, told
    assert f"{n_open:,} of {total:,} gates open" in told.out
    as_json = json.loads(ticket("inspect", path, "--json").out)
    assert as_json["kind"] == "gates"
    assert as_json["kept"] == n_open
    assert {one["name"]: one["kept"] for one in as_json["tensors"]} == {
        name: int(one.sum()) for name, one in gates.items()
    }
