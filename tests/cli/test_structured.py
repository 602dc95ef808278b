"""Channels from the command line: pruned, compacted, and loaded by every stage that takes a network."""

import json

import pytest
import torch

from tests.cli.command_line import ticket, write
from ticketcli.execution.exchange import load_input
from ticketcli.plan import _absolute
from ticketcli.stages.networks import body_of, network_from
from ticketcli.store.run_folder import Run
from ticketcli.tensors.files import read_checkpoint, write_checkpoint

CHANNELS = ["--loss", "cls", "--granularity", "channel", "--criterion", "l1", "--channel-fraction", "0.2"]
RECIPE = """
schema: 1
defaults:
  pretrain: {batch: 16, epochs: 2ep, milestones: [], lr: 0.05}
  train-decoder: {batch: 16, epochs: 1it, milestones: []}
  prune: {batch: 16, finetune: 1it, heal: 1it, recalibrate_bn: 32}
  transfer: {batch: 16, epochs: 2it, milestones: [], lr: 0.02}
steps:
  dense: {stage: pretrain, data: {name: digits, classes: [0, 1, 2], per_class: 20}}
  ours: {stage: prune, encoder: dense, loss: cls, granularity: channel, criterion: l1, rounds: 2, fraction: 0.3}
  cifar: {stage: pretrain, arch: resnet20, epochs: 1it, data: {name: digits, classes: [0, 1, 2], per_class: 20}}
  weights: {stage: prune, encoder: dense, loss: cls, rounds: 1, heal: 0ep}
  small: {stage: compact, ticket: ours/healed}
  dec: {stage: train-decoder, encoder: small}
  again: {stage: prune, encoder: small, loss: cls, rounds: 1}
  deeper: {stage: prune, encoder: small, loss: cls, granularity: channel, criterion: l2, channel_fraction: 0.3}
  smaller: {stage: compact, ticket: deeper/healed}
  other: {stage: transfer, ticket: small, data: {name: digits, classes: [5, 6]}}
  under: {stage: transfer, ticket: ours/healed, data: {name: digits, classes: [5, 6]}}
  narrow: {stage: prune, encoder: dense, loss: cls, granularity: channel, criterion: l1, channel_fraction: 0.4, residual: true}
  back: {stage: rewind, ticket: narrow/1, to: dense}
  slim: {stage: compact, ticket: back}
  slimmer: {stage: prune, encoder: slim, loss: cls, granularity: channel, criterion: l2, channel_fraction: 0.3, residual: true}
  least: {stage: compact, ticket: slimmer/healed}
  solved: {stage: prune, encoder: slim, loss: cls, criterion: lobs, rounds: 1, calibrate: 32, compensate: true}
  deep: {stage: pretrain, arch: resnet18_3x3, epochs: 1it, data: {name: digits, classes: [0, 1, 2], per_class: 10}}
  deep-narrow: {stage: prune, encoder: deep, loss: cls, granularity: channel, criterion: l1, channel_fraction: 0.9, residual: true, heal: 0ep}
  deep-slim: {stage: compact, ticket: deep-narrow/1}
  inner: {stage: prune, encoder: deep-slim, loss: cls, granularity: channel, criterion: l1, channel_fraction: 0.02, scope: global,
          residual: true, heal: 0ep}
  inner-slim: {stage: compact, ticket: inner/1}
  carried: {stage: transfer, ticket: slim, task: semantic, data: {name: scenes, images: 12}, schedule: tiny, batch: 4,
            channels: 8, recalibrate_bn: 32}
  scenes: {stage: transfer, ticket: small, task: semantic, data: {name: scenes, images: 12}, schedule: tiny,
           batch: 4, channels: 8, recalibrate_bn: 32}
  seen: {stage: evaluate, of: scenes}
  worth: {stage: evaluate, of: small}
  whole: {stage: evaluate, of: ours/healed}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("structured")
    made = ticket("run", write(folder / "r.yaml", RECIPE), "--run", folder / "run", "-q")
    assert made.code == 0, made
    return Run(folder / "run")


def loaded(run, step, output):
    return load_input(step, _absolute(run.manifest(step).artifacts()[output], run.step_folder(step)))


def network(run, step, output):
    return network_from(loaded(run, step, output), torch.device("cpu"))


def metrics(run, step, unit):
    return run.manifest(step).units[unit].metrics


def test_the_compact_network_says_its_widths_and_computes_what_the_ticket_does(run):
    found = loaded(run, "small", "compact")
    assert (found.kind, found.mask) == ("compact", None)
    assert found.about["widths"]["layer4.0.conv1"] == 128 - int(0.51 * 128)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    small, masked = network(run, "small", "compact"), network(run, "ours", "healed")
    torch.testing.assert_close(small(images), masked(images), rtol=1e-5, atol=1e-5)
    said = metrics(run, "small", "compact")
    assert said["difference"] < 1e-12
    assert said["difference_float32"] < 1e-5
    assert said["checked_on"] == 64
    assert said["parameters"] == metrics(run, "ours", "round-02")["cost"]["parameters_left"]
    assert said["macs"] == metrics(run, "ours", "round-02")["cost"]["macs_left"]
    assert said["before"]["macs"] == metrics(run, "ours", "round-02")["cost"]["macs"]
    assert said["channels"] == {key: metrics(run, "ours", "round-02")["channels"][key] for key in ("kept", "of")}


def test_it_is_worth_what_the_ticket_is(run):
    worth, whole = (metrics(run, step, "metrics") for step in ("worth", "whole"))
    assert worth["top1"] == whole["top1"]
    assert worth["parameters"] < whole["parameters"]
    assert "sparsity" not in worth


def test_it_is_transferred_decoded_and_pruned_as_a_dense_network_is(run):
    widths = loaded(run, "small", "compact").about["widths"]
    for step, output in (("other", "task"), ("scenes", "task"), ("again", "healed"), ("deeper", "1")):
        found = loaded(run, step, output)
        assert found.about["widths"] == widths
        body = body_of(network(run, step, output))
        assert {name: body.get_submodule(name).out_channels for name in widths} == widths
    smaller = loaded(run, "smaller", "compact").about["widths"]
    assert smaller["layer1.0.conv1"] < widths["layer1.0.conv1"]
    assert smaller["layer1.0.conv2"] == widths["layer1.0.conv2"]  # joins a sum, and is cut once


def test_channels_of_residual_sums_fall_whatever_values_a_ticket_is_given_and_every_stage_rebuilds_the_network(run):
    found = loaded(run, "slim", "compact")
    assert found.about["residual"] is True
    widths = found.about["widths"]
    assert widths["layer4.0.conv2"] == 128 - int(0.4 * 128)
    body = body_of(network(run, "carried", "task"))
    assert body.layer4[0].downsample[0].out_channels == widths["layer4.0.conv2"]
    assert network(run, "slim", "compact").fc.in_features == widths["layer4.0.conv2"]
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    small, masked = network(run, "slim", "compact"), network(run, "back", "ticket")
    torch.testing.assert_close(small(images), masked(images), rtol=1e-5, atol=1e-5)
    for name, tap in masked.taps(images).items():
        torch.testing.assert_close(small.taps(images)[name], tap, rtol=1e-5, atol=1e-5)
    assert metrics(run, "slim", "compact")["macs"] == metrics(run, "narrow", "round-01")["cost"]["macs_left"]
    least = loaded(run, "least", "compact").about
    assert least["residual"] is True
    assert least["widths"]["layer4.0.conv2"] < widths["layer4.0.conv2"]
    assert "residual" not in loaded(run, "small", "compact").about
    assert loaded(run, "solved", "1-compensated").about["widths"] == widths
    assert metrics(run, "solved", "round-01")["kept"] == round(0.8 * metrics(run, "solved", "round-01")["prunable"])


def test_what_lost_channels_of_sums_once_and_others_later_is_read_as_it_was_before(run):
    before, after = (loaded(run, step, "compact").about for step in ("deep-slim", "inner-slim"))
    sums = [f"layer{stage}.1.conv2" for stage in (2, 3, 4)]
    assert [after["widths"][name] for name in sums] == [before["widths"][name] for name in sums]
    assert after["residual"] is True
    assert set(after["widths"]) == set(before["widths"])
    assert after["widths"] != before["widths"]
    network(run, "inner-slim", "compact")


def test_a_transfer_under_a_mask_is_compacted_too(run):
    made = ticket("compact", "under", "--name", "late", "--run", run.root, "--json", "-q")
    assert made.code == 0, made
    assert json.loads(made.out)["units"]["compact"]["difference"] < 1e-12
    assert network(run, "late", "compact")(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def test_lineage_leads_back_to_the_dense_network(run):
    made = ticket("evaluate", "--of", "other", "--features", "true", "--probe-images", "20", "--name", "taps",
                  "--run", run.root, "--json", "-q")  # fmt: skip
    assert made.code == 0, made
    assert json.loads(made.out)["units"]["metrics"]["features_of"]["dense"] == "dense"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["compact", "weights/1"], "drops single weights, and no channel as a whole"),
        (["compact", "small"], "ticket needs a ticket, 'small' is a compact"),
        (["compact", "scenes"], "nothing of this network is masked"),
        (["rewind", "--ticket", "small"], "has no mask; name the ticket that it was made of"),
        (["rewind", "--ticket", "again/1", "--to", "dense"], "have other numbers of channels"),
        (["prune", "--encoder", "small", "--rewind", "dense", "--loss", "cls"], "have other numbers of channels"),
        (["prune", "--encoder", "dense", "--loss", "cls", "--criterion", "scop"], "add granularity: channel"),
        (["prune", "--encoder", "slim", *CHANNELS], "made smaller with the channels of residual sums"),
        (["prune", "--encoder", "small", *CHANNELS, "--residual", "true"], "without the channels of residual sums"),
        (["prune", "--encoder", "cifar", *CHANNELS, "--residual", "true"], "no residual sum of this network"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_way_out(run, words, says):
    refused = ticket(*words, "--name", "refused", "--run", run.root, "-q")
    tensors_differ = "other numbers of channels" in says or "is masked" in says
    assert refused.code == (6 if tensors_differ else 2), refused
    assert says in refused.err, refused.err
    assert "try:" in refused.err
    assert "Traceback" not in refused.err


def test_widths_of_another_architecture_are_refused(run, tmp_path):
    found = read_checkpoint(run.step_folder("small") / "compact.safetensors")
    about = {**found.about, "widths": {**found.about["widths"], "layer4.0.conv1": 4096}}
    write_checkpoint(tmp_path / "odd.safetensors", found.tensors, kind="compact", about=about)
    refused = ticket("evaluate", "--of", tmp_path / "odd.safetensors", "--name", "odd", "--run", run.root, "-q")
    assert refused.code != 0
    assert "the widths belong to another architecture" in refused.err


def test_a_network_that_computes_something_else_is_not_written(run, monkeypatch):
    from ticketcli.channels import compact as smaller

    right = smaller.compact

    def off(model, channels, **how):
        found = right(model, channels, **how)
        with torch.no_grad():
            found.get_submodule("layer2.0.conv1").weight.mul_(1.001)
        return found

    monkeypatch.setattr(smaller, "compact", off)
    refused = ticket("compact", "ours/2", "--name", "wrong", "--run", run.root, "-q")
    assert refused.code != 0
    assert "computes something else" in refused.err
    assert not (run.step_folder("wrong") / "compact.safetensors").exists()


@pytest.mark.slow
def test_onnx_holds_the_compact_network_and_the_masked_one_and_says_its_widths(run, tmp_path):
    pytest.importorskip("onnxruntime")
    from ticketcli.runtimes.onnx_graph import described

    for name, what in (("small", "small"), ("masked", "ours/healed"), ("taps", "scenes")):
        to = tmp_path / f"{name}.onnx"
        flags = ["--taps"] if name == "taps" else []
        made = ticket("export", what, "--to", to, *flags, "--run", run.root, "-q")
        assert made.code == 0, made
        said = described(to.read_bytes())
        assert ("widths" in said) == (name != "masked")
    assert (tmp_path / "small.onnx").stat().st_size < 0.7 * (tmp_path / "masked.onnx").stat().st_size
    assert json.loads(described((tmp_path / "small.onnx").read_bytes())["widths"])["layer1.0.conv1"] == 8


def test_a_step_is_shown_with_what_goes_with_its_channels(run):
    cost, channels = (metrics(run, "ours", "round-02")[key] for key in ("cost", "channels"))
    fewer = f"{1 - cost['parameters_left'] / cost['parameters']:.2%}"
    pruned, small = (ticket("inspect", step, "--run", run.root).out for step in ("ours", "small"))
    for text in (pruned, small):
        assert f"{channels['kept']}/{channels['of']}" in text
        assert fewer in text
    assert "apart" in small
    assert "channels" not in ticket("inspect", "weights", "--run", run.root).out
