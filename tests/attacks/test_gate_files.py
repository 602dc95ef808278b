"""Files of gates that somebody spoilt, or made to deceive: refused with a reason, and never half believed."""

import numpy as np
import pytest
from safetensors.numpy import save

from tests.attacks.damage import flips, refuses, tensor_file, truncations
from tests.attacks.test_tensor_files import HEADERS, in_time
from tests.explain.test_gate_file import found
from tests.explain.test_gate_file import save as write
from ticketcli.cli.inspect import describe
from ticketcli.explain.gate_file import read_gates
from ticketcli.store.tensorfile import metadata_for

assert in_time  # a fixture, for all tests here


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.gates.safetensors"


def made(kind="gates", arrays=None, **changes):
    """Two images, ten gates each, of which seven are open; the seal is blank."""
    bits = np.packbits([1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1, 0, 0], bitorder="little")
    about = {
        "shapes": {"relu": [2, 2, 5]}, "kept": {"relu": 7}, "total": 20, "images": ["a", "b"], "targets": ["0", "1"],
        "order": ["relu"], "about": {},
    }  # fmt: skip
    about = {name: value for name, value in (about | changes).items() if value is not None}
    return save({"relu": bits} | (arrays or {}), metadata=metadata_for(kind, about))


ATTACKS = {
    "another kind": made(kind="mask"),
    "no images": made(images=None),
    "no targets": made(targets=None),
    "no order": made(order=None),
    "about nothing": made(about=None),
    "about a word": made(about="fr"),
    "a key too many": made(more=1),
    "images that are a word": made(images="ab"),
    "images that are numbers": made(images=[1, 2]),
    "an image too few": made(images=["a"]),
    "an image too many": made(images=["a", "b", "c"], targets=["0", "1", "2"]),
    "a target too few": made(targets=["0"]),
    "an order of other gates": made(order=["pool"]),
    "an order that names a gate twice": made(order=["relu", "relu"]),
    "an order that is nested": made(order=[["relu"]]),
    "no shapes": made(shapes=None),
    "fewer gates than images": made(shapes={"relu": [1, 4, 5]}),
    "gates without an image": made(shapes={"relu": [20]}, images=["a"] * 20, targets=["0"] * 20),
    "a shape of fewer bits": made(shapes={"relu": [2, 2, 4]}),
    "a huge shape": made(shapes={"relu": [2**40, 2**40]}),
    "a negative side": made(shapes={"relu": [2, -2, -5]}),
    "more said to be open": made(kept={"relu": 8}),
    "another total": made(total=21),
    "a bit beyond the last": made(arrays={"relu": np.array([255, 255, 255], np.uint8)}, kept={"relu": 20}),
    "a tensor too many": made(arrays={"pool": np.zeros(1, np.uint8)}),
    "floats for bits": made(arrays={"relu": np.zeros(3, np.float32)}),
}


def test_a_good_file_is_read(path):
    """Else the tests below could not fail."""
    path.write_bytes(made())
    assert int(read_gates(path).gates["relu"].sum()) == 7
    assert not refuses(describe, path)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_file_whose_parts_disagree_is_refused(path, attack):
    path.write_bytes(ATTACKS[attack])
    assert refuses(read_gates, path)


@pytest.mark.parametrize("attack", HEADERS)
def test_a_header_that_attacks_is_refused(path, attack):
    path.write_bytes(tensor_file(*HEADERS[attack]))
    assert refuses(read_gates, path)


def test_as_many_open_gates_elsewhere_are_found_by_the_seal(path):
    write(path, found())
    whole = path.read_bytes()
    at = next(k for k in range(len(whole) - 1, 0, -1) if whole[k] not in (0, 255))
    turned = int.from_bytes([whole[at]]) << 1 | whole[at] >> 7
    path.write_bytes(whole[:at] + bytes([turned & 255]) + whole[at + 1 :])
    assert refuses(read_gates, path)


def test_every_flip_and_every_cut_is_found(path):
    write(path, found())
    whole = path.read_bytes()
    for what, spoiled in (*flips(whole, 60), *truncations(whole, 20)):
        path.write_bytes(spoiled)
        assert refuses(read_gates, path), what
