"""A GUNN from the command line, in every place where an encoder can stand."""

import importlib.util
import json

import pytest
import torch

from tests.cli.command_line import ticket, write
from ticketcli.execution.exchange import load_input
from ticketcli.plan import _absolute
from ticketcli.stages.networks import body_of, network_from
from ticketcli.store.run_folder import Run

RECIPE = """
schema: 1
defaults:
  pretrain: {batch: 16, epochs: 2ep, milestones: [], lr: 0.05, nesterov: true, augment: crop-flip-jigsaw}
  train-decoder: {batch: 16, epochs: 2it, milestones: [], hints: [layer2, layer3]}
  prune: {batch: 16, finetune: 1it, heal: 1it, recalibrate_bn: 32, encoder: dense, rounds: 1}
  transfer: {batch: 16, epochs: 2it, milestones: [], lr: 0.02}
steps:
  dense: {stage: pretrain, arch: "gunn:cifar-8-9/3-4+8-16/2-12", data: {name: digits, classes: [0, 1, 2], per_class: 20}}
  dec: {stage: train-decoder, encoder: dense}
  ours: {stage: prune, decoder: dec}
  by:
    stage: prune
    for_each: {criterion: [lobs, lobs_refit, obc, sparsegpt, wanda, obd]}
    criterion: $criterion
    loss: cls
    calibrate: 16
  channels:
    stage: prune
    for_each: {score: [l1, l2, bn_scale, random]}
    criterion: $score
    granularity: channel
    loss: cls
    channel_fraction: 0.4
  scop: {stage: prune, granularity: channel, criterion: scop, loss: cls, channel_fraction: 0.4, selection: 2it, calibrate: 32}
  free: {stage: prune, granularity: channel, criterion: random, scope: global, loss: cls, channel_fraction: 0.3, seed: 3}
  chance: {stage: prune, criterion: random, loss: cls}
  back: {stage: rewind, ticket: ours/1}
  small: {stage: compact, ticket: free/healed}
  least: {stage: compact, ticket: scop/healed}
  again: {stage: prune, encoder: small, loss: cls, granularity: channel, criterion: l1, channel_fraction: 0.5}
  smaller: {stage: compact, ticket: again/healed}
  mirror: {stage: train-decoder, encoder: small}
  classes:
    stage: transfer
    for_each: {arm: [ours/1, small]}
    ticket: $arm
    data: {name: digits, classes: [5, 6]}
  pixels:
    stage: transfer
    for_each: {arm: [ours/1, small]}
    ticket: $arm
    task: semantic
    data: {name: scenes, images: 12}
    schedule: tiny
    batch: 4
    channels: 8
    recalibrate_bn: 32
  boxes: {stage: transfer, ticket: small, task: detection, data: {name: scenes, images: 12}, schedule: tiny, batch: 4,
          channels: 8, recalibrate_bn: 32}
  worth: {stage: evaluate, of: small, features: true, probe_images: 20}
  rebuilt: {stage: evaluate, of: back, decoder: dec, beside: dense, pictures: 2}
"""
pytestmark = pytest.mark.slow  # all that stages do, once
BY_LAYER = ("lobs", "lobs_refit", "obc", "sparsegpt", "wanda", "obd")
SIZES = {"layer1": [3, 3, 3], "layer2": [4, 8], "layer3": [8, 8]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gunn")
    made = ticket("run", write(folder / "r.yaml", RECIPE), "--run", folder / "run", "-q")
    assert made.code == 0, made
    return Run(folder / "run")


def loaded(run, step, output):
    return load_input(step, _absolute(run.manifest(step).artifacts()[output], run.step_folder(step)))


def network(run, step, output):
    return network_from(loaded(run, step, output), torch.device("cpu"))


def images():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_checkpoints_say_the_sizes_of_the_segments(run):
    for step, output in (
        ("dense", "dense"),
        ("ours", "1"),
        ("classes@arm=ours-1", "task"),
        ("pixels@arm=ours-1", "task"),
    ):
        assert loaded(run, step, output).about["segments"] == SIZES, step


def test_channels_fall_from_the_state_and_leave_unequal_segments(run):
    """G7."""
    small = loaded(run, "small", "compact").about["segments"]
    assert any(len(set(sizes)) > 1 for name, sizes in small.items() if name != "layer2")
    for step, output in (("small", "compact"), ("classes@arm=small", "task"), ("boxes", "task"), ("again", "healed")):
        assert loaded(run, step, output).about["segments"] == small, step
        body = body_of(network(run, step, output))
        assert {name: list(body.get_submodule(name).segments) for name in SIZES} == small
        assert body.layer1.units[0].conv1.in_channels == sum(small["layer1"]) == body.transition1[0].out_channels
    smaller = loaded(run, "smaller", "compact").about["segments"]
    assert all(sum(smaller[name]) < sum(small[name]) for name in SIZES)


@pytest.mark.parametrize(("one", "other"), [("small", "free"), ("least", "scop"), ("smaller", "again")])
def test_a_compact_network_computes_what_its_ticket_does_and_its_taps_keep_their_width(run, one, other):
    """G7."""
    few, whole = network(run, one, "compact"), network(run, other, "healed")
    torch.testing.assert_close(few(images()), whole(images()), rtol=1e-4, atol=1e-5)
    for name, tap in whole.taps(images()).items():
        torch.testing.assert_close(few.taps(images())[name], tap, rtol=1e-4, atol=1e-5)
    assert [tap.shape[1] for tap in few.taps(images()).values()] == [9, 12, 16]
    assert run.manifest(one).units["compact"].metrics["difference"] < 1e-12


@pytest.mark.parametrize("step", ["ours", "chance", *(f"by@criterion={name}" for name in BY_LAYER)])
def test_a_fifth_of_the_weights_falls_by_every_criterion(run, step):
    mask = loaded(run, step, "1").mask
    assert mask.dropped == round(0.2 * mask.total)
    assert any("units" in name for name, bits in mask.items() if not bits.all())


@pytest.mark.parametrize("step", ["channels@score=l1", "channels@score=l2", "channels@score=bn_scale", "scop"])
def test_a_share_of_each_segment_falls_by_every_criterion_of_channels(run, step):
    layers = run.manifest(step).units["round-01"].metrics["channels"]["layers"]
    assert layers["layer2.units.1.conv3"] == {"kept": 8 - int(0.4 * 8), "of": 8}
    assert layers["layer1.units.0.conv1"] == {"kept": 6 - int(0.4 * 6), "of": 6}
    assert "transition1.0" not in layers  # its rows are those of the segments


def test_what_the_masks_say_of_costs_is_what_the_compact_networks_have(run):
    for one, other in (("small", "free"), ("least", "scop")):
        cost, said = run.manifest(other).units["round-01"].metrics["cost"], run.manifest(one).units["compact"].metrics
        assert (said["parameters"], said["macs"]) == (cost["parameters_left"], cost["macs_left"])


def test_output_errors_of_criteria_by_layer_are_bounded(run):
    found = run.manifest("by@criterion=lobs").units["round-01"].metrics
    assert "unbounded" not in json.dumps(found)


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="ONNX Runtime is not installed")
@pytest.mark.parametrize("of", ["ours/1", "small"])
def test_it_goes_out_packed_and_as_onnx_and_comes_back(run, tmp_path, of):
    made = ticket("export", of, "--to", tmp_path / "net.onnx", "--run", run.root)
    assert made.code == 0, made
    if of == "small":
        return
    packed = tmp_path / "net.ticket.safetensors"
    assert ticket("export", of, "--to", packed, "--run", run.root).code == 0
    assert ticket("import", packed, "--name", "came", "--run", run.root, "-q").code == 0
    assert torch.equal(network(run, "came", "ticket")(images()), network(run, "ours", "1")(images()))


def test_a_description_that_makes_no_network_is_an_error_of_usage(tmp_path):
    made = ticket("pretrain", "--arch", "gunn:cifar-8-9/2", "--data", "digits", "--run", tmp_path / "run", "-q")
    assert made.code == 2
    assert "9 channels do not divide into 2 equal segments" in made.err
    assert "5+4" in made.err
