"""`ticket run --only`: a run made in pieces holds the bytes of one made at a stretch."""

import json

import pytest

from tests.cli.command_line import digests, ticket, write
from ticketcli.store.run_folder import RECIPE, Run


def states(recipe, run, *words):
    told = ticket("run", recipe, "--run", run, "--dry-run", "--json", *words)
    assert told.code == 0, told
    return {step["step"]: step["state"] for step in json.loads(told.out)["steps"]}


def test_only_the_named_step_is_made(tiny_recipe, tmp_path):
    result = ticket("run", tiny_recipe, "--run", tmp_path, "--only", "dense")
    assert result.code == 0, result
    assert Run(tmp_path).steps() == ["dense@seed=0"]
    assert "dense@seed=0  pretrain  fresh" in result.out


def test_a_prune_step_made_a_round_a_time_holds_the_bytes_of_a_straight_one(tiny_recipe, finished, tmp_path):
    for words in (["dense"], ["dec"], *([f"ours/{name}"] for name in ("1", "2", "3", "healed"))):
        result = ticket("run", tiny_recipe, "--run", tmp_path, "--only", *words)
        assert result.code == 0, result
    made = digests(Run(tmp_path))
    assert made == {
        name: digest for name, digest in digests(finished).items() if name.split("@")[0] in ("dense", "dec", "ours")
    }
    for step in Run(tmp_path).steps():
        ours, theirs = Run(tmp_path).manifest(step), finished.manifest(step)
        assert ours.status == "done"
        assert {name: unit.key for name, unit in ours.units.items()} == {
            name: unit.key for name, unit in theirs.units.items()
        }
        metrics = "metrics.jsonl"
        assert (tmp_path / step / metrics).read_bytes() == (finished.root / step / metrics).read_bytes()


def test_a_step_made_up_to_a_round_is_partial_and_feeds_what_takes_that_round(tiny_recipe, finished, tmp_path):
    for words in (["dense"], ["dec"], ["ours/2"], ["back"]):
        assert ticket("run", tiny_recipe, "--run", tmp_path, "--only", *words).code == 0
    assert Run(tmp_path).manifest("ours@seed=0").status == "partial"
    found = states(tiny_recipe, tmp_path)
    assert (found["ours@seed=0"], found["back@seed=0"], found["worth@seed=0"]) == ("partial", "fresh", "waiting")
    assert states(tiny_recipe, tmp_path, "--only", "ours/2") == {"ours@seed=0": "fresh"}
    assert states(tiny_recipe, tmp_path, "--only", "ours/1", "--only", "ours/3") == {"ours@seed=0": "partial"}
    assert states(tiny_recipe, tmp_path, "--only", "ours/1", "--only", "ours") == {"ours@seed=0": "partial"}


def test_rounds_that_no_longer_match_are_put_aside_though_fewer_are_asked_for(copy, tiny_recipe):
    shorter = "ours.to_sparsity=0.45"  # three rounds, of which the last drops less: the first two stay
    result = ticket("run", tiny_recipe, shorter, "--run", copy.root, "--only", "ours/3")
    assert result.code == 0, result
    assert "round-03, healed-03 no longer match; the old files are kept" in result.err
    assert sorted(copy.manifest("ours@seed=0").units) == ["round-01", "round-02", "round-03"]


def test_never_begins_anew_and_stops_where_it_is_told(copy, tiny_recipe):
    result = ticket("run", tiny_recipe, "--run", copy.root, "--only", "ours/1", "--resume", "never")
    assert result.code == 0, result
    assert sorted(copy.manifest("ours@seed=0").units) == ["round-01"]


def test_what_the_named_step_needs_has_to_be_there(tiny_recipe, tmp_path):
    result = ticket("run", tiny_recipe, "--run", tmp_path, "--only", "dec")
    assert result.code == 5
    assert "'dec@seed=0' waits for dense@seed=0, which is not there" in result.err


@pytest.mark.parametrize(
    ("word", "what", "hint"),
    [
        ("odrs", "no step 'odrs' in the recipe", "did you mean 'ours'?"),
        ("ours@seed=1", "no step 'ours@seed=1' in the recipe", "did you mean 'ours@seed=0'?"),
        ("ours/4", "'ours@seed=0' makes no '4'", "known: 1, 2, 3, healed"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(tiny_recipe, tmp_path, word, what, hint):
    result = ticket("run", tiny_recipe, "--run", tmp_path / "run", "--only", word)
    assert (result.code, what in result.err, hint in result.err) == (2, True, True), result
    assert not (tmp_path / "run").exists()


def test_an_estimate_of_a_part_is_refused(tiny_recipe, tmp_path):
    result = ticket("run", tiny_recipe, "--run", tmp_path / "run", "--only", "dense", "--estimate")
    assert result.code == 2
    assert "an estimate is of the whole recipe" in result.err


def test_a_copy_of_the_recipe_leaves_the_run_named_after_the_original(tiny_recipe, tmp_path):
    run = tmp_path / "run"
    for source in (tiny_recipe, write(tmp_path / "copy.yaml", tiny_recipe.read_text())):
        assert ticket("run", source, "--run", run, "--only", "dense").code == 0
    assert json.loads((run / RECIPE).read_text())["source"] == str(tiny_recipe)
    assert ticket("run", tiny_recipe, "dec.batch=8", "--run", run, "--only", "dense").code == 0
    assert json.loads((run / RECIPE).read_text())["overrides"] == ["dec.batch=8"]
