"""The recipes about channels: they can be planned, and their headers count right."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tests.cli.command_line import ticket
from ticketcli.channels.choice import drop_lowest
from ticketcli.channels.counting import costs, total
from ticketcli.channels.graph import channel_graph
from ticketcli.channels.scores import filter_norms, scales
from ticketcli.models.architectures import build_encoder, prunable
from ticketcli.models.cost import macs_by_layer
from ticketcli.recipe.recipe import parse_recipe
from ticketcli.stage import PRUNE, STAGES
from ticketcli.tensors.files import copy_of, write_checkpoint

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize(("name", "steps"), [("structured", 87), ("scop", 125)])
def test_a_recipe_of_channels_can_be_planned(name, steps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/cifar10-resnets").mkdir(parents=True)
    for arch in ("resnet20", "resnet56"):
        values = copy_of(build_encoder(arch, n_classes=10, seed=0))
        write_checkpoint(tmp_path / f"data/cifar10-resnets/{arch}.safetensors", values, kind="dense", about={})
    found = ticket("run", RECIPES / f"{name}.yaml", "--run", tmp_path / "run", "--dry-run")
    assert found.code == 0, found
    assert f"{steps} steps" in found.out + found.err


def test_channels_and_single_weights_leave_as_many_parameters():
    text, stages = (RECIPES / "structured.yaml").read_text(), {name: spec.config for name, spec in STAGES.items()}
    configs = {step.group: step.config for step in parse_recipe(text, stages, where="r").steps}
    ours, weights = configs["ours"], configs["weights"]
    model = build_encoder("resnet_small", n_classes=10, seed=0)
    graph = channel_graph(model)
    gone = ours.channels_gone(ours.n_rounds)
    assert gone == 1 - Fraction(4, 5) ** 5
    channels = drop_lowest(filter_norms(model, graph, order=1), scales(model, graph), gone)
    cost = total(costs(model, graph, channels, macs_by_layer(model, torch.zeros(1, 3, 32, 32))))
    n = sum(weight.numel() for weight in prunable(model).values())
    assert weights.n_rounds == 7
    assert PRUNE.default_output(weights) == "7"
    dropped = n - weights.kept_after(7, living=n, total=n)
    assert cost.parameters - cost.parameters_left == dropped == 241_606
    narrow = configs["narrow"]
    graph = channel_graph(model, residual=narrow.residual)
    channels = drop_lowest(filter_norms(model, graph, order=1), scales(model, graph), narrow.channels_gone(5))
    cost = total(costs(model, graph, channels, macs_by_layer(model, torch.zeros(1, 3, 32, 32))))
    assert (cost.parameters_left, cost.macs_left) == (66_866, 4_861_572)
