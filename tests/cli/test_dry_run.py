"""`--dry-run` tells on stdout what the real command would do, and ends as that would."""

import json

import pytest

from tests.cli.command_line import ticket

PRUNE = ("prune", "--encoder", "dense@seed=0", "--lambda", "0", "--batch", "16", "--rounds", "1", "--finetune", "1it",
         "--heal", "0ep", "--recalibrate-bn", "0", "--name", "mine")  # fmt: skip
SMALL = """
schema: 1
steps:
  dense: {stage: pretrain, data: {name: digits, classes: [0, 1], per_class: 20}, batch: 16, epochs: 1it, milestones: []}
  back: {stage: prune, encoder: dense, lambda: 0, batch: 16, rounds: 2, finetune: 0ep, heal: 0ep, recalibrate_bn: 0}
  worth: {stage: evaluate, of: back}
"""


@pytest.fixture
def small(tmp_path):
    """A recipe, and a run of it of which the first two steps are made."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    made = ticket("run", path, "--run", tmp_path / "small", "--only", "dense", "--only", "back/1", "-q")
    assert made.code == 0, made
    return path, tmp_path / "small"


def states(result):
    return {row["step"]: row["state"] for row in json.loads(result.out)["steps"]}


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_a_stage_tells_the_step_on_stdout(finished, quiet):
    told = ticket(*PRUNE, "--dry-run", "--run", finished.root, *quiet)
    assert (told.code, told.out, told.err) == (0, "mine: missing, not made yet\n", "")


def test_a_stage_tells_one_json_object(finished):
    told = ticket(*PRUNE, "--dry-run", "--json", "--run", finished.root)
    folder = str(finished.root / "mine")
    assert json.loads(told.out) == {"step": "mine", "folder": folder, "state": "missing", "why": "not made yet"}


def test_never_has_all_to_do_as_the_real_command_has(small):
    recipe, run = small
    assert states(ticket("run", recipe, "--run", run, "--dry-run", "--json")) == {
        "dense": "fresh", "back": "partial", "worth": "waiting"}  # fmt: skip
    anew = ticket("run", recipe, "--run", run, "--dry-run", "--json", "--resume", "never")
    assert states(anew) == {"dense": "missing", "back": "missing", "worth": "waiting"}
    assert "begins anew" in anew.out
    done = ticket("run", recipe, "--run", run, "--resume", "never", "--only", "dense")
    assert "dense: missing, begins anew, the old is kept" in done.err


def test_never_has_all_of_a_stage_to_do(small):
    again = ("pretrain", "--data", "{name: digits, classes: [0, 1], per_class: 20}", "--batch", "16", "--epochs", "1it",
             "--milestones", "", "--name", "dense", "--run", small[1], "--dry-run")  # fmt: skip
    assert ticket(*again).out.startswith("dense: fresh")
    assert ticket(*again, "--resume", "never").out == "dense: missing, begins anew, the old is kept\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--only", "dense"), 0),
        (("--only", "dense", "--only", "back"), 0),  # cut, and continues
        ((), 4),  # what is cut continues; after it comes a step of which nothing is there
        (("back.fraction=0.3",), 3),
        (("--only", "dense", "dense.lr=0.5"), 3),
    ],
)
def test_must_ends_a_dry_run_as_it_ends_the_run(small, words, code):
    recipe, run = small
    command = ("run", recipe, *words, "--run", run, "--resume", "must")
    told = ticket(*command, "--dry-run", "--json")
    assert states(told)
    real = ticket(*command, "-q")
    assert (told.code, real.code) == (code, code), (told, real)
    assert told.err == real.err


@pytest.mark.parametrize(("flags", "code"), [((), 4), (("--seed", "1"), 3)])
def test_must_ends_the_dry_run_of_a_stage_as_it_ends_the_stage(copy, flags, code):
    if flags:
        assert ticket(*PRUNE, "--run", copy.root, "-q").code == 0
    command = (*PRUNE, *flags, "--run", copy.root, "--resume", "must", "-q")
    told, real = ticket(*command, "--dry-run"), ticket(*command)
    assert (told.code, real.code) == (code, code), (told, real)
    assert told.out
    assert told.err == real.err


def test_must_leaves_what_waits_for_a_file_to_the_run(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("schema: 1\nsteps: {dense: {stage: import, source: later.pth, arch: resnet_small}}")
    told = ticket("run", path, "--run", tmp_path / "run", "--resume", "must", "--dry-run")
    assert told.code == 0
    assert "waits for the file later.pth" in told.out


def test_an_unknown_word_for_resume_is_refused_in_a_dry_run_too(finished, tiny_recipe):
    for command in (("run", tiny_recipe), PRUNE):
        result = ticket(*command, "--resume", "now", "--dry-run", "--run", finished.root)
        assert result.code == 2
        assert "--resume is 'now'" in result.err
        assert "auto, must or never" in result.err
