"""Commands shared by two processes: their results beside one process's, cut and continued, and what is refused."""

import json
import shutil
import signal
import time

import pytest

from tests.cli.command_line import digests, ticket, write
from tests.ranks.members import ends, members, together, wait_for
from ticketcli.store.codec import read_mask
from ticketcli.store.run_folder import Run

pytestmark = pytest.mark.slow

HEAD = """
schema: 1
defaults:
  pretrain: {batch: 16, epochs: 2ep, milestones: [], lr: 0.05}
  train-decoder: {batch: 16, epochs: 1ep, milestones: []}
  prune: {batch: 16, lr: 0.002, finetune: 2it, rounds: 3, recalibrate_bn: 32}
  transfer: {batch: 16, epochs: 2ep, milestones: [], lr: 0.02}
steps:
  dense: {stage: pretrain, data: {name: digits, classes: [0, 1, 2], per_class: 20}}
  dec: {stage: train-decoder, encoder: dense}
  thin: {stage: prune, encoder: dense, lambda: 0, rounds: 1, finetune: 0ep, heal: 0ep}
"""
DIGITS = "data: {name: digits, classes: [5, 6]}"
SCENES = "data: {name: scenes, images: 12}"
STEPS = f"""
  both: {{stage: prune, encoder: dense, decoder: dec, rounds: 2}}
  rec: {{stage: prune, encoder: dense, decoder: dec, loss: rec, rounds: 1}}
  feat: {{stage: prune, encoder: dense, loss: feat, rounds: 1}}
  gmp: {{stage: prune, encoder: dense, decoder: dec, schedule: gmp, to_sparsity: 0.5, finetune: 1it, heal: 1it}}
  surgeon: {{stage: prune, encoder: dense, lambda: 0, criterion: lobs_refit, compensate: true, calibrate: 60, positions: 9,
            sparsities: {{layer1.0.conv1: 0.5, layer3.0.conv1: [0.3, 0.6]}}, rounds: 2}}
  again: {{stage: train-decoder, encoder: dense, seed: 3}}
  digits: {{stage: transfer, ticket: both/2, {DIGITS}}}
  pixels: {{stage: transfer, ticket: both/2, task: semantic, schedule: tiny, batch: 5, epochs: 4it, channels: 8, {SCENES}}}
  worth: {{stage: evaluate, of: dense, decoder: dec, batch: 32}}
  seen: {{stage: evaluate, of: thin, features: true, probe_images: 40, batch: 8}}
  looks: {{stage: evaluate, of: dense, beside: thin, batch: 2, localize: {{name: scenes, classes: 0-2, count: 7,
          methods: [fr, gradcam, centre]}}}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write(tmp_path_factory.mktemp("recipe") / "two.yaml", HEAD + STEPS.lstrip("\n"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The dense network, its decoder and a ticket, made by one process."""
    folder = tmp_path_factory.mktemp("made")
    result = ticket("run", write(folder / "r.yaml", HEAD), "--run", folder / "run", "-q")
    assert result.code == 0, result
    return folder / "run"


def begun(made, folder):
    """A run that begins with what one process has made."""
    shutil.copytree(made, folder)
    return folder


@pytest.fixture(scope="module")
def straight(made, recipe, tmp_path_factory):
    """The recipe made by two processes without a cut; look, do not touch."""
    folder = begun(made, tmp_path_factory.mktemp("straight") / "run")
    first, second = together("run", recipe, "--run", folder)
    assert (first.code, second.code) == (0, 0), (first, second)
    assert second.err == ""
    return Run(folder)


def files(run, *steps):
    """What must not depend on cuts: digests of outputs, and the bytes of the metrics; of all steps, or of some."""
    steps = steps or run.steps()
    outputs = {name: found for name, found in digests(run).items() if name.partition("/")[0] in steps}
    return outputs, {step: run.metrics_path(step).read_bytes() for step in steps}


def test_the_first_alone_speaks_and_writes_and_says_how_many_they_were(straight):
    for step in ("both", "again", "digits", "pixels", "worth"):
        for unit in straight.manifest(step).units.values():
            assert unit.environment["processes"] == 2
    assert straight.manifest("dense").units["dense"].environment["processes"] == 1
    assert ticket("verify", "--run", straight.root).code == 0


def test_an_evaluation_by_two_has_the_bytes_of_one(straight, made, recipe, tmp_path):
    folder = begun(made, tmp_path / "run")
    result = ticket("run", recipe, "--run", folder, "--only", "worth")
    assert result.code == 0, result
    one, two = (json.loads((root / "worth" / "metrics.json").read_text()) for root in (folder, straight.root))
    assert two["correct"] == one["correct"]
    assert two["psnr"] == pytest.approx(one["psnr"], abs=1e-5)
    assert one == two


def test_features_compared_by_two_have_the_bytes_of_one(straight, made, recipe, tmp_path):
    folder = begun(made, tmp_path / "run")
    assert ticket("run", recipe, "--run", folder, "--only", "seen").code == 0
    one, two = ((root / "seen" / "metrics.json").read_bytes() for root in (folder, straight.root))
    assert b"dense_probe" in one
    assert one == two


def test_two_processes_find_the_objects_that_one_finds(straight, made, recipe, tmp_path):
    folder = begun(made, tmp_path / "run")
    assert ticket("run", recipe, "--run", folder, "--only", "looks").code == 0
    one, two = ((root / "looks" / "metrics.json").read_bytes() for root in (folder, straight.root))
    assert b'"shared"' in one
    assert one == two


def test_the_masks_of_two_are_nearly_those_of_one(straight, made, recipe, tmp_path):
    """Nearly: BatchNorm sees eight images where it saw sixteen. By chance they would share 67 and 48 %."""
    folder = begun(made, tmp_path / "run")
    assert ticket("run", recipe, "--run", folder, "--only", "both/2").code == 0
    for number in ("01", "02"):
        one, two = (
            read_mask(root / "both" / f"round-{number}.mask.safetensors")[0] for root in (folder, straight.root)
        )
        assert one.kept == two.kept
        assert one.overlap(two) > 0.95


def test_signalled_in_a_round_and_continued_they_make_the_same_bytes(straight, made, recipe, tmp_path):
    folder = begun(made, tmp_path / "run")
    for words in ("weights prunable", "round-01 done", "decoder:", "training images of 64"):
        with members("-m", "ticketcli", "run", recipe, "--run", folder, "--save-every", "0") as started:
            wait_for(started[0], words)
            for process in started:
                process.send_signal(signal.SIGTERM)
            first, second = ends(started, within=60)
        assert first.code == 75, first
        assert "stopped: SIGTERM" in first.err
        assert second.code in (0, 75), second
    first, _ = together("run", recipe, "--run", folder)
    assert first.code == 0, first
    assert files(Run(folder)) == files(straight)


def test_one_that_is_killed_ends_the_other_within_seconds_and_costs_no_bytes(straight, made, recipe, tmp_path):
    folder = begun(made, tmp_path / "run")
    with members("-m", "ticketcli", "run", recipe, "--run", folder, "--only", "both", "--save-every", "0") as started:
        wait_for(started[0], "round-01 done")
        started[1].kill()
        killed = time.monotonic()
        first = ends(started)[0]
        assert time.monotonic() - killed < 20
    assert first.code == 1
    assert "another process of this run has ended" in first.err
    first, _ = together("run", recipe, "--run", folder, "--only", "both")
    assert first.code == 0, first
    assert "resume: " in first.err
    assert files(Run(folder), "both") == files(straight, "both")


def test_another_number_of_processes_is_refused_and_told_the_way_out(made, recipe, tmp_path):
    folder = begun(made, tmp_path / "run")
    with members("-m", "ticketcli", "run", recipe, "--run", folder, "--save-every", "0") as started:
        wait_for(started[0], "weights prunable")
        for process in started:
            process.send_signal(signal.SIGTERM)
        first = ends(started, within=60)[0]
    assert first.code == 75
    assert "saved" in first.err
    result = ticket("run", recipe, "--run", folder)
    assert result.code == 2, result
    assert "round-01 was begun by 2 processes, and one process cannot go on with it" in result.err
    assert "--nproc 2" in result.err
    result = ticket("run", recipe, "--run", folder, "--only", "both", "--resume", "never", "-q")
    assert result.code == 0, result


def test_both_end_with_the_error_of_a_setting_that_two_cannot_have_and_what_was_made_stays(straight, tmp_path):
    recipe = write(tmp_path / "r.yaml", HEAD + "  both: {stage: prune, encoder: dense, decoder: dec, batch: 1}\n")
    folder = begun(straight.root, tmp_path / "run")
    first, second = together("run", recipe, "--run", folder)
    assert files(Run(folder), "both") == files(straight, "both")
    for ended in (first, second):
        assert ended.code == 2, ended
        assert "a batch of 1 image cannot be divided among 2 processes" in ended.err


def test_a_placebo_of_which_a_process_would_have_one_image_is_refused(made, tmp_path):
    settings = "stage: prune, encoder: dense, decoder: dec, target: placebo, rounds: 1, finetune: 1it, heal: 0ep"
    for batch, code in ((3, 2), (4, 0)):
        recipe = write(tmp_path / "r.yaml", HEAD + f"  p: {{{settings}, batch: {batch}}}\n")
        first, _ = together("run", recipe, "--run", begun(made, tmp_path / str(batch)))
        assert first.code == code, first
        assert ("a process has one alone" in first.err) == (code == 2)


def test_workers_may_change_between_two_starts(straight, made, recipe, tmp_path):
    folder = begun(made, tmp_path / "run")
    with members(
        "-m", "ticketcli", "run", recipe, "--run", folder, "--only", "both", "--save-every", "0", "--workers", "0"
    ) as started:
        wait_for(started[0], "round-01 done")
        for process in started:
            process.send_signal(signal.SIGUSR2)
        assert ends(started, within=60)[0].code == 75
    first, _ = together("run", recipe, "--run", folder, "--only", "both", "--workers", "2")
    assert first.code == 0, first
    assert files(Run(folder), "both") == files(straight, "both")
