import errno
import os

import pytest
from safetensors import SafetensorError

from ticketcli.disk import opened, opened_to_append, parse_json, read_regular, space_errors
from ticketcli.errors import CorruptError, InputMissing, NoSpaceError, StaleError, TicketError


def raised(path, error):
    with space_errors(path):
        raise error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_a_full_quota_and_a_limit_are_no_space(tmp_path, number):
    with pytest.raises(NoSpaceError) as caught:
        raised(tmp_path, OSError(number, os.strerror(number)))
    assert caught.value.code == 8
    assert caught.value.where == str(tmp_path)
    assert ("ulimit -f" in caught.value.hint) == (number == errno.EFBIG)


@pytest.mark.parametrize("words", ["No space left on device (os error 28)", "Disk quota exceeded", "File too large"])
def test_a_library_that_wraps_the_systems_error_is_understood(tmp_path, words):
    with pytest.raises(NoSpaceError):
        raised(tmp_path, SafetensorError(f"Error while serializing: I/O error: {words}"))


def test_other_refusals_say_what_and_where(tmp_path):
    with pytest.raises(TicketError, match="cannot write: Permission denied"):
        raised(tmp_path, PermissionError(errno.EACCES, "Permission denied"))
    with pytest.raises(StaleError, match="as it is"):
        raised(tmp_path, StaleError("as it is"))
    with pytest.raises(ZeroDivisionError):
        raised(tmp_path, ZeroDivisionError())


def test_a_file_of_exactly_the_limit_is_read_and_one_byte_more_is_not(tmp_path):
    (tmp_path / "f").write_bytes(b"12345")
    assert read_regular(tmp_path / "f", limit=5) == b"12345"
    with pytest.raises(CorruptError, match="more than the 4 bytes"):
        read_regular(tmp_path / "f", limit=4)


def test_a_link_to_a_regular_file_is_read_and_not_written_to(tmp_path):
    (tmp_path / "f").write_bytes(b"1")
    (tmp_path / "l").symlink_to(tmp_path / "f")
    assert read_regular(tmp_path / "l", limit=5) == b"1"
    with pytest.raises(TicketError, match="no regular file"):
        opened_to_append(tmp_path / "l")


@pytest.mark.parametrize("name", ["none", "none/none", "f/none", "x" * 300, "zero\0byte"])
def test_what_is_not_there_is_missing(tmp_path, name):
    (tmp_path / "f").write_bytes(b"1")
    with pytest.raises(InputMissing), opened(tmp_path / name):
        pass


def test_what_is_appended_stands_at_the_end_at_once(tmp_path):
    (tmp_path / "f").write_bytes(b"1")
    with opened_to_append(tmp_path / "f") as file:
        file.write(b"2")
        assert (tmp_path / "f").read_bytes() == b"12"


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "NaN", "[Infinity]", b"\xff", "[" * 10**5, "", "1 2", "\ufeff1"])
def test_loose_json_is_refused(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_nan_is_read_where_it_is_asked_for():
    assert str(parse_json("[NaN]", constants=True)) == "[nan]"
