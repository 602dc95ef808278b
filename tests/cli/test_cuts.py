"""Every stage is cut at chosen places, goes on with other workers, and ends in the bytes of a run that was not cut."""

import shutil
from dataclasses import dataclass
from itertools import cycle

import pytest

from tests.cli.command_line import digests, ticket, write
from tests.data.files import folder
from ticketcli.cli import drive
from ticketcli.cli.verify import problems_of
from ticketcli.data import lazy, scenes
from ticketcli.stopping import StopRequest
from ticketcli.store.run_folder import Run
from ticketcli.training import recalibrate

RECIPE = """
schema: 1
defaults:
  pretrain: {batch: 4, epochs: 2ep, milestones: [], lr: 0.05}
  train-decoder: {batch: 4, epochs: 2ep, milestones: [], optimizer: adamw}
  prune: {batch: 4, lr: 0.02, finetune: 2ep, rounds: 2, recalibrate_bn: 8, heal: 1ep}
  transfer: {batch: 4, epochs: 2ep, milestones: [], lr: 0.02}
steps:
  dense: {stage: pretrain, arch: resnet_small, data: {name: "folder:pets", validation: 0.25}, augment: resized-crop,
          image_size: 32, keep: [1it]}
  dec: {stage: train-decoder, encoder: dense}
  ours: {stage: prune, encoder: dense, decoder: dec}
  imp: {stage: prune, encoder: dense, lambda: 0, rewind: none, heal: 0ep}
  gmp: {stage: prune, encoder: dense, lambda: 0, schedule: gmp, to_sparsity: 0.5, rewind: none}
  surgeon: {stage: prune, encoder: dense, lambda: 0, criterion: lobs_refit, sparsities: {layer1.0.conv1: 0.5, fc: 0.3},
            prunable: weights, compensate: true, calibrate: 16, positions: 9, rounds: 1}
  back: {stage: rewind, ticket: ours/2, recalibrate_bn: 8}
  classes: {stage: transfer, ticket: ours/2, data: "folder:pets"}
  pixels: {stage: transfer, ticket: ours/2, task: semantic, schedule: tiny, channels: 8, epochs: 2ep,
           recalibrate_bn: 8, data: {name: scenes, images: 12}}
  objects: {stage: transfer, ticket: ours/2, task: segmentation, schedule: tiny, channels: 8, epochs: 2ep,
            recalibrate_bn: 8, samples: 8, proposals: 32, data: {name: scenes, images: 12}}
  worth: {stage: evaluate, of: ours/healed, decoder: dec, recalibrate_bn: 8, features: true, probe_images: 8}
  found: {stage: evaluate, of: objects}
  looks: {stage: evaluate, of: dense, beside: back, batch: 2, localize: {name: "scenes:folder:pets", count: 5,
          methods: [fr, gradcam, centre]}}
"""
# step -> its first poll in a training, and how many steps an epoch and that training have; () where nothing is trained
TRAININGS = {
    "dense": (0, 4, 8), "dec": (0, 4, 8), "ours": (0, 4, 8), "imp": (0, 4, 8), "gmp": (0, 4, 20),
    "surgeon": (0, 4, 8), "back": (), "classes": (0, 5, 10), "pixels": (0, 3, 6), "objects": (1, 3, 6), "worth": (), "found": (),
    "looks": (),
}  # fmt: skip
MEASUREMENTS = 4  # of a round, in a batch each


def places(step):
    """Place -> the poll at which the step is cut there."""
    if not TRAININGS[step]:
        return {"in a measurement": 0}
    first, per_epoch, steps = TRAININGS[step]
    named = {
        "first step": 0, "second step": 1, "last batch of an epoch": per_epoch - 2, "epoch boundary": per_epoch - 1,
        "in mid-epoch": per_epoch + 1, "last step": steps - 1, "in a measurement": steps,
    }  # fmt: skip
    named |= {"round boundary": steps + MEASUREMENTS - 1} if step in ("ours", "imp") else {}
    if step == "surgeon":  # what was finetuned is measured; two batches, two layers, and a word when all is done
        named |= {"in a calibration": steps + 1, "between two layers": steps + 3, "after the last layer": steps + 5,
                  "while outputs are compared": steps + 6}  # fmt: skip
    return {place: first + poll for place, poll in named.items()}


CASES = [(step, place) for step in TRAININGS for place in places(step)]
QUICK = [
    ("ours", "in a measurement"),
    ("ours", "round boundary"),
    ("surgeon", "in a calibration"),
    ("surgeon", "while outputs are compared"),
    ("classes", "in mid-epoch"),
    ("found", "in a measurement"),
]


@dataclass
class Cut:
    """Asks to stop at a poll; or, `after` it, when it is asked for the next time without a poll."""

    at: int | None = None
    after: bool = False
    polls: int = 0


@pytest.fixture
def cut(monkeypatch):
    """Where the next command is to stop."""
    told = Cut()

    class Request(StopRequest):
        polled = False

        def stepped(self):
            told.polls, self.polled = told.polls + 1, True

        @property
        def reason(self):
            self.polled, polled = False, self.polled
            reached = told.at is not None and told.polls > told.at
            return "the test" if reached and not (told.after and polled) else ""

    monkeypatch.setattr(drive, "StopRequest", Request)
    return told


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The finished run, its recipe and its images; few scenes, and nothing is kept in memory."""
    root = tmp_path_factory.mktemp("cuts")
    folder(root / "data" / "pets", each=11)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scenes.COUNTS, "validation", 9)
        patch.setitem(scenes.COUNTS, "test", 9)
        patch.setattr(lazy, "MEMORY_BYTES", 0)
        patch.setattr(recalibrate, "_BATCH", 8)
        recipe = write(root / "recipe.yaml", RECIPE)
        made = ticket("run", recipe, "--run", root / "run", "--data-dir", root / "data", "--workers", "0", "-q")
        assert made.code == 0, made
        yield root


def saved_states(run, step):
    return sorted(path.name for path in (run.step_folder(step) / "state").glob("*.safetensors"))


def step_alone(here, run, step, workers):
    return ticket("run", here / "recipe.yaml", "--only", step, "--run", run.root, "--data-dir", here / "data",
                  "--workers", workers, "-q")  # fmt: skip


@pytest.mark.parametrize(
    ("step", "place", "workers"),
    [
        pytest.param(*case, workers, marks=[] if case in QUICK else pytest.mark.slow)
        for case, workers in zip(CASES, cycle(["02", "20", "21"]))
    ],
)
def test_a_cut_run_ends_in_the_bytes_of_a_straight_one(here, cut, tmp_path, step, place, workers):
    shutil.copytree(here / "run", tmp_path / "run")
    run = Run(tmp_path / "run")
    straight = digests(run), run.metrics_path(step).read_bytes()
    shutil.rmtree(run.step_folder(step))
    cut.at, cut.after = places(step)[place], place == "round boundary"
    first = step_alone(here, run, step, workers[0])
    assert (first.code, "the test: " in first.err) == (75, True), first
    if place in ("in a calibration", "between two layers"):
        assert f"step {9 if place == 'in a calibration' else 11} is saved" in first.err
    if place in ("in a measurement", "while outputs are compared") and TRAININGS[step]:
        assert "what was trained is saved" in first.err
    assert not problems_of(run, [step]), "what a cut leaves is sound"
    cut.at = None
    assert step_alone(here, run, step, workers[1]).code == 0
    assert (digests(run), run.metrics_path(step).read_bytes()) == straight


def test_a_stop_while_images_to_measure_are_read_keeps_what_was_trained(here, cut, tmp_path, monkeypatch):
    monkeypatch.setattr(lazy, "MEMORY_BYTES", 2**20)
    shutil.copytree(here / "run", tmp_path / "run")
    run = Run(tmp_path / "run")
    straight = digests(run), run.metrics_path("dense").read_bytes()
    shutil.rmtree(run.step_folder("dense"))
    cut.at, cut.after = TRAININGS["dense"][2] - 1, True  # asked next when the validation images are decoded
    first = step_alone(here, run, "dense", 0)
    assert (first.code, "while the images were read" in first.err) == (75, True), first
    assert len(saved_states(run, "dense")) == 1
    cut.at = None
    assert step_alone(here, run, "dense", 0).code == 0
    assert cut.polls < 2 * TRAININGS["dense"][2], "nothing is trained again"
    assert (digests(run), run.metrics_path("dense").read_bytes()) == straight


def test_a_measurement_that_is_stopped_twice_says_twice_that_what_was_trained_is_saved(here, cut, tmp_path):
    shutil.copytree(here / "run", tmp_path / "run")
    run = Run(tmp_path / "run")
    shutil.rmtree(run.step_folder("ours"))
    for cut.at in (TRAININGS["ours"][2], 0):
        cut.polls = 0
        stopped = step_alone(here, run, "ours", 0)
        assert "what was trained is saved" in stopped.err, stopped
    assert len(saved_states(run, "ours")) == 1, "once is enough"
