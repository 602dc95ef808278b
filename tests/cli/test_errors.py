"""Bad input: one clear message, the documented exit code, nothing lost."""

import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.cli.command_line import TINY, digests, ticket, write
from ticketcli.store.codec import write_mask
from ticketcli.store.mask import Mask
from ticketcli.store.tensorfile import metadata_for


def prune(run, *flags):
    base = (
        "prune",
        "--encoder",
        "dense@seed=0",
        "--lambda",
        "0",
        "--finetune",
        "1it",
        "--batch",
        "16",
        "--name",
        "new",
    )
    return ticket(*base, *flags, "--run", run.root)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--fraction", "0"), "fraction"),
        (("--fraction", "1"), "fraction"),
        (("--fraction", "1.5"), "fraction"),
        (("--fraction", "lots"), "fraction"),
        (("--rounds", "0"), "rounds"),
        (("--rounds", "-1"), "rounds"),
        (("--rounds", "2.5"), "rounds"),
        (("--finetune", "10"), "is not a duration"),
        (("--lambda", "-1"), "lambda"),
        (("--criterion", "magnitud"), "criterion"),
        (("--data", "digit"), "unknown image set 'digit'"),
        (("--data.name", "digits", "--data.classes", "7,77"), "no class 77"),
        (("--augment", "wild"), "augment"),
        (("--device", "warp"), "cannot compute on 'warp'"),
        (("--seed", "-1"), "seed"),
        (("--fraction", "1e-7"), "a round would drop nothing"),
        (("--fractoin", "0.2"), "No such option"),
    ],
)
def test_unusable_settings_end_with_code_2_and_one_message(copy, flags, message):
    before = digests(copy)
    result = prune(copy, *flags)
    assert result.code == 2, result
    assert message in result.err
    assert "Traceback" not in result.err
    assert digests(copy) == before


def test_all_mistakes_of_a_recipe_are_shown_at_once(tmp_path):
    recipe = write(
        tmp_path / "r.yaml", TINY.replace("rounds: 3", "fractoin: 0.2").replace("stage: rewind", "stage: revind")
    )
    result = ticket("run", recipe, "--run", tmp_path / "run")
    assert result.code == 2
    assert "unknown key 'fractoin'" in result.err
    assert "did you mean 'fraction'?" in result.err
    assert "unknown stage 'revind'" in result.err
    assert not (tmp_path / "run").exists()


NAMES = ["../evil", "a/b", "", ".old", ".", "-x", "steps", "a b", "ours@", "n" * 201]


@pytest.mark.parametrize("name", ["ours@../seed=0", "ours@seed", "a/b@seed=0", "ours@seed=a/b", "n@seed=" + 200 * "0"])
def test_a_repetition_is_not_called_what_no_recipe_calls_it(tmp_path, name):
    result = ticket("pretrain", "--data", "digits", f"--name={name}", "--run", tmp_path, "--dry-run")
    assert result.code == 2, result
    assert "cannot be a step's name" in result.err


def test_a_repetition_of_a_recipes_step_can_be_named(tmp_path):
    name = "ours@arm=imp-rec-7,seed=0"
    result = ticket("pretrain", "--data", "digits", f"--name={name}", "--run", tmp_path, "--dry-run")
    assert result.code == 0, result


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_not_called_what_a_recipe_could_not_call_it(tmp_path, name):
    run = tmp_path / "in" / "run"
    result = ticket("pretrain", "--data", "digits", f"--name={name}", "--run", run, "--dry-run")
    assert result.code == 2, result
    assert "cannot be a step's name" in result.err
    assert "letters, digits, - and _" in result.err
    recipe = write(tmp_path / "r.yaml", f"schema: 1\nsteps: {{{name!r}: {{stage: pretrain, data: digits}}}}")
    refused = ticket("validate", recipe)
    assert refused.code == 2
    assert "cannot be a step's name" in refused.out + refused.err


@pytest.mark.parametrize("name", ["a", "0", "my_dense-2", "n" * 200])
def test_a_good_name_is_taken(tmp_path, name):
    assert ticket("pretrain", "--data", "digits", "--name", name, "--run", tmp_path, "--dry-run").code == 0


def test_an_unknown_command_is_refused(tmp_path):
    assert ticket("prnue").code == 2


def test_a_missing_input_names_the_command_that_makes_it(tmp_path):
    result = ticket("prune", "--run", tmp_path / "run")
    assert result.code == 5
    assert "ticket pretrain" in result.err
    result = ticket("prune", "--encoder", tmp_path / "none.safetensors", "--lambda", "0", "--run", tmp_path / "run")
    assert result.code == 5
    assert "no such file" in result.err


def test_a_step_or_output_that_is_not_there_is_named(copy):
    result = prune(copy, "--encoder", "dense@seed=9")
    assert result.code == 5
    assert "no step 'dense@seed=9'" in result.err
    result = ticket("transfer", "--ticket", "ours@seed=0/9", "--data", "digits", "--run", copy.root)
    assert result.code == 5
    assert "makes no '9'" in result.err


def test_two_possible_inputs_have_to_be_told_apart(copy):
    result = ticket("evaluate", "--run", copy.root)
    assert result.code == 2
    assert "several steps could be the of" in result.err


def test_a_recipe_that_is_not_there_is_named(tmp_path):
    result = ticket("run", tmp_path / "none.yaml")
    assert result.code == 5
    assert "no recipe" in result.err


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "garbage"])
@pytest.mark.parametrize("what", ["dense.safetensors", "round-02.mask.safetensors"])
def test_a_damaged_file_is_refused_with_code_6_and_nothing_is_lost(copy, damage, what):
    step = "dense@seed=0" if what.startswith("dense") else "ours@seed=0"
    path = copy.step_folder(step) / what
    whole = path.read_bytes()
    spoiled = {
        "truncate": whole[:-3],
        "flip": whole[:-1] + bytes([whole[-1] ^ 1]),
        "empty": b"",
        "garbage": b"not a tensor file" * 100,
    }[damage]
    path.write_bytes(spoiled)
    result = ticket("transfer", "--name", "new", "--ticket", "ours@seed=0/2", "--data", "digits", "--run", copy.root)
    assert result.code == 6, result
    assert what in result.err
    assert ticket("verify", "--run", copy.root).code == 6
    path.write_bytes(whole)
    assert ticket("verify", "--run", copy.root).code == 0


def test_a_mask_of_another_architecture_is_refused_by_the_name_that_differs(copy, tmp_path):
    other = tmp_path / "other.mask.safetensors"
    write_mask(other, Mask.full({"layer1.0.conv1.weight": (16, 16, 3, 3), "elsewhere.weight": (3,)}), {})
    result = ticket("rewind", "--name", "new", "--ticket", other, "--to", "dense@seed=0", "--run", copy.root)
    assert result.code == 6, result
    assert "'elsewhere.weight'" in result.err


def test_a_checkpoint_of_another_architecture_is_refused_by_name(copy, tmp_path):
    about = copy.manifest("dense@seed=0").artifacts()["dense"].about
    other = tmp_path / "other.safetensors"
    save_file({"conv1.weight": np.zeros((4, 3, 3, 3), np.float32)}, other, metadata=metadata_for("dense", about))
    result = prune(copy, "--encoder", other)
    assert result.code == 6
    assert "lacks" in result.err or "is (4, 3, 3, 3)" in result.err


def test_a_file_of_the_wrong_kind_is_refused(copy):
    result = prune(copy, "--encoder", copy.step_folder("dec@seed=0") / "decoder.safetensors")
    assert result.code == 2
    assert "needs a dense" in result.err
    assert "name a dense checkpoint" in result.err
    foreign = copy.root / "foreign.safetensors"
    save_file({"w": np.zeros(3, np.float32)}, foreign)
    assert prune(copy, "--encoder", foreign).code == 6


def test_a_damaged_manifest_is_named(copy):
    (copy.step_folder("ours@seed=0") / "manifest.json").write_text('{"format": 1')
    result = ticket("status", "--run", copy.root)
    assert result.code == 6
    assert "the manifest is damaged" in result.err


def test_a_setting_that_is_wrong_is_told_before_an_input_that_is_not_there(tmp_path):
    result = ticket("prune", "--criterion", "magnitud", "--run", tmp_path / "empty")
    assert result.code == 2
    assert "criterion" in result.err
    assert "no dense" not in result.err


def test_rewinding_to_the_beginning_needs_the_kept_values(tmp_path):
    run = tmp_path / "run"
    data = ("--data", "{name: digits, classes: [0, 1], per_class: 16}")
    assert ticket("pretrain", *data, "--epochs", "1it", "--batch", "8", "--run", run).code == 0
    result = ticket("prune", "--lambda", "0", "--rewind", "init", "--run", run)
    assert result.code == 5
    assert "pretrain with keep: [0ep]" in result.err


def test_a_locked_step_is_refused_and_the_holder_goes_on(copy):
    code = (
        "import sys, pathlib\nfrom ticketcli.store.lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), what='new'):\n    print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(copy.lock_path("new"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        result = prune(copy)
        holder.communicate()
    assert result.code == 7
    assert "another process works on 'new'" in result.err


def test_a_run_that_diverges_ends_with_code_9_and_keeps_what_was_good(copy):
    result = prune(copy, "--lr", "1e30", "--rounds", "2", "--finetune", "20it")
    assert result.code == 9, result
    assert "lower lr" in result.err


def test_shipped_recipes_are_not_overwritten_when_copied(tmp_path):
    assert ticket("recipes", "cp", "demo", tmp_path).code == 0
    assert (tmp_path / "demo.yaml").is_file()
    assert ticket("recipes", "cp", "demo", tmp_path).code == 2


@pytest.fixture(scope="module")
def of_large_images(tmp_path_factory):
    """A run with a dense network whose stem is for large images."""
    run = tmp_path_factory.mktemp("large")
    made = ticket("pretrain", "--arch", "resnet18", "--image-size", "96", "--data", "digits", "--data.per-class", "2",
                  "--epochs", "0it", "--batch", "8", "--name", "dense", "--run", run)  # fmt: skip
    assert made.code == 0, made.err
    return run


def test_small_images_under_a_net_for_large_ones_are_a_choice(of_large_images):
    flags = ("transfer", "--ticket", "dense", "--data", "digits", "--data.per-class", "2", "--epochs", "1it",
             "--milestones", "[]", "--batch", "8", "--run", of_large_images)  # fmt: skip
    refused = ticket(*flags)
    assert refused.code == 2
    assert "these images have 32 pixels, and the network was trained on 96" in refused.err
    assert "--image-size 32" in refused.err
    assert not (of_large_images / "transfer" / "manifest.json").exists()
    small = ticket(*flags, "--image-size", "32", "--name", "small")
    assert small.code == 0, small.err
    assert "a fresh 3x3 stem" in small.err


def test_batchnorm_cannot_stand_still_behind_a_fresh_stem(of_large_images):
    flags = ("transfer", "--ticket", "dense", "--data", "digits", "--data.per-class", "2", "--epochs", "1it", "--milestones",
             "[]", "--batch", "8", "--image-size", "32", "--batchnorm", "frozen", "--name", "still", "--run", of_large_images)  # fmt: skip
    refused = ticket(*flags)
    assert refused.code == 2
    assert "BatchNorm cannot stand still behind a fresh 3x3 stem" in refused.err
