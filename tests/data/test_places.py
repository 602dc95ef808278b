"""Fetching, from a folder that plays the publisher."""

import hashlib

import pytest

from ticketcli.data.places import Places, Remote, fetch
from ticketcli.data.sources import Sources
from ticketcli.errors import CorruptError, InputMissing

CONTENT = bytes(range(256)) * 9000  # more than one piece


@pytest.fixture
def remote(tmp_path):
    (tmp_path / "publisher").mkdir()
    path = tmp_path / "publisher" / "set.bin"
    path.write_bytes(CONTENT)
    return Remote(path.as_uri(), hashlib.md5(CONTENT).hexdigest())


def places(remote):
    return Places("things", ("things", "other"), (("set.bin", "set.bin.gz"),), (remote,))


def test_nothing_is_fetched_without_being_asked(tmp_path, remote):
    with pytest.raises(InputMissing, match="'things' is not here") as caught:
        places(remote).find_or_fetch(Sources(tmp_path / "data"))
    assert "or fetch the set with --download" in caught.value.hint
    assert not (tmp_path / "data").exists()


def test_a_missing_set_is_fetched_when_asked_and_then_it_is_there(tmp_path, remote):
    heard = []
    sources = Sources(tmp_path / "data", download=True, tell=heard.append)
    folder = places(remote).find_or_fetch(sources)
    assert folder == tmp_path / "data" / "things"
    assert [path.name for path in folder.iterdir()] == ["set.bin"]
    assert (folder / "set.bin").read_bytes() == CONTENT
    assert remote.url in heard[0].text
    assert (heard[-1].done, heard[-1].total) == (len(CONTENT), len(CONTENT))
    heard.clear()
    assert places(remote).find_or_fetch(sources) == folder
    assert not heard


def test_a_set_that_is_here_under_another_name_is_not_fetched(tmp_path, remote):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "set.bin.gz").write_bytes(b"")
    assert places(remote).find_or_fetch(Sources(tmp_path, download=True)) == tmp_path / "other"


def test_what_is_not_what_was_published_is_refused_and_leaves_nothing(tmp_path, remote):
    with pytest.raises(CorruptError, match="not what was published"):
        fetch(Remote(remote.url, "0" * 32), tmp_path / "data", Sources())
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("url", ["file:///nowhere/at/all", "http://127.0.0.1:9/set.bin", "nonsense"])
def test_an_address_that_does_not_answer_ends_with_a_way_out(tmp_path, url):
    with pytest.raises(InputMissing, match="cannot fetch") as caught:
        fetch(Remote(url, ""), tmp_path, Sources())
    assert "--data-dir" in caught.value.hint


def test_what_can_be_fetched_by_nobody_is_not_offered(tmp_path):
    with pytest.raises(InputMissing, match="is not here") as caught:
        Places("things", ("",), (("set.bin",),)).find_or_fetch(Sources(tmp_path, download=True))
    assert "--download" not in caught.value.hint
