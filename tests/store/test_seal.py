import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ticketcli.errors import CorruptError
from ticketcli.store.host import is_temporary, may_be_written, temporary_name
from ticketcli.store.seal import read_sealed, write_sealed
from ticketcli.store.tensorfile import check_bytes, content_digest, metadata_for, read_header, write_tensors

ARRAYS = {"w": np.arange(5, dtype=np.float32)}


def write(path):
    write_tensors(
        path, lambda to, metadata: save_file(ARRAYS, to, metadata=metadata), kind="dense", about={"arch": "x"}
    )


def test_a_sealed_file_is_one_that_the_library_reads(tmp_path):
    write(tmp_path / "f")
    assert np.array_equal(load_file(tmp_path / "f")["w"], ARRAYS["w"])
    assert read_header(tmp_path / "f").metadata == {"format": 1, "kind": "dense", "about": {"arch": "x"}}
    check_bytes(tmp_path / "f")


def test_the_seal_is_no_part_of_the_content(tmp_path):
    write(tmp_path / "sealed")
    save_file(ARRAYS, tmp_path / "plain", metadata=metadata_for("other", {}))
    assert content_digest(tmp_path / "sealed") == content_digest(tmp_path / "plain")


def test_equal_files_have_equal_seals(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_files_without_a_seal_are_taken_as_they_are(tmp_path):
    save_file(ARRAYS, tmp_path / "f", metadata={"ticketcli": '{"about":{},"format":1,"kind":"dense"}'})
    check_bytes(tmp_path / "f")
    (tmp_path / "j").write_text('{"a": 1}')
    assert read_sealed(tmp_path / "j", limit=100) == {"a": 1}


def test_every_single_byte_of_a_sealed_file_counts(tmp_path):
    path = tmp_path / "f"
    write(path)
    whole = path.read_bytes()

    def read():
        header = read_header(path)
        assert header.metadata  # else it says nothing about itself, and readers refuse it
        check_bytes(path)

    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises((CorruptError, AssertionError)):
            read()


def test_every_single_byte_of_sealed_json_counts(tmp_path):
    path = tmp_path / "j"
    write_sealed(path, {"a": 1, "b": ["x", None], "é": 1.5})
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found = read_sealed(path, limit=1000)
        except CorruptError:
            continue
        assert set(found) != {"a", "b", "é"}  # the seal's own name was hit: readers refuse a key that they do not know


def test_temporary_files_are_known_by_their_names_and_nobody_elses_are_touched():
    name = temporary_name("manifest.json")
    assert is_temporary(name)
    assert may_be_written(name)
    assert not may_be_written(name.replace(f"-{os.getpid()}-", "-4194300-"))
    assert temporary_name("x") != temporary_name("x")
    assert may_be_written(".x.other.host-4194300-0123abcd.tmp")
    assert is_temporary(".manifest.json.1234.tmp")  # as earlier versions called them
    for other in ("manifest.json", "x.tmp", ".bashrc", "a.tmp.safetensors"):
        assert not is_temporary(other)
    assert len(temporary_name("x" * 250)) < 255
