"""Packed tickets that somebody spoilt, or made to deceive: refused with a reason, and never half believed."""

import json

import numpy as np
import pytest
from safetensors.numpy import save

from tests.attacks.damage import flips, refuses, tensor_file, truncations
from tests.attacks.test_tensor_files import HEADERS, in_time
from tests.cli.command_line import ticket
from tests.tensors.test_packed import network
from ticketcli.cli.inspect import describe
from ticketcli.store.packed import read_layout
from ticketcli.store.run_folder import adopt
from ticketcli.store.tensorfile import metadata_for
from ticketcli.tensors.packed import read_packed, write_packed

assert in_time  # a fixture, for all tests here


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.ticket.safetensors"


def made(**changes):
    """A file of one masked weight of ten, of which three live, and one tensor whole; its seal is blank."""
    bits = np.packbits([1, 0, 0, 1, 0, 0, 0, 0, 0, 1], bitorder="little")
    arrays = {"mask/w": bits, "kept/w": np.ones(3, np.float32), "rest/b": np.zeros(2, np.float32)}
    about = {"of": "ticket", "checkpoint": {}, "shapes": {"w": [2, 5]}, "kept": {"w": 3}, "values": "fp32"}
    arrays |= changes.pop("arrays", {})
    about |= changes.pop("about", {})
    arrays = {name: value for name, value in arrays.items() if value is not None}
    about = {name: value for name, value in about.items() if value is not None}
    return save(arrays, metadata=metadata_for(changes.get("kind", "packed"), about))


ATTACKS = {
    "another kind": made(kind="mask"),
    "no shapes": made(about={"shapes": None}),
    "no counts": made(about={"kept": None}),
    "no type": made(about={"values": None}),
    "an unknown type": made(about={"values": "fp8"}),
    "a type that is a list": made(about={"values": ["fp32"]}),
    "shapes that are a list": made(about={"shapes": [["w", [2, 5]]]}),
    "counts that are a number": made(about={"kept": 3}),
    "a negative side": made(about={"shapes": {"w": [-2, -5]}}),
    "a side that is true": made(about={"shapes": {"w": [True, 10]}}),
    "a side that is a float": made(about={"shapes": {"w": [2.0, 5]}}),
    "a huge shape": made(about={"shapes": {"w": [2**40, 2**40]}}),
    "a shape of fewer bits": made(about={"shapes": {"w": [2, 4]}}),
    "more said to live than there are": made(about={"kept": {"w": 11}}),
    "fewer said to live": made(about={"kept": {"w": 2}}),
    "a count that is true": made(about={"kept": {"w": True}}),
    "a count that is a word": made(about={"kept": {"w": "3"}}),
    "a negative count": made(about={"kept": {"w": -1}}),
    "a count of another name": made(about={"kept": {"v": 3}}),
    "more values than bits": made(arrays={"kept/w": np.ones(4, np.float32)}, about={"kept": {"w": 4}}),
    "fewer values than bits": made(arrays={"kept/w": np.ones(2, np.float32)}, about={"kept": {"w": 2}}),
    "values of another type": made(arrays={"kept/w": np.ones(3, np.float64)}),
    "values in two dimensions": made(arrays={"kept/w": np.ones((3, 1), np.float32)}),
    "bits that are floats": made(arrays={"mask/w": np.ones(2, np.float32)}),
    "bits beyond the last weight": made(arrays={"mask/w": np.array([9, 0xFF], np.uint8)}),
    "too many bytes of bits": made(arrays={"mask/w": np.array([9, 2, 0], np.uint8)}),
    "no bits": made(arrays={"mask/w": None}),
    "no values": made(arrays={"kept/w": None}),
    "a tensor twice": made(arrays={"rest/w": np.zeros((2, 5), np.float32)}),
    "a tensor of no kind": made(arrays={"w": np.zeros(2, np.float32)}),
    "a tensor without a name": made(arrays={"rest/": np.zeros(2, np.float32)}),
    "a head that nobody describes": made(arrays={"heads/x/fc": np.zeros(2, np.float32)}),
    "a head without a tensor's name": made(arrays={"heads/x": np.zeros(2, np.float32)}, about={"heads": {"x": {}}}),
    "a head that is described by a word": made(
        arrays={"heads/x/fc": np.zeros(2, np.float32)}, about={"heads": {"x": "y"}}
    ),
    "heads that are a number": made(about={"heads": 5}),
}


def test_a_good_file_is_read(path):
    """Else the tests below could not fail."""
    path.write_bytes(made())
    found = read_packed(path)
    assert found.mask is not None
    assert found.mask.kept == 3
    assert found.tensors["w"].sum() == 3
    assert not refuses(describe, path)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_packed_ticket_whose_parts_disagree_is_refused(path, attack):
    path.write_bytes(ATTACKS[attack])
    assert refuses(read_packed, path)


@pytest.mark.parametrize("attack", HEADERS)
def test_a_header_that_attacks_is_refused(path, attack):
    path.write_bytes(tensor_file(*HEADERS[attack]))
    for read in (read_packed, read_layout):
        assert refuses(read, path)


def test_every_flip_and_every_cut_is_found(path):
    tensors, mask = network()
    write_packed(path, tensors, mask, values="fp32", about={"of": "ticket"})
    whole = path.read_bytes()
    for what, spoiled in (*flips(whole, 60), *truncations(whole, 20)):
        path.write_bytes(spoiled)
        assert refuses(read_packed, path), what


def test_a_packed_ticket_is_no_checkpoint_and_the_hint_says_how_it_becomes_one(path):
    path.write_bytes(made())
    assert refuses(adopt, path)
    result = ticket("transfer", "--ticket", path, "--data.name", "digits", "--run", path.parent / "run")
    assert result.code == 6, result
    assert "ticket import x.ticket.safetensors" in result.err


CLAIMS = {
    "about nothing": {"checkpoint": None},
    "of no kind": {"of": "decoder"},
    "a checkpoint that is a word": {"checkpoint": "resnet"},
    "no architecture": {"checkpoint": {}},
    "an unknown architecture": {"checkpoint": {"arch": "resnot", "class_names": ["a"]}},
    "classes that are a number": {"checkpoint": {"arch": "resnet20", "class_names": 3}},
    "a network of other tensors": {"checkpoint": {"arch": "resnet20", "class_names": ["a", "b"]}},
    "an unknown task": {"checkpoint": {"arch": "resnet20", "class_names": ["a"], "task": "x", "image_size": 32}},
    "heads of nothing": {"heads": {"x": {}}},
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_a_file_says_of_its_network_is_not_believed(path, claim):
    from ticketcli.tensors.digest import digest_of

    path.write_bytes(made())
    digest = digest_of(read_packed(path).tensors)
    more = {"heads/x/fc": np.zeros(2, np.float32)} if "heads" in CLAIMS[claim] else {}
    path.write_bytes(made(arrays=more, about={"unpacked": digest, **CLAIMS[claim]}))
    flags = ("--head", "x") if more else ()
    result = ticket("import", path, *flags, "--run", path.parent / "run", "-q")
    assert result.code in (2, 6), result
    assert "Traceback" not in result.err
    assert not list((path.parent / "run").rglob("ticket.safetensors"))


def test_tensors_that_are_not_those_that_were_packed_are_refused(path):
    path.write_bytes(made(about={"unpacked": "0" * 64}))
    result = ticket("import", path, "--run", path.parent / "run", "-q")
    assert result.code == 6, result
    assert "not those that were packed" in result.err


@pytest.mark.parametrize("command", ["inspect", "import"])
def test_commands_exit_with_6_and_name_the_file(path, command):
    path.write_bytes(tensor_file(json.dumps({"__metadata__": {"ticketcli": "5"}}).encode()))
    result = ticket(command, path, "--run", path.parent / "run")
    assert result.code == 6, result
    assert str(path) in result.err
