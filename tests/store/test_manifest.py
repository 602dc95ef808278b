"""A manifest is parsed once, and anew whenever its file has changed, though size and time of change are as they were."""

import os

import pytest

from ticketcli.errors import CorruptError
from ticketcli.store import manifest as module
from ticketcli.store.manifest import NAME, Manifest, read_manifest, write_manifest


def written(folder, step="dense"):
    record = Manifest(
        step=step, stage="pretrain", stage_version=1, code_version="0", config={}, config_digest="", inputs={},
        units={}, status="done",
    )  # fmt: skip
    write_manifest(folder, record)
    return record


def as_old_as_before(path, before):
    """Give the file its old time back, after the tick of the file system's clock in which it was written."""
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_what_has_not_changed_is_parsed_once(tmp_path, monkeypatch):
    record, reads, read = written(tmp_path), [], module.read_sealed
    monkeypatch.setattr(module, "read_sealed", lambda path, **given: reads.append(path) or read(path, **given))
    assert [read_manifest(tmp_path) for _ in range(3)] == [record] * 3
    assert reads == [tmp_path / NAME]


def test_another_file_of_the_same_size_and_time_is_read(tmp_path):
    path = tmp_path / NAME
    written(tmp_path, step="one")
    assert read_manifest(tmp_path).step == "one"
    before = path.stat()
    written(tmp_path, step="two")
    as_old_as_before(path, before)
    assert read_manifest(tmp_path).step == "two"


def test_a_byte_changed_in_place_is_noticed_though_size_and_time_are_as_before(tmp_path):
    path = tmp_path / NAME
    written(tmp_path, step="one")
    read_manifest(tmp_path)
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b'"one"', b'"eno"'))
    as_old_as_before(path, before)
    with pytest.raises(CorruptError, match="damaged"):
        read_manifest(tmp_path)


def test_one_that_is_gone_is_gone(tmp_path):
    written(tmp_path)
    assert read_manifest(tmp_path) is not None
    (tmp_path / NAME).unlink()
    assert read_manifest(tmp_path) is None
