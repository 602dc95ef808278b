"""`recipes` and `validate`: what a terminal shows, and what is refused."""

import json
import tomllib
from pathlib import Path

import pytest

from tests.cli.command_line import ticket, write
from ticketcli.report import render

BAD = "schema: 1\nsteps: {a: {stage: pretain}, b: {stage: prune, fractoin: 2}}\n"


def test_the_list_fits_a_narrow_terminal(monkeypatch):
    monkeypatch.setattr(render, "width", lambda: 60)
    lines = ticket("recipes", "ls").out.splitlines()
    assert max(map(len, lines)) <= 60
    assert any(line.startswith("demo ") for line in lines)


def test_a_copy_is_followed_by_the_command_that_runs_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my studies").mkdir()
    result = ticket("recipes", "cp", "demo", "my studies/first.yaml")
    assert result.out == "my studies/first.yaml\n"
    assert "ticket run 'my studies/first.yaml'" in result.err
    assert ticket("run", "my studies/first.yaml", "--dry-run").code == 0


def test_a_recipe_is_copied_under_its_own_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ticket("recipes", "cp", "recipes/demo.yaml").out == "demo.yaml\n"
    assert ticket("recipes", "cp", "demo").code == 2
    assert ticket("recipes", "cp", "demo", "no/such/folder.yaml").code == 5


def test_recipes_in_a_folder_are_called_by_both_names_and_found_by_their_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "\npaper/coco " in ticket("recipes", "ls").out
    text = ticket("recipes", "cat", "paper/coco").out
    assert text.startswith("# The paper's main result")
    assert ticket("recipes", "cat", "recipes/paper/coco.yaml").out == text
    assert ticket("recipes", "cp", "paper/coco").out == "coco.yaml\n"
    assert (tmp_path / "coco.yaml").read_text() == text
    missing = ticket("recipes", "cat", "paper/cocoa")
    assert missing.code == 5
    assert "did you mean 'paper/coco'" in missing.err
    assert ticket("recipes", "cat", "coco2").code == 5


def test_recipes_in_folders_are_part_of_the_wheel():
    root = Path(__file__).parents[2]
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"recipes": "ticketcli/recipes"}  # of a folder hatch takes all that is below it
    assert (root / "recipes" / "paper" / "coco.yaml").is_file()


def test_several_recipes_are_validated_at_once_and_all_mistakes_of_all_are_shown(tmp_path):
    bad = write(tmp_path / "bad.yaml", BAD)
    result = ticket("validate", "demo", bad, "nothing")
    assert result.code == 2
    assert result.out == "demo: 42 steps, good\n"
    assert f"error: {bad}: unknown stage 'pretain'" in result.err
    assert f"error: {bad}: unknown key 'fractoin'" in result.err
    assert "error: nothing: no recipe 'nothing'" in result.err


def test_what_was_found_is_told_as_json_too(tmp_path):
    result = ticket("validate", "demo", write(tmp_path / "bad.yaml", BAD), "--json")
    good, bad = json.loads(result.out)["recipes"]
    assert (good["good"], good["steps"]) == (True, 42)
    assert (bad["good"], len(bad["errors"])) == (False, 2)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["demo", "ours.rounds=12"], 0),
        (["demo", "ours.rounds=3"], 5),  # others take later rounds
        (["demo", "ours.rouns=3"], 2),
        (["demo", "--drop", "ours.rounds"], 2),
        (["ours.rounds=3"], 2),
        (["nothing"], 5),
    ],
)
def test_overrides_are_validated_with_the_recipe(words, code):
    result = ticket("validate", *words)
    assert result.code == code, result
    assert (code == 0) == (result.err == "")
