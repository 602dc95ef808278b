"""Checkpoints, masks, decoders, tasks and states made by somebody who wishes ill: refused, whoever reads them."""

import json
import os
import signal
import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from tests.attacks.damage import flips, in_a_coat, odd_targets, refuses, survives, tensor_file, truncations
from tests.cli.command_line import ticket
from ticketcli.cli.inspect import describe
from ticketcli.errors import CorruptError
from ticketcli.store.codec import pack, read_mask
from ticketcli.store.manifest import FileRecord
from ticketcli.store.mask import Mask
from ticketcli.store.run_folder import adopt
from ticketcli.store.tensorfile import check_bytes, content_digest, metadata_for, read_header
from ticketcli.tensors.files import _flatten, read_checkpoint, read_state
from ticketcli.tensors.foreign import read_weights

READERS = {
    "header": read_header,
    "digest": content_digest,
    "mask": read_mask,
    "checkpoint": read_checkpoint,
    "state": read_state,
    "adopt": adopt,
    "foreign": read_weights,
    "describe": describe,
    "record": lambda path: FileRecord.of(path, base=path.parent),
}
OURS = ("mask", "checkpoint", "state")  # readers that want this tool's metadata


@pytest.fixture(autouse=True)
def in_time():
    """A reader that hangs is ended."""

    def late(*_):
        raise AssertionError("it hangs")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.safetensors"


def one(**changes):
    """A header of one tensor of four bytes."""
    return json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}}).encode()


W = b'"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
V = b'"v":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
HEADERS = {
    "no JSON": (b"{" * 8, b""),
    "not UTF-8": (b'{"\xff\xfe":1}', b""),
    "a list": (b"[1]", b""),
    "nested deeply": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b""),
    "nested as deeply as JSON allows": (b'{"a":' + b"[" * 900 + b"]" * 900 + b"}", b""),
    "NaN": (b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[NaN,4]}}', bytes(4)),
    "an infinite offset": (b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,1e999]}}', bytes(4)),
    "offsets that are floats": (one(data_offsets=[0.0, 4.0]), bytes(4)),
    "offsets that are words": (one(data_offsets=["0", "4"]), bytes(4)),
    "offsets that are true": (one(shape=[True], data_offsets=[False, 4]), bytes(4)),
    "three offsets": (one(data_offsets=[0, 4, 8]), bytes(4)),
    "offsets backwards": (one(data_offsets=[4, 0]), bytes(4)),
    "negative offsets": (one(data_offsets=[-4, 0]), bytes(4)),
    "offsets beyond the end": (one(data_offsets=[0, 4]), bytes(3)),
    "offsets of 2 ** 64": (one(data_offsets=[2**64, 2**64 + 4]), bytes(4)),
    "a number of a million digits": (
        b'{"w":{"dtype":"F32","shape":[' + b"9" * 10**6 + b'],"data_offsets":[0,4]}}',
        b"",
    ),
    "overlap": (b"{" + W + b"," + V + b"}", bytes(8)),
    "a gap": (one(data_offsets=[4, 8]), bytes(8)),
    "bytes after the end": (one(), bytes(5)),
    "a name twice": (b"{" + W + b"," + W + b"}", bytes(4)),
    "a key twice": (b'{"w":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "a name that climbs": (b'{"../w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "an absolute name": (b'{"/etc/passwd":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "an empty name": (b'{"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "a name with a zero byte": (b'{"w\\u0000":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "a name that moves the cursor": (b'{"w\\u001b[2J":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "an unknown type": (one(dtype="F99"), bytes(4)),
    "a type that is a list": (one(dtype=["F32"]), bytes(4)),
    "no shape": (b'{"w":{"dtype":"F32","data_offsets":[0,4]}}', bytes(4)),
    "a shape that is a number": (one(shape=1), bytes(4)),
    "a negative side": (one(shape=[-1]), bytes(4)),
    "two negative sides": (one(shape=[-1, -1]), bytes(4)),
    "a product that overflows": (one(shape=[2**32, 2**32], data_offsets=[0, 0]), b""),
    "a product that overflows to the size": (one(shape=[2**63, 2, 1]), bytes(4)),
    "nothing of a huge side": (one(shape=[0, 2**62], data_offsets=[0, 0]), b""),
    "a hundred thousand sides": (one(shape=[1] * 100_000), bytes(4)),
    "a tensor that is a word": (b'{"w":"x"}', b""),
    "a tensor of more": (one(extra=1), bytes(4)),
    "metadata that is a list": (b'{"__metadata__":["ticketcli"],' + W + b"}", bytes(4)),
    "metadata that is a number": (b'{"__metadata__":{"ticketcli":1},' + W + b"}", bytes(4)),
    "metadata that is null": (b'{"__metadata__":null,' + W + b"}", bytes(4)),
    "foreign metadata that is a number": (b'{"__metadata__":{"other":1},' + W + b"}", bytes(4)),
}
OWN = {
    "a list": "[1]",
    "a number": "5",
    "null": "null",
    "no JSON": "{",
    "nested deeply": "[" * 100_000,
    "another format": '{"format":2,"kind":"mask","about":{}}',
    "no kind": '{"format":1,"about":{}}',
    "a kind that is a number": '{"format":1,"kind":5,"about":{}}',
    "about that is a list": '{"format":1,"kind":"mask","about":[]}',
    "more": '{"format":1,"kind":"mask","about":{},"more":1}',
    "a key twice": '{"format":1,"kind":"mask","kind":"state","about":{}}',
    "a seal that is wrong": '{"seal":"' + "a" * 64 + '","format":1,"kind":"mask","about":{}}',
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("attack", HEADERS)
def test_a_header_that_attacks_is_refused_by_every_reader(path, attack, reader):
    path.write_bytes(tensor_file(*HEADERS[attack]))
    assert refuses(READERS[reader], path)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**32, 10**8, 100, 3])
@pytest.mark.parametrize("reader", READERS)
def test_a_header_length_that_is_not_its_own_is_refused(path, length, reader):
    path.write_bytes(tensor_file(one(), bytes(4), length=length))
    assert refuses(READERS[reader], path)


@pytest.mark.parametrize("reader", READERS)
def test_a_header_too_large_to_be_meant_is_refused_before_it_is_read(path, reader):
    with path.open("wb") as file:
        file.write((10**12 - 8).to_bytes(8, "little"))
        file.truncate(10**12)  # sparse
    started = time.monotonic()
    assert refuses(READERS[reader], path)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("reader", [*OURS, "header", "adopt", "describe"])
@pytest.mark.parametrize("attack", OWN)
def test_metadata_that_attack_are_refused(path, attack, reader):
    header = json.dumps({"__metadata__": {"ticketcli": OWN[attack]}}).encode()
    path.write_bytes(tensor_file(header))
    if attack != "a seal that is wrong" or reader in OURS:
        assert refuses(READERS[reader], path)
    else:
        survives(READERS[reader], path)


SHAPES = {
    "negative": [[-1, 3], 3],
    "overflowing": [[2**32, 2**32], 0],
    "overflowing to one byte": [[2**61, 8], 1],
    "words": [["3"], 1],
    "a float": [[3.0], 1],
    "true": [[True], 1],
    "a word": ["333", 1],
    "no list": [3, 1],
    "null": [None, 1],
    "larger than the file": [[2**40], 1],
}


@pytest.mark.parametrize("attack", SHAPES)
def test_a_mask_whose_shape_attacks_is_refused(path, attack):
    shape, n_bytes = SHAPES[attack]
    about = {"shapes": {"w": shape}, "kept": {"w": 0}, "total": 0}
    path.write_bytes(save({"w": np.zeros(n_bytes, np.uint8)}, metadata=metadata_for("mask", about)))
    assert refuses(read_mask, path)
    assert refuses(describe, path)


@pytest.mark.parametrize(
    "about",
    [{}, {"shapes": {}}, {"shapes": [], "kept": {}, "total": 0}, {"shapes": {"w": [8]}, "kept": 8, "total": 8}],
)
def test_a_mask_that_lacks_its_own_description_is_refused(path, about):
    path.write_bytes(save({"w": np.full(1, 255, np.uint8)}, metadata=metadata_for("mask", about)))
    assert refuses(read_mask, path)


TREES = {
    "a word": "tensor",
    "a number": 3,
    "null": None,
    "nothing": {},
    "a tensor that is not there": {"tensor": "9"},
    "a tensor named by a list": {"tensor": ["0"]},
    "a map of three": {"map": [["a", {"value": 1}, 3]]},
    "a map with a key that is a list": {"map": [[["a"], {"value": 1}]]},
    "a map that is a number": {"map": 3},
    "a list that is null": {"list": None},
}


@pytest.mark.parametrize("attack", TREES)
def test_a_state_that_does_not_fit_together_is_refused(path, attack):
    path.write_bytes(save({}, metadata=metadata_for("state", {"tree": TREES[attack]})))
    assert refuses(read_state, path)


@pytest.mark.parametrize("depth", [100, 300, 400, 450, 480, 490, 495, 500, 1000, 100_000])
def test_a_state_that_is_nested_deeply_ends_no_reader(path, depth):
    tree = '{"list":[' * depth + '{"value":1}' + "]}" * depth
    own = '{"about":{"tree":' + tree + '},"format":1,"kind":"state"}'
    path.write_bytes(tensor_file(json.dumps({"__metadata__": {"ticketcli": own}}).encode()))
    is_refused = refuses(read_state, path)  # in between it depends on who calls
    assert is_refused or depth < 1000
    assert not is_refused or depth > 300


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("coat", ["pickle", "zip", "pickle behind a header", "script", "empty"])
def test_what_wears_a_tensor_files_name_is_never_run(path, coat, reader, tmp_path):
    mark = tmp_path / "run"
    in_a_coat(path, mark)[coat]()
    if coat != "pickle behind a header" or reader in OURS:
        assert refuses(READERS[reader], path)
    else:
        survives(READERS[reader], path)
    assert not mark.exists()


@pytest.mark.parametrize("coat", ["pickle", "zip", "pickle behind a header", "script", "empty"])
def test_foreign_weights_are_never_run(tmp_path, coat):
    for ending in (".pth", ".ckpt", ".bin"):
        path, mark = tmp_path / f"x{ending}", tmp_path / "run"
        in_a_coat(path, mark)[coat]()
        assert refuses(read_weights, path)
        assert not mark.exists()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["folder", "fifo", "zeros", "nothing", "loop", "dangling"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(path, kind, reader, tmp_path):
    odd_targets(path, tmp_path)[kind]()
    assert refuses(READERS[reader], path)


def test_a_file_that_may_not_be_read_is_missing(path):
    path.write_bytes(tensor_file(one(), bytes(4)))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read everything")
    for read in READERS.values():
        assert refuses(read, path)


# ------------------------------------------------------------------ by chance


def whole(kind):
    """A good file whose seal is blank, so that damage reaches what lies behind it."""
    if kind == "mask":
        mask = Mask({"a.w": np.arange(21).reshape(3, 7) % 2 == 0, "b": [True]})
        about = {"shapes": {"a.w": [3, 7], "b": [1]}, "kept": mask.kept_by_name, "total": mask.total}
        return save(pack(mask), metadata=metadata_for("mask", about))
    if kind == "state":
        tensors = {}
        tree = _flatten({"iteration": 1, "rng": [torch.arange(3), "x"], "model": {"w": torch.ones(2)}}, tensors)
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        return save(arrays, metadata=metadata_for("state", {"tree": tree, "key": "k"}))
    return save({"w": np.ones((2, 3), np.float32)}, metadata=metadata_for("dense", {"arch": "x"}))


@st.composite
def edits(draw, kind):
    """A file with a few changed, inserted, removed or repeated pieces."""
    data = bytearray(whole(kind))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        how = draw(st.sampled_from(["put", "insert", "remove", "repeat"]))
        piece = draw(
            st.binary(max_size=4) | st.sampled_from([b"[", b"]", b"{", b"}", b'"', b"-", b"9", b"null", b"NaN"])
        )
        if how == "put":
            data[at : at + len(piece)] = piece
        elif how == "insert":
            data[at:at] = piece
        elif how == "remove":
            del data[at : at + draw(st.integers(1, 20))]
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 40))]
        if draw(st.booleans()) and len(data) > 8:  # let the header's length fit what it now is
            closing = data.rfind(b"}}")
            if closing > 8:
                data[:8] = (closing + 2 - 8).to_bytes(8, "little")
    return bytes(data)


CHANCE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)


@pytest.mark.parametrize("kind", ["mask", "state", "dense"])
@given(data=st.data())
@CHANCE
def test_no_reader_crashes_on_an_edited_file(path, kind, data):
    path.unlink(missing_ok=True)
    path.write_bytes(data.draw(edits(kind)))
    for read in READERS.values():
        survives(read, path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
described = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "BOOL", "I64"]) | json_values,
        "shape": st.lists(st.integers(-1, 2**63), max_size=3) | json_values,
        "data_offsets": st.lists(st.integers(0, 40), min_size=2, max_size=2) | json_values,
    }
)


@given(
    header=st.dictionaries(st.sampled_from(["w", "v", "__metadata__", "../x"]), described | json_values),
    size=st.integers(0, 40),
)
@CHANCE
def test_no_reader_crashes_on_a_made_up_header(path, header, size):
    path.unlink(missing_ok=True)
    path.write_bytes(tensor_file(json.dumps(header).encode(), bytes(size)))
    for read in READERS.values():
        survives(read, path)


@pytest.mark.parametrize("kind", ["mask", "state", "dense"])
def test_a_good_file_is_read(path, kind):
    """Else the tests above could not fail."""
    path.write_bytes(whole(kind))
    read = {"mask": read_mask, "state": read_state, "dense": read_checkpoint}[kind]
    assert not refuses(read, path)
    for _, spoiled in (*flips(whole(kind), 30), *truncations(whole(kind), 5)):
        path.write_bytes(spoiled)
        survives(read, path)


def test_a_sealed_file_without_its_last_tensor_is_refused_even_if_all_else_fits(path):
    """A file that was made of another by changing header and data together: its seal tells."""
    from ticketcli.tensors.files import write_checkpoint

    write_checkpoint(path, {"w": torch.ones(2)}, kind="dense", about={})
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert read_header(path)
    with pytest.raises(CorruptError, match="not the ones that were written"):
        check_bytes(path)
    with pytest.raises(CorruptError, match="not the ones that were written"):
        read_checkpoint(path)


@pytest.mark.parametrize("attack", ["a product that overflows", "nested deeply", "offsets that are floats"])
@pytest.mark.parametrize("command", ["inspect", "import", "rewind", "masks"])
def test_commands_exit_with_6(path, attack, command, tmp_path):
    path.write_bytes(tensor_file(*HEADERS[attack]))
    arguments = {
        "inspect": ("inspect", path),
        "import": ("import", path, "--arch", "resnet20"),
        "rewind": ("rewind", "--ticket", path),
        "masks": ("masks", "compare", path, path),
    }[command]
    result = ticket(*arguments, "--run", tmp_path / "run")
    assert result.code == 6, result
    assert str(path) in result.err
