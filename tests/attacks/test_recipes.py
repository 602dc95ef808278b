"""Recipes made by somebody who wishes ill: refused with exit code 2 or 5, soon, and without filling the memory."""

import os
import resource
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.attacks.damage import odd_targets, survives
from tests.attacks.test_tensor_files import in_time
from tests.cli.command_line import ticket
from ticketcli.errors import UsageError
from ticketcli.recipe.recipe import parse_recipe
from ticketcli.recipe.strict_yaml import LONGEST, load_yaml
from ticketcli.stage import STAGES

assert in_time  # a fixture, for all tests here
CONFIGS = {name: spec.config for name, spec in STAGES.items()}
STEP = "{stage: pretrain, data: digits}"
BOMBS = {
    "aliases": "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)),
    "an alias of itself": "a: &a [*a]",
    "a merge key": "a: {<<: {b: 1}}",
    "nested lists": "a: " + "[" * 100_000,
    "nested mappings": "a: " + "{a: " * 100_000,
    "nested blocks": "- " * 100_000,
    "indented deeper and deeper": "".join(" " * i + f"k{i}:\n" for i in range(1200)),
    "a huge word": "a: " + "x" * (LONGEST + 1),
    "many keys": "".join(f"k{i}: 1\n" for i in range(200_000)),
    "a number of base 60": "a: 1" + ":1" * 400_000,
    "a number of many digits": "a: " + "9" * 400_000,
    "a float of many digits": "a: 1." + "9" * 400_000 + "e5",
    "an exponent of many digits": "a: 1e" + "9" * 400_000,
    "underscores": "a: 1" + "_" * 400_000 + "x",
    "a quoted word without end": 'a: "' + "\\x" * 100_000,
    "a comment without end": "a: 1 #" + "x" * 900_000,
    "anchors": "".join(f"k{i}: &a{i} 1\n" for i in range(20_000)),
    "directives": "%TAG ! tag:x,2000:\n" * 1000 + "a: 1",
    "documents": "a: 1\n---\n" * 10_000,
    "a tag": "a: !!binary aGVsbG8=",
    "a tag of Python": "a: !!python/object/apply:os.mkdir [ran]",
    "a tag by another handle": "%TAG !p! tag:yaml.org,2002:python/\n---\na: !p!object/apply:os.mkdir [ran]",
    "a tag in words": "a: !<tag:yaml.org,2002:python/object/apply:os.mkdir> [ran]",
    "a set": "a: !!set {x, y}",
    "no UTF-8": b"a: \xff\xfe\xfa",
    "UTF-16": "schema: 1".encode("utf-16"),
    "zero bytes": b"a: 1\x00\x00",
    "a lone surrogate": "a: \"\\ud800\"",
    "escapes that move the cursor": 'steps: {"\\e[2J": 1}\nschema: 1',
    "steps of a number": "schema: 1\nsteps: 5",
    "a step of a list": "schema: 1\nsteps: {a: [1]}",
    "a stage of a list": "schema: 1\nsteps: {a: {stage: [pretrain]}}",
    "a step that climbs": f"schema: 1\nsteps: {{../a: {STEP}}}",
    "a step that is absolute": f"schema: 1\nsteps: {{/etc/a: {STEP}}}",
    "a step with a reserved name": f"schema: 1\nsteps: {{.old: {STEP}}}",
    "a circle": "schema: 1\nsteps: {a: {stage: rewind, ticket: b}, b: {stage: rewind, ticket: a}}",
    "a long chain": "schema: 1\nsteps:\n  s0: {stage: pretrain, data: digits}\n"
    + "".join(f"  s{i}: {{stage: rewind, ticket: s{i + 1}}}\n" for i in range(1, 3000)) + "  s3000: {stage: rewind, ticket: s0}\n",
    "a product of axes": "schema: 1\nfor_each:\n" + "".join(f"  v{i}: [{', '.join(map(str, range(40)))}]\n" for i in range(9))
    + "steps: {a: {stage: pretrain, data: digits, arch: '" + "".join(f"$v{i}" for i in range(9)) + "'}}",
    "a product over steps": "schema: 1\nfor_each:\n" + "".join(f"  v{i}: [{', '.join(map(str, range(1, 91)))}]\n" for i in range(2))
    + "steps:\n" + "".join(f"  a{i}: {{stage: pretrain, data: digits, seed: $v0, batch: $v1}}\n" for i in range(400)),
    "a class range": "schema: 1\nsteps: {a: {stage: pretrain, data: {name: digits, classes: 0-999999999999}}}",
    "many class ranges": "schema: 1\nsteps: {a: {stage: pretrain, data: {name: digits, classes: [" + "0-999999, " * 3000 + "1]}}}",
    "an endless duration": "schema: 1\nsteps: {a: {stage: pretrain, data: digits, epochs: " + "9" * 400 + "it}}",
    "not a number": "schema: 1\nsteps: {a: {stage: pretrain, data: digits, lr: .nan}}",
    "an infinite rate": "schema: 1\nsteps: {a: {stage: pretrain, data: digits, lr: 1e999}}",
    "a seed without end": "schema: 1\nsteps: {a: {stage: pretrain, data: digits, seed: " + "9" * 90 + "}}",
    "a regular expression that hesitates": f"schema: 1\nsteps: {{{'a-' * 50_000}!: {STEP}}}",
    "variables without end": "schema: 1\nsteps: {a: {stage: pretrain, data: digits, arch: '" + "$a" * 100_000 + "'}}",
}  # fmt: skip

CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000, 1_500_000_000))
sys.argv = ["ticket", *sys.argv[1:]]
from ticketcli.cli.app import main
main()
"""


def in_child(*arguments):
    """The command with little memory: its exit code and words, and the seconds that it took."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr, time.monotonic() - started


@pytest.mark.parametrize("attack", BOMBS)
def test_a_recipe_that_attacks_is_refused_soon_and_with_little_memory(tmp_path, attack, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "r.yaml"
    path.write_bytes(BOMBS[attack] if isinstance(BOMBS[attack], bytes) else BOMBS[attack].encode())
    code, said, seconds = in_child("run", path, "--dry-run", "--run", tmp_path / "run")
    assert code in (2, 5), said[-2000:]
    assert "error:" in said
    assert "\x1b" not in said
    assert len(said) < 20_000
    assert seconds < 15
    assert {entry.name for entry in tmp_path.iterdir()} == {"r.yaml"}  # nothing was made, nothing ran


@pytest.mark.parametrize("kind", ["folder", "fifo", "zeros", "nothing", "loop", "dangling", "huge"])
def test_a_recipe_that_is_no_regular_file_is_refused(tmp_path, kind):
    path = tmp_path / "r.yaml"
    if kind == "huge":
        with path.open("wb") as file:
            file.truncate(10**12)
    else:
        odd_targets(path, tmp_path)[kind]()
    assert ticket("run", path, "--run", tmp_path / "run").code in (2, 5, 6)


@pytest.mark.parametrize("text", ["1:30", "010", "0x1f", "0b11", "12:30:45"])
def test_what_yaml_counts_in_other_bases_stays_the_word_it_is(text):
    assert load_yaml(text) == text


@pytest.mark.parametrize(
    "override", ["a.seed=[" + "[" * 5000, "a.seed=!!binary x", "a.seed=" + "9" * 10**5, "a.seed=&a [*a]"]
)
def test_an_override_is_read_as_strictly(tmp_path, override):
    path = tmp_path / "r.yaml"
    path.write_text(f"schema: 1\nsteps: {{a: {STEP}}}")
    assert ticket("run", path, override, "--dry-run", "--run", tmp_path / "run").code == 2


pieces = st.lists(
    st.sampled_from(
        ["a", "b", ": ", "- ", "\n", "  ", "{", "}", "[", "]", ",", "&x ", "*x", "!!int ", "'", '"', "|", ">", "#", "%", "1e5",
         "steps", "schema: 1\n", "stage: ", "prune", "for_each", "$a", "?", "\t", "\x00", "\ud7ff", "~"]
    ) | st.text(max_size=3),
    max_size=25,
).map("".join)  # fmt: skip


@given(pieces)
def test_no_text_crashes_the_reader_of_recipes(text):
    survives(load_yaml, text)
    survives(lambda: parse_recipe(text, CONFIGS, where="r.yaml"))


@given(st.dictionaries(st.sampled_from(["schema", "steps", "for_each", "defaults", "report", "x"]), pieces, max_size=4))
def test_no_recipe_of_odd_parts_crashes(parts):
    text = "schema: 1\n" + "".join(f"{key}: {value}\n" for key, value in parts.items() if key != "schema")
    survives(lambda: parse_recipe(text, CONFIGS, where="r.yaml"))


def test_the_limit_on_memory_is_enforced():
    """Else the tests above could not fail."""
    code = CHILD.split("sys.argv =")[0] + "x = bytearray(2_000_000_000)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 1
    assert resource.RLIMIT_AS
    assert os.sep == "/"
    assert UsageError.code == 2
