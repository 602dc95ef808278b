"""What is kept, extended, remade and refused when a recipe or its files change."""

import json
import re
import shutil
from pathlib import Path
from typing import get_args

import pytest

from tests.cli.command_line import digests, ticket
from ticketcli.cli.app import COMMANDS
from ticketcli.plan import State


def state(run, recipe, *overrides):
    """Step -> (state, why), without doing anything."""
    import json

    found = ticket("run", recipe, *overrides, "--run", run.root, "--dry-run", "--json")
    assert found.code == 0, found
    return {row["step"]: (row["state"], row["why"]) for row in json.loads(found.out)["steps"]}


def test_more_rounds_run_only_the_new_ones(copy, tiny_recipe):
    before = digests(copy)
    stamps = {path: path.stat().st_mtime_ns for path in copy.step_folder("ours@seed=0").glob("round-*")}
    assert state(copy, tiny_recipe, "ours.rounds=5")["ours@seed=0"][0] == "partial"
    result = ticket("run", tiny_recipe, "ours.rounds=5", "--run", copy.root)
    assert result.code == 0, result
    assert "round-03 done" not in result.err.split("random@seed=0")[0]
    assert result.err.count("ours@seed=0: round-0") == 2
    after = digests(copy)
    assert all(
        after[name] == digest
        for name, digest in before.items()
        if name.startswith("ours@seed=0/") and "healed" not in name
    )
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    assert copy.manifest("ours@seed=0").units["round-05"].metrics["sparsity"] == pytest.approx(1 - 0.8**5, abs=1e-4)


def test_extended_rounds_equal_those_of_one_longer_run(copy, tiny_recipe, tmp_path):
    ticket("run", tiny_recipe, "imp.rounds=5", "--run", copy.root, "-q")
    other = type(copy)(tmp_path / "straight")
    ticket("run", tiny_recipe, "imp.rounds=5", "--run", other.root, "-q")
    straight, extended = digests(other), digests(copy)
    assert all(extended[name] == straight[name] for name in straight if name.startswith("imp@"))


def test_fewer_rounds_are_fresh_but_for_their_healing(copy, tiny_recipe):
    found = state(copy, tiny_recipe, "plain.rounds=2")["plain@seed=0"]
    assert found == ("partial", "2 of 3 done, next is healed-02")


def test_another_healing_remakes_only_the_healing_and_keeps_the_old(copy, tiny_recipe):
    result = ticket("run", tiny_recipe, "plain.heal=3it", "--run", copy.root)
    assert result.code == 0, result
    assert "plain@seed=0: round-0" not in result.err
    assert [path.name for path in (copy.root / ".old" / "plain@seed=0").glob("*/*.safetensors")] == [
        "healed-03.safetensors"
    ]


def test_a_changed_setting_makes_the_step_stale_says_which_and_keeps_the_old(copy, tiny_recipe):
    old = digests(copy)["plain@seed=0/3/mask"]
    found = state(copy, tiny_recipe, "plain.fraction=0.3")
    assert found["plain@seed=0"] == ("stale", "fraction was 0.2, now 0.3")
    assert found["ours@seed=0"][0] == "fresh"
    assert ticket("run", tiny_recipe, "plain.fraction=0.3", "--run", copy.root, "-q").code == 0
    kept = type(copy)(copy.root / ".old" / "plain@seed=0")
    assert kept.manifest("001").artifacts()["3"].files["mask"].content == old
    assert ticket("verify", "--run", kept.root, "001").code == 0


def test_what_hangs_on_a_changed_step_waits_for_it(copy, tiny_recipe):
    found = state(copy, tiny_recipe, "dense.lr=0.04")
    assert found["dense@seed=0"][0] == "stale"
    assert found["ours@seed=0"] == ("waiting", "waits for dense@seed=0")


def test_a_new_seed_is_a_new_step(copy, tiny_recipe):
    found = state(copy, tiny_recipe, "for_each.seed=[0,1]")
    assert found["dense@seed=0"][0] == "fresh"
    assert found["dense@seed=1"][0] == "missing"


def test_a_remade_input_with_equal_bytes_leaves_its_consumers_fresh(copy, tiny_recipe):
    (copy.step_folder("dec@seed=0") / "decoder.safetensors").unlink()
    assert state(copy, tiny_recipe)["dec@seed=0"] == ("missing", "decoder.safetensors is gone")
    result = ticket("run", tiny_recipe, "--run", copy.root)
    assert "1 to do" in result.err or "ours@seed=0: fresh" in result.err
    assert all(row[0] == "fresh" for row in state(copy, tiny_recipe).values())


def test_a_file_that_exists_is_not_taken_for_done(copy, tiny_recipe):
    """Peer defect 7: done is what the manifest says."""
    (copy.step_folder("plain@seed=0") / "manifest.json").unlink()
    assert state(copy, tiny_recipe)["plain@seed=0"][0] == "missing"
    assert ticket("run", tiny_recipe, "--run", copy.root, "-q").code == 0
    assert state(copy, tiny_recipe)["plain@seed=0"][0] == "fresh"


def test_status_check_says_stale_by_its_exit_code(copy, tiny_recipe):
    assert ticket("status", tiny_recipe, "--run", copy.root, "--check").code == 0
    (copy.step_folder("imp@seed=0") / "round-02.mask.safetensors").unlink()
    result = ticket("status", tiny_recipe, "--run", copy.root, "--check")
    assert result.code == 3
    assert "round-02.mask.safetensors is gone" in result.out


def test_resume_must_refuses_what_is_stale_and_what_was_never_begun(copy, tiny_recipe):
    stale = ticket("run", tiny_recipe, "plain.fraction=0.3", "--run", copy.root, "--resume", "must", "-q")
    assert stale.code == 3
    assert "'plain@seed=0' is stale: fraction was 0.2, now 0.3" in stale.err
    missing = ticket("run", tiny_recipe, "for_each.seed=[1]", "--run", copy.root, "--resume", "must", "-q")
    assert missing.code == 4
    assert "nothing to resume" in missing.err


def test_resume_never_begins_anew_and_keeps_the_old(copy):
    arguments = ("prune", "--name", "mine", "--encoder", "dense@seed=0", "--lambda", "0", "--rounds", "1", "--finetune", "1it",
                 "--batch", "16", "--run", copy.root)  # fmt: skip
    assert ticket(*arguments).code == 0
    before = digests(copy)
    result = ticket(*arguments, "--resume", "never")
    assert result.code == 0, result
    assert "the old results are kept in" in result.err
    assert digests(copy) == before
    assert ticket(*arguments, "--resume", "sometimes").code == 2


def test_settings_that_turn_out_unusable_leave_what_is_there_as_it_is(copy):
    arguments = ("prune", "--name", "mine", "--encoder", "dense@seed=0", "--lambda", "0", "--rounds", "1", "--finetune", "1it",
                 "--batch", "16", "--run", copy.root)  # fmt: skip
    assert ticket(*arguments).code == 0
    before = digests(copy)
    for wrong in (("--data", "digit"), ("--data", "{name: digits, classes: [77]}")):
        assert ticket(*arguments, *wrong).code == 2
    assert digests(copy) == before
    assert not (copy.root / ".old" / "mine").exists()
    assert "fresh" in ticket(*arguments).err


def test_a_state_saved_under_another_config_is_kept(tmp_path):
    run = tmp_path / "run"
    command = ("pretrain", "--data", "{name: digits, classes: [0, 1], per_class: 16}", "--batch", "8", "--run", run)
    assert ticket(*command, "--epochs", "10it", "--lr", "1e30", "--save-every", "0").code == 9
    saved = {path.name for path in (run / "pretrain" / "state").iterdir()}
    assert saved
    assert ticket(*command, "--epochs", "3it").code == 0
    assert {path.name for path in (run / ".old" / "pretrain" / "001" / "state").iterdir()} == saved


def test_a_stage_command_finds_its_inputs_by_kind_and_goes_on_from_the_round_it_reached(tmp_path):
    run = tmp_path / "run"
    data = ("--data.name", "digits", "--data.classes", "0,1", "--data.per-class", "16")
    assert ticket("pretrain", *data, "--epochs", "2it", "--batch", "8", "--milestones", "", "--run", run).code == 0
    assert ticket("train-decoder", "--epochs", "1it", "--batch", "8", "--run", run).code == 0
    prune = ("prune", "--finetune", "1it", "--batch", "8", "--recalibrate-bn", "0", "--run", run)
    first = ticket(*prune, "--rounds", "2")
    assert first.code == 0, first
    more = ticket(*prune, "--rounds", "3")
    assert "2 of 4 done, next is round-03" in more.err
    assert "48.80%" in more.out
    assert (
        ticket("transfer", "--data", "digits", "--epochs", "1it", "--batch", "8", "--milestones", "", "--run", run).code
        == 0
    )
    worth = ticket("evaluate", "--of", "transfer", "--run", run)
    assert worth.code == 0, worth
    assert ticket("rewind", "--to", "pretrain", "--run", run).code == 0


def test_a_stage_command_takes_files_too(finished, tmp_path):
    dense = finished.step_folder("dense@seed=0") / "dense.safetensors"
    mask = finished.step_folder("ours@seed=0") / "round-02.mask.safetensors"
    result = ticket("evaluate", "--of", mask, "--split", "validation", "--run", tmp_path / "run")
    assert result.code == 0, result
    lone = tmp_path / "lone.mask.safetensors"
    lone.write_bytes(mask.read_bytes())
    assert ticket("evaluate", "--of", lone, "--run", tmp_path / "run", "--name", "b").code == 5
    rewound = ticket("rewind", "--ticket", lone, "--to", dense, "--run", tmp_path / "run")
    assert rewound.code == 0, rewound


def test_rounds_that_go_up_and_down_again_bind_the_healed_ticket_of_the_present_number(tmp_path, tiny_recipe, finished):
    run = tmp_path / "run"
    shutil.copytree(finished.root, run)
    command = ("run", tiny_recipe, "--run", run, "-q", "--json")
    before = json.loads((run / "worth@seed=0/metrics.json").read_text())["sparsity"]
    assert ticket(*command, "ours.rounds=4").code == 0
    assert json.loads((run / "worth@seed=0/metrics.json").read_text())["sparsity"] > before
    assert ticket(*command).code == 0
    assert json.loads((run / "worth@seed=0/metrics.json").read_text())["sparsity"] == before


@pytest.mark.parametrize("flags", [(), ("--check",), ("--json",)])
def test_a_folder_without_any_step_is_no_run_that_is_fresh(tmp_path, flags):
    result = ticket("status", "--run", tmp_path, *flags)
    assert (result.code, result.out) == (5, "")
    assert "nothing was made here" in result.err
    assert "try: ticket run RECIPE" in result.err


def test_finished_results_behind_a_stale_step_are_waiting_and_every_state_is_named(copy, tiny_recipe):
    rows = json.loads(ticket("run", tiny_recipe, "dense.lr=0.01", "--run", copy.root, "--dry-run", "--json").out)[
        "steps"
    ]
    states = {row["step"]: row["state"] for row in rows}
    assert states["dense@seed=0"] == "stale"
    assert states["ours@seed=0"] == "waiting"
    assert copy.manifest("ours@seed=0").units
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    told = re.search(r"\nA step is (.*?)\n\n", readme, re.DOTALL)[1]
    for text in (told, ticket("status", "--help").out.lower(), COMMANDS["status"][1]):
        assert [word for word in get_args(State) if word not in text] == []
