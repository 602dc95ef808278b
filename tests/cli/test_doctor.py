import json

import pytest

from tests.cli.command_line import ticket
from ticketcli.checks import software, storage
from ticketcli.checks.check import Check
from ticketcli.execution import estimate

PROBE = {"torch": "2.9", "torchvision": "0.24", "operators": "work", "threads": 1, "devices": [], "warnings": []}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The real probe is tested beside it; here its answer is enough."""
    monkeypatch.setattr(software, "probe_torch", lambda: dict(PROBE))


def test_a_good_machine_ends_with_0_and_nothing_is_left_behind(tmp_path):
    result = ticket("doctor", "--run", tmp_path / "run")
    assert result.code == 0, result
    for word in ("versions", "torch", "cpu", "run folder", "space", "data", "completion"):
        assert word in result.out
    assert list(tmp_path.iterdir()) == []


def test_json_holds_every_check_and_nothing_else(tmp_path):
    result = ticket("doctor", "--run", tmp_path, "--json", "-q")
    found = json.loads(result.out)
    assert {check["state"] for check in found["checks"]} <= {"ok", "note", "warn"}
    assert found["failed"] == 0
    assert result.err == ""


def test_a_failure_ends_with_its_own_code_and_says_what_to_do(tmp_path, monkeypatch):
    bad = Check("space", "fail", "1 MB free, 2 GB needed", "free some space", 8)
    monkeypatch.setattr(storage, "check_space", lambda run, needed: bad)
    result = ticket("doctor", "--run", tmp_path)
    assert result.code == 8
    assert "try: free some space" in result.out
    assert "1 fail" in result.out


def test_a_torch_that_does_not_load_is_a_finding_and_not_a_crash(tmp_path, monkeypatch):
    monkeypatch.setattr(software, "probe_torch", lambda: {"trouble": "No module named 'torch'"})
    result = ticket("doctor", "--run", tmp_path, "--recipe", "demo")
    assert result.code == 1
    assert "No module named 'torch'" in result.out
    assert "unexpected" not in result.err


def test_a_recipe_is_measured_and_set_against_what_is_there(tiny_recipe, tmp_path):
    result = ticket("doctor", "--run", tmp_path / "run", "--recipe", tiny_recipe, "--json")
    assert result.code == 0, result
    found = {check["name"]: check["found"] for check in json.loads(result.out)["checks"]}
    assert "needed" in found["space"]
    assert "needed" in found["memory"]
    assert "18 of 18 steps to do" in found["recipe"]
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_cannot_be_used_or_whose_images_are_missing_is_a_failure(tmp_path):
    (tmp_path / "bad.yaml").write_text("schema: 1\nsteps: {a: {stage: pretain}}")
    assert ticket("doctor", "--run", tmp_path, "--recipe", tmp_path / "bad.yaml").code == 2
    assert ticket("doctor", "--run", tmp_path, "--recipe", "nothing").code == 5
    (tmp_path / "far.yaml").write_text("schema: 1\nsteps: {a: {stage: pretrain, data: svhn}}")
    result = ticket("doctor", "--run", tmp_path, "--recipe", tmp_path / "far.yaml", "--data-dir", tmp_path)
    assert result.code == 5
    assert "the image set 'svhn' is not here" in result.out


def test_a_recipe_is_measured_as_it_is_changed(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "schema: 1\nsteps:\n  a: {stage: pretrain, data: svhn, batch: 8, epochs: 1it, milestones: [], keep: [5ep]}\n"
    )
    here = ("doctor", "--recipe", recipe, "--run", tmp_path, "--data-dir", tmp_path)
    assert ticket(*here).code == 5
    changed = ticket(*here, "a.data={name: digits, per_class: 4}", "--drop", "a.keep")
    assert changed.code == 0, changed
    wrong = ticket(*here, "a.data=digits", "a.epoch=1it", "--drop", "a.lr")
    assert wrong.code == 2
    assert "'lr' is not in the recipe" in wrong.out


def test_changes_without_a_recipe_are_refused(tmp_path):
    for words in (["a.lr=1"], ["--drop", "a.lr"]):
        result = ticket("doctor", *words, "--run", tmp_path)
        assert result.code == 2
        assert "ticket doctor --recipe RECIPE step.key=value" in result.err


def test_an_unexpected_error_while_measuring_is_a_finding_beside_the_others(tiny_recipe, tmp_path, monkeypatch):
    def breaks(steps, options):
        raise KeyError("dense")

    monkeypatch.setattr(estimate, "estimate", breaks)
    result = ticket("doctor", "--run", tmp_path / "run", "--recipe", tiny_recipe, "--json")
    assert result.code == 1
    checks = {check["name"]: check for check in json.loads(result.out)["checks"]}
    assert "unexpected KeyError: 'dense'" in checks["recipe"]["found"]
    assert "-v" in checks["recipe"]["hint"]
    assert checks["space"]["state"] == "ok"
    assert "Traceback" not in result.err
    assert "Traceback" in ticket("doctor", "--run", tmp_path / "run", "--recipe", tiny_recipe, "-v").err
