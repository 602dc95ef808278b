"""What a small real run holds: the paper's method, its controls, and the promises about files."""

import json
import stat

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.cli.command_line import digests, ticket
from ticketcli.store.codec import read_mask
from ticketcli.store.tensorfile import metadata_for

ARMS = ("ours", "plain", "imp", "fresh", "early", "random", "uniform", "untrained")


def mask(run, step, number):
    return read_mask(run.step_folder(f"{step}@seed=0") / f"round-{number:02d}.mask.safetensors")[0]


def values(run, step, output):
    folder = run.step_folder(step)
    return load_file(run.manifest(step).artifacts()[output].files["values"].locate(folder))


@pytest.mark.parametrize("arm", ARMS)
def test_every_round_drops_exactly_a_fifth_and_nests(finished, arm):
    before = mask(finished, arm, 1)
    assert before.total == 305_664
    assert before.kept == before.total - round(0.2 * before.total)
    for number in (2, 3):
        after = mask(finished, arm, number)
        assert after <= before
        assert before.kept - after.kept == round(0.2 * before.kept)
        before = after


def test_the_mask_is_chosen_from_the_finetuned_weights_before_they_are_rewound(finished):
    """Peer defect 2. Chosen after the rewind, it would be the untrained control's."""
    assert mask(finished, "plain", 1) != mask(finished, "untrained", 1)
    for arm in ("imp", "fresh", "early"):  # they differ only in what comes after the first prune
        assert bool(mask(finished, "plain", 1) == mask(finished, arm, 1)), arm


def test_rewinding_makes_a_difference_from_the_second_round_on(finished):
    """Peer defect 1: the rewind was a no-op."""
    assert mask(finished, "plain", 2) != mask(finished, "imp", 2)
    assert mask(finished, "plain", 2) != mask(finished, "fresh", 2) != mask(finished, "early", 2)


def test_the_reconstruction_loss_makes_a_difference(finished):
    assert mask(finished, "ours", 1) != mask(finished, "plain", 1)


def test_the_random_control_keeps_the_tickets_count_in_every_layer(finished):
    for number in (1, 2, 3):
        assert mask(finished, "random", number).kept_by_name == mask(finished, "ours", number).kept_by_name
    assert mask(finished, "random", 1) != mask(finished, "ours", 1)
    assert mask(finished, "uniform", 3).kept_by_name != mask(finished, "ours", 3).kept_by_name


def test_a_ticket_costs_one_mask_where_its_values_are_theta_pre(finished):
    ours = finished.manifest("ours@seed=0").artifacts()["2"]
    assert ours.files["values"].path == "../dense@seed=0/dense.safetensors"
    assert ours.files["mask"].size < 45_000
    imp = finished.manifest("imp@seed=0").artifacts()["2"]
    assert imp.files["values"].path == "round-02.safetensors"


def test_a_rewound_ticket_is_theta_pre_where_it_lives_and_positive_zero_elsewhere(finished):
    """And BatchNorm and head are theta_pre's: peer defect 11, statistics destroyed by reset_parameters."""
    dense, back, living = (
        values(finished, "dense@seed=0", "dense"),
        values(finished, "back@seed=0", "ticket"),
        mask(finished, "ours", 2),
    )
    assert dense.keys() == back.keys()
    for name, value in back.items():
        wanted = np.where(living[name], dense[name], np.float32(0.0)) if name in living else dense[name]
        assert wanted.tobytes() == value.tobytes(), name
    assert any(np.any(dense[name] != 0) for name in dense if "running_mean" in name)


def test_rewinding_to_another_checkpoint_takes_its_values_and_may_recalibrate(finished):
    early, back, living = (
        values(finished, "dense@seed=0", "3it"),
        values(finished, "back_early@seed=0", "ticket"),
        mask(finished, "ours", 2),
    )
    name = "layer4.0.conv1.weight"
    assert np.array_equal(back[name][living[name]], early[name][living[name]])
    assert not np.array_equal(back["bn1.running_mean"], early["bn1.running_mean"])


@pytest.mark.parametrize("arm", ["imp/3", "ours/3", "ours/healed"])
def test_masked_weights_are_positive_zero_in_every_file_that_was_trained(finished, arm):
    step = f"target@arm={arm.replace('/', '-')},seed=0"
    artifact = finished.manifest(step).artifacts()["task"]
    living = read_mask(artifact.files["mask"].locate(finished.step_folder(step)))[0]
    trained = values(finished, step, "task")
    for name, alive in living.items():
        assert not np.any(trained[name][~alive].view(np.int32)), name
    assert living == mask(finished, arm.split("/")[0], 3)


def test_the_dense_row_has_no_mask(finished):
    assert set(finished.manifest("target@arm=dense,seed=0").artifacts()["task"].files) == {"values"}


def test_what_was_measured_is_what_was_written(finished):
    """Peer defect 14: the validated model was not the one saved."""
    recorded = finished.manifest("target@arm=ours-3,seed=0").units["task"].metrics["test"]
    read_back = finished.manifest("again@arm=ours-3,seed=0").units["metrics"].metrics
    assert (read_back["correct"], read_back["n"]) == (recorded["correct"], recorded["n"])


def test_healing_is_measured_as_written(finished):
    healed = finished.manifest("ours@seed=0").units["healed-03"].metrics["healed_before"]
    assert healed["psnr"] > 0
    assert healed["psnr_without_hints"] != healed["psnr"]
    worth = finished.manifest("worth@seed=0").units["metrics"].metrics
    assert worth["sparsity"] == pytest.approx(0.488, abs=1e-4)
    assert worth["psnr"] > 0


def test_the_gradient_ratio_is_logged_every_round_where_there_is_a_treatment(finished):
    lines = [
        json.loads(line) for line in (finished.step_folder("ours@seed=0") / "metrics.jsonl").read_text().splitlines()
    ]
    ratios = [line for line in lines if line["event"] == "gradients"]
    assert [line["unit"] for line in ratios] == ["round-01", "round-02", "round-03", "healed-03"]
    assert all(line["ratio"] > 0 for line in ratios)
    assert finished.manifest("plain@seed=0").units["round-01"].metrics["gradient_ratio"] is None


def test_each_mask_is_measured_with_its_checkpoints_statistics_and_with_its_own(finished):
    unhealed = finished.manifest("ours@seed=0").units["round-03"].metrics["unhealed"]
    assert set(unhealed) == {"literal", "recalibrated"}


def test_files_carry_the_users_permissions(finished):
    for path in finished.step_folder("ours@seed=0").glob("*.*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644, path


def test_a_second_run_does_nothing_and_says_so(finished, tiny_recipe):
    before = {path: path.stat().st_mtime_ns for path in finished.root.rglob("*.safetensors")}
    result = ticket("run", tiny_recipe, "--run", finished.root)
    assert result.code == 0
    assert "everything is fresh, nothing to do" in result.err
    assert before == {path: path.stat().st_mtime_ns for path in finished.root.rglob("*.safetensors")}


def test_the_run_ends_with_the_table_and_says_what_next(finished, tiny_recipe):
    text = ticket("run", tiny_recipe, "--run", finished.root, "-q").out
    assert "ours/healed" in text
    assert "48.80%" in text
    assert "Paired difference in target top-1:\n  ours/3, less imp/3:" in text
    assert "one replicate has no interval, so nothing can be said" in text
    assert "ticket status --run" in text


def test_json_is_one_object(finished, tiny_recipe):
    found = json.loads(ticket("run", tiny_recipe, "--run", finished.root, "--json", "-q").out)
    (table,) = found["tables"]
    assert [row["key"]["arm"] for row in table["rows"]] == ["dense", "ours/3", "imp/3", "ours/healed"]
    assert 0 < table["comparisons"][0]["mask_overlap"] < 1
    assert json.loads(ticket("status", "--run", finished.root, "--json").out)["steps"]
    assert json.loads(ticket("verify", "--run", finished.root, "--json").out)["problems"] == {}
    assert json.loads(ticket("inspect", "ours@seed=0", "--run", finished.root, "--json").out)["stage"] == "prune"


def test_two_runs_of_one_recipe_hold_the_same_bytes(finished, tiny_recipe, tmp_path):
    result = ticket("run", tiny_recipe, "--run", tmp_path / "run", "-q")
    assert result.code == 0, result
    assert digests(type(finished)(tmp_path / "run")) == digests(finished)


def test_inspect_shows_a_mask_by_layer(finished):
    path = finished.step_folder("ours@seed=0") / "round-03.mask.safetensors"
    text = ticket("inspect", path).out
    assert "156,500 of 305,664 weights live, 48.80% sparse" in text
    assert "layer4.0.conv2.weight" in text


def test_a_moved_run_folder_is_still_fresh(copy):
    result = ticket("status", "--run", copy.root, "--check")
    assert result.code == 0, result


def test_a_mask_is_never_inferred_from_zeros_in_the_weights(finished, tmp_path):
    """Peer defect 4: a living weight that happens to be zero stays alive."""
    dense = finished.step_folder("dense@seed=0") / "dense.safetensors"
    tensors = {name: np.zeros_like(value) if "layer3" in name else value for name, value in load_file(dense).items()}
    zeros = tmp_path / "zeros.safetensors"
    about = finished.manifest("dense@seed=0").artifacts()["dense"].about
    save_file(tensors, zeros, metadata=metadata_for("dense", about))
    given = finished.step_folder("ours@seed=0") / "round-02.mask.safetensors"
    run = tmp_path / "run"
    assert ticket("rewind", "--ticket", given, "--to", zeros, "--run", run).code == 0
    done = ticket("transfer", "--ticket", "rewind", "--data", "digits", "--epochs", "1it", "--batch", "8", "--run", run)
    assert done.code == 0, done
    for name in ("rewind/ticket.mask.safetensors", "transfer/task.mask.safetensors"):
        assert bool(read_mask(run / name)[0] == mask(finished, "ours", 2))
