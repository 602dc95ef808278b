import json

import numpy as np
import pytest

from tests.cli.command_line import ticket
from ticketcli.store.codec import read_mask, write_mask
from ticketcli.store.mask import Mask


def compare(run, *words):
    result = ticket("masks", "compare", *words, "--run", run.root, "--json")
    assert result.code == 0, result
    return json.loads(result.out)


def test_rounds_of_one_ticket_lie_within_each_other(finished):
    found = compare(finished, "ours@seed=0/3", "ours@seed=0/2")
    whole = found["pairs"][0]["whole"]
    assert whole["first_in_second"] == 1
    assert whole["second_in_first"] == pytest.approx(0.8, abs=1e-4)
    assert whole["shared"] == found["masks"][0]["kept"]


def test_a_step_means_the_output_that_recipes_take_from_it_and_files_are_taken_too(finished):
    path = finished.step_folder("ours@seed=0") / "round-03.mask.safetensors"
    found = compare(finished, "ours@seed=0", "ours@seed=0/3", path)
    assert {one["kept"] for one in found["masks"]} == {read_mask(path)[0].kept}
    assert [pair["whole"]["jaccard"] for pair in found["pairs"]] == [1, 1, 1]
    assert [pair["masks"] for pair in found["pairs"]] == [["A", "B"], ["A", "C"], ["B", "C"]]


def test_a_shuffled_mask_shares_what_chance_lets_it_share(finished):
    whole = compare(finished, "ours@seed=0/3", "random@seed=0/3")["pairs"][0]["whole"]
    assert abs(whole["above_chance"]) < 0.01
    assert whole["jaccard"] > 0.3


def test_two_masks_are_shown_by_layer_and_more_only_on_request(finished):
    two = ticket("masks", "compare", "ours@seed=0", "imp@seed=0", "--run", finished.root).out
    three = ("masks", "compare", "ours@seed=0", "imp@seed=0", "random@seed=0", "--run", finished.root)
    assert "layer4.0.conv2.weight" in two
    assert "layer4.0.conv2.weight" not in ticket(*three).out
    assert ticket(*three, "--layers").out.count("layer4.0.conv2.weight") == 3


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["ours@seed=0"], 2, "takes two masks or more"),
        (["ours@seed=0", "dense@seed=0"], 6, "this dense has no mask"),
        (["ours@seed=0", "ousr@seed=0"], 5, "did you mean 'ours@seed=0'?"),
        (["ours@seed=0", "imp@seed=0/9"], 5, "no '9' from step 'imp@seed=0'"),
        (["ours@seed=0", "small.mask.safetensors"], 6, "'layer1.0.conv1.weight'"),
    ],
)
def test_what_cannot_be_compared_is_refused(finished, tmp_path, monkeypatch, words, code, message):
    write_mask(tmp_path / "small.mask.safetensors", Mask({"w": [True]}), {})
    monkeypatch.chdir(tmp_path)
    result = ticket("masks", "compare", *words, "--run", finished.root)
    assert result.code == code, result
    assert message in result.err


def test_a_mask_of_a_run_that_was_exchanged_is_refused_even_with_equal_counts(copy):
    path = copy.step_folder("ours@seed=0") / "round-03.mask.safetensors"
    mask, about = read_mask(path)
    write_mask(path, Mask({name: np.roll(array, 1) for name, array in mask.items()}), about)
    result = ticket("masks", "compare", "ours@seed=0", "imp@seed=0", "--run", copy.root)
    assert result.code == 6, result
    assert "not the ones that were written" in result.err


def test_an_output_can_be_inspected_with_all_its_files(finished):
    result = ticket("inspect", "ours@seed=0/healed", "--run", finished.root)
    assert result.code == 0, result
    assert "weights live" in result.out
    assert "values in" in result.out
    found = json.loads(ticket("inspect", "ours@seed=0/healed", "--run", finished.root, "--json").out)
    assert set(found["files"]) == {"mask", "values"}
    assert "top1" in ticket("inspect", "worth@seed=0/metrics", "--run", finished.root).out


@pytest.mark.parametrize(("how", "join"), [("intersect", Mask.__and__), ("union", Mask.__or__)])
def test_joined_masks_say_what_they_were_joined_of_and_only_what_all_agree_on(finished, tmp_path, how, join):
    paths = [finished.step_folder(f"{step}@seed=0") / "round-03.mask.safetensors" for step in ("ours", "random")]
    to = tmp_path / "new.mask.safetensors"
    result = ticket("masks", how, "ours@seed=0", "random@seed=0", "--to", to, "--run", finished.root)
    assert result.code == 0, result
    (one, about), (other, _), (new, said) = read_mask(paths[0]), read_mask(paths[1]), read_mask(to)
    assert new == join(one, other)
    assert said["ticket"]["arch"] == about["ticket"]["arch"]
    assert "criterion" not in said["ticket"]  # magnitude and random
    assert said["values"] == about["values"]  # both are of the dense network
    assert len(said["ticket"]["joined"]["of"]) == 2
    assert said["sparsity"] == new.sparsity


def test_values_that_differ_are_not_claimed(finished, tmp_path):
    to = tmp_path / "new.mask.safetensors"
    assert ticket("masks", "union", "ours@seed=0", "imp@seed=0", "--to", to, "--run", finished.root).code == 0
    assert "values" not in read_mask(to)[1]


def test_a_joined_mask_can_be_rewound_and_transferred(copy, tmp_path):
    to = tmp_path / "new.mask.safetensors"
    assert ticket("masks", "union", "ours@seed=0", "imp@seed=0", "--to", to, "--run", copy.root).code == 0
    base = ("--run", copy.root, "-q")
    assert ticket("rewind", "--ticket", to, "--to", "dense@seed=0", "--name", "joined", *base).code == 0
    data = ("--data.name", "digits", "--data.classes", "5,6", "--epochs", "1it", "--batch", "8")
    result = ticket("transfer", "--ticket", "joined", *data, "--name", "t", *base)
    assert result.code == 0, result


@pytest.mark.parametrize(
    ("words", "to", "code", "message"),
    [
        (["ours@seed=0", "imp@seed=0"], "new.safetensors", 2, "does not end in"),
        (["ours@seed=0", "imp@seed=0"], "old.mask.safetensors", 2, "refusing to replace"),
        (["ours@seed=0", "imp@seed=0"], "no/new.mask.safetensors", 5, "no such folder"),
        (["ours@seed=0"], "new.mask.safetensors", 2, "two masks or more"),
        (["old.mask.safetensors", "ours@seed=0"], "new.mask.safetensors", 6, "different networks"),
        (["old.mask.safetensors", "other.mask.safetensors"], "new.mask.safetensors", 2, "nothing lives in all"),
    ],
)
def test_what_cannot_be_joined_is_refused_and_nothing_is_written(
    finished, tmp_path, monkeypatch, words, to, code, message
):
    monkeypatch.chdir(tmp_path)
    write_mask(tmp_path / "old.mask.safetensors", Mask({"w": [True, False]}), {})
    write_mask(tmp_path / "other.mask.safetensors", Mask({"w": [False, True]}), {})
    before = (tmp_path / "old.mask.safetensors").read_bytes()
    result = ticket("masks", "intersect", *words, "--to", to, "--run", finished.root)
    assert result.code == code, result
    assert message in result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.mask.safetensors", "other.mask.safetensors"]
    assert (tmp_path / "old.mask.safetensors").read_bytes() == before
