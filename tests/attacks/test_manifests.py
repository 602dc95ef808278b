"""Manifests, saved recipes and logs made by somebody who wishes ill: no command crashes, hangs, or looks outside."""

import json
import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.attacks.damage import odd_targets, refuses, survives
from tests.attacks.test_tensor_files import in_time, json_values
from tests.cli.command_line import ticket
from ticketcli.board import mirror_finished
from ticketcli.cli.recipe_file import saved_source
from ticketcli.cli.verify import problems_of
from ticketcli.errors import TicketError
from ticketcli.log import check_marks, read_log
from ticketcli.store.manifest import read_manifest, write_manifest
from ticketcli.store.run_folder import Run
from ticketcli.store.seal import read_sealed, write_sealed

assert in_time  # a fixture, for all tests here
CHANCE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)


@pytest.fixture(scope="module")
def good(finished):
    """A manifest as JSON, without its seal, so that what is changed is what is read."""
    return json.loads(finished.manifest("ours@seed=0").model_dump_json())


def put(folder, value):
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(value))
    return folder


def changed(value, path, new):
    value = json.loads(json.dumps(value))
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


FILE = ("units", "round-01", "outputs", 0, "files", "mask")


def test_the_manifest_that_the_attacks_begin_with_is_good(tmp_path, good):
    assert read_manifest(put(tmp_path / "s", good)).stage == "prune"


@pytest.mark.parametrize("escape", ["../../etc/passwd", "../../../x", "a/../../../x", "..//..//x", "../..", "x\0y", ""])
def test_a_path_that_leaves_the_run_folder_is_refused(tmp_path, good, escape):
    put(tmp_path / "s", changed(good, (*FILE, "path"), escape))
    assert refuses(read_manifest, tmp_path / "s")


@pytest.mark.parametrize(
    "inside", ["x.safetensors", "../dense@seed=0/dense.safetensors", "../.old/a/001/x", "/elsewhere/x"]
)
def test_a_neighbours_file_and_an_adopted_one_are_legitimate(tmp_path, good, inside):
    assert read_manifest(put(tmp_path / "s", changed(good, (*FILE, "path"), inside)))


@pytest.mark.parametrize("target", ["/etc/passwd", "/dev/zero", "/proc/self/mem", "fifo", "/"])
def test_an_absolute_path_is_read_only_to_compare_and_never_waited_for(copy, good, target, tmp_path):
    if target == "fifo":
        target = str(tmp_path / "fifo")
        os.mkfifo(target)
    put(copy.step_folder("ours@seed=0"), changed(good, (*FILE, "path"), target))
    for arguments in (
        ("verify",),
        ("inspect", "ours@seed=0/1"),
        ("masks", "compare", "ours@seed=0/1", "ours@seed=0/2"),
    ):
        result = ticket(*arguments, "--run", copy.root)
        assert result.code in (5, 6), result
        assert "root:" not in result.out + result.err


ODD = [None, 0, -1, 1.5, True, "x", [], ["x"], {}, {"x": 1}, "\x1b[2J"]
PLACES = [
    ("format",), ("step",), ("stage",), ("stage_version",), ("config",), ("config", "rounds"), ("config", "data"),
    ("inputs",), ("inputs", "refs"), ("inputs", "identities"), ("inputs", "files"), ("units",), ("units", "round-01"),
    ("units", "round-01", "outputs"), ("units", "round-01", "outputs", 0), ("units", "round-01", "outputs", 0, "files"),
    ("units", "round-01", "metrics"), ("units", "round-01", "metrics", "metrics_end"), ("units", "round-01", "seconds"),
    ("units", "round-01", "outputs", 0, "about"), (*FILE,), (*FILE, "path"), (*FILE, "size"), (*FILE, "sha256"),
    ("status",), ("more",),
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_whatever_stands_in_a_field_no_command_crashes(copy, good, place, tiny_recipe):
    for new in ODD:
        put(copy.step_folder("ours@seed=0"), changed(good, place, new))
        for arguments in (
            ("status",),
            ("verify",),
            ("inspect", "ours@seed=0"),
            ("gc",),
            ("run", tiny_recipe, "--dry-run"),
        ):
            result = ticket(*arguments, "--run", copy.root)
            assert result.code in (0, 2, 3, 5, 6), (new, result)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 10**5, b'{"format":1,"format":1}', b'{"format":NaN}', b"1" * 10**6],
)
def test_what_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text)
    assert refuses(read_manifest, tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "recipe.json", "metrics.jsonl"])
@pytest.mark.parametrize("kind", ["folder", "fifo", "zeros", "nothing", "loop", "dangling", "huge"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(copy, name, kind, tmp_path):
    folder = copy.root if name == "recipe.json" else copy.step_folder("ours@seed=0")
    path = folder / name
    path.unlink()
    if kind == "huge":
        with path.open("wb") as file:
            file.truncate(10**12)
    else:
        odd_targets(path, tmp_path)[kind]()
    if not (name == "metrics.jsonl" and kind == "huge"):  # its beginning is hashed, and is not what it was
        for arguments in (("status",), ("report",), ("gc",)):
            result = ticket(*arguments, "--run", copy.root)
            assert result.code in (0, 5, 6), result
    started = time.monotonic()
    result = ticket("verify", "--run", copy.root)
    assert result.code == 6, result
    assert str(path) in result.err
    assert time.monotonic() - started < 10


@given(value=json_values, place=st.sampled_from(PLACES))
@CHANCE
def test_no_value_in_a_manifest_crashes_its_reader(tmp_path, good, value, place):
    survives(read_manifest, put(tmp_path / "s", changed(good, place, value)))


@given(text=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@CHANCE
def test_no_bytes_crash_the_readers_of_sealed_json(tmp_path, text):
    for name in ("manifest.json", "recipe.json"):
        (tmp_path / name).write_bytes(text)
    survives(read_manifest, tmp_path)
    survives(saved_source, Run(tmp_path))


@given(
    value=st.dictionaries(
        st.text(max_size=5).filter(lambda key: key != "seal"), st.integers() | st.text(), min_size=1, max_size=4
    )
)
@CHANCE
def test_sealed_json_reads_back_and_no_byte_of_it_may_change(tmp_path, value):
    path = tmp_path / "x.json"
    write_sealed(path, value)
    assert read_sealed(path, limit=10**6) == value
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        assert refuses(lambda: read_sealed(path, limit=10**6)) or read_sealed(path, limit=10**6) != value


@pytest.mark.parametrize(
    "saved",
    [
        {"text": 1, "source": "x", "overrides": [], "drops": []},
        {"text": "x", "source": "x", "overrides": {"a": 1}, "drops": 5},
        {"text": "x", "source": "x", "overrides": [1], "drops": []},
        {"text": "x", "source": "x", "overrides": []},
        {"text": "x", "source": "x", "overrides": [], "drops": [], "more": 1},
    ],
)
def test_a_saved_recipe_of_odd_fields_is_refused(tmp_path, saved):
    (tmp_path / "recipe.json").write_text(json.dumps(saved))
    assert refuses(saved_source, Run(tmp_path))


# ------------------------------------------------------------------ metrics.jsonl

LINES = [
    b"{", b"[]", b"null", b"5", b'"event"', b"{}", b'{"event": 5}', b'{"event": "progress"}', b"\xff", b"[" * 10**5,
    b'{"event": "progress", "what": "x", "done": "1", "total": 2}', b'{"event": "x", "event": "y"}', b"x" * 10**6,
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_is_none_of_ours_is_refused(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"event": "unit"}\n' + line + b"\n")
    assert refuses(lambda: list(read_log(path)))
    assert refuses(lambda: check_marks(path, [], is_whole=False))
    assert refuses(lambda: mirror_finished(tmp_path, path))


def test_a_line_nested_as_deeply_as_json_allows_ends_no_mirror(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"event": "x", "v": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}\n")
    survives(mirror_finished, tmp_path, path)


@given(
    text=st.binary(max_size=80)
    | st.lists(json_values, max_size=3).map(lambda found: "\n".join(map(json.dumps, found)).encode())
)
@CHANCE
def test_no_bytes_crash_the_readers_of_logs(tmp_path, text):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(text)
    survives(lambda: list(read_log(path)))
    survives(lambda: check_marks(path, [(3, "x"), (0, "")], is_whole=True))
    survives(lambda: check_marks(path, [], is_whole=False))


def test_a_log_of_one_endless_line_is_refused_without_being_read_whole(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with path.open("wb") as file:
        file.truncate(10**12)
    assert refuses(lambda: list(read_log(path)))


def test_a_manifest_from_a_later_version_with_another_stage_is_told_by_every_command(copy, good):
    put(copy.step_folder("ours@seed=0"), changed(good, ("stage",), "distil"))
    for arguments in (
        ("status",),
        ("verify",),
        ("report",),
        ("prune", "--dry-run"),
        ("rewind", "--ticket", "ours@seed=0"),
    ):
        result = ticket(*arguments, "--run", copy.root)
        assert result.code in (0, 2, 5, 6), result


def test_a_damaged_neighbour_does_not_hide_what_is_good(copy):
    (copy.step_folder("dec@seed=0") / "manifest.json").write_text("{")
    assert set(problems_of(copy)) == {"dec@seed=0"}


def test_no_error_of_these_is_of_an_unexpected_kind():
    assert TicketError.code == 1
    assert write_manifest
