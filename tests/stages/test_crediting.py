"""Channels that fall by feedback: what is looked at, what is counted, and a round that is cut and resumed."""

import dataclasses
from fractions import Fraction

import pytest
import torch

from tests.stages.small_job import cut_everywhere, encoder_input, prune_job, run_prune
from ticketcli.channels.choice import drop_lowest
from ticketcli.channels.graph import channel_graph
from ticketcli.channels.masks import channels_of
from ticketcli.channels.scores import feedback_scores, scales
from ticketcli.errors import MismatchError, UsageError, UsageErrors
from ticketcli.explain.importance import contributions
from ticketcli.explain.search import GatedNetwork
from ticketcli.explain.targets import ClassTarget
from ticketcli.models.architectures import build_encoder
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.stages.choosing_channels import choose_channels
from ticketcli.stages.crediting import STATE
from ticketcli.stages.prune import prune
from ticketcli.stages.pruned_network import PrunedNetwork
from ticketcli.tensors.files import copy_of, write_state
from ticketcli.training.recalibrate import calibration_batches
from ticketcli.training.yields import Produced, Snapshot

FEEDBACK = {"granularity": "channel", "criterion": "feedback", "channel_fraction": 0.3, "loss": "cls", "heal": "0ep",
            "calibrate": 20, "batch": 8}  # fmt: skip


def produced_by(**settings):
    return next(event for event in prune(prune_job(**{**FEEDBACK, **settings})) if isinstance(event, Produced))


def test_the_channels_that_add_least_to_the_logits_fall():
    """Worked out image by image, without the stage."""
    network = PrunedNetwork(prune_job(**FEEDBACK))
    events = choose_channels(network, 1, {}, None)
    chosen = None
    while chosen is None:
        try:
            next(events)
        except StopIteration as ended:
            chosen = ended.value
    model, graph = network.model.eval(), channel_graph(network.model)
    gated, sums = GatedNetwork(model), {}
    ((images, _),) = calibration_batches(network.splits, 20, torch.device("cpu"))
    for image in images.split(1):
        target = ClassTarget(model(image).argmax(1))
        found = gated.search(image, target, mode="fr")
        for name, one in contributions(gated, image, target, found.gates, [g.norm for g in graph.groups]).items():
            sums[name] = sums.get(name, 0) + one[0] / len(images)
    expected = drop_lowest(feedback_scores(graph, sums), scales(model, graph), Fraction(3, 10))
    for name, living in channels_of(graph, chosen.mask).items():
        assert torch.equal(living, expected[name]), name


def test_counts_are_reported_and_nothing_of_the_network_moves():
    network = PrunedNetwork(prune_job(**FEEDBACK))
    before = copy_of(network.model)
    modes = [part.training for part in network.model.modules()]
    list(choose_channels(network, 1, {}, None))
    assert all(torch.equal(before[name], value) for name, value in network.model.state_dict().items())
    assert modes == [part.training for part in network.model.modules()]
    assert all(parameter.requires_grad for parameter in network.model.parameters())
    metrics = produced_by().metrics
    assert metrics["channels"]["kept"] == 340
    assert metrics["feedback"]["images"] == 20
    assert metrics["feedback"]["score_after"] > metrics["feedback"]["score_before"]
    assert set(metrics["feedback"]["dead"]) == set(channel_graph(network.model).channels)


def test_rounds_go_on_from_what_fell():
    produced, _ = run_prune(**{**FEEDBACK, "channel_fraction": None, "fraction": 0.3, "rounds": 2, "finetune": "0ep"})
    one, two = (unit.outputs[0].mask for unit in list(produced.values())[:2])
    assert two <= one
    assert two.kept < one.kept


def test_cut_at_any_moment_and_resumed_it_ends_in_the_same_bytes(tmp_path):
    settings = {**FEEDBACK, "rewind": "none"}
    straight = produced_by(**settings)
    n_crediting = 0
    for state, found in cut_everywhere(settings, tmp_path):
        n_crediting += STATE in state
        assert found.metrics == straight.metrics, state["iteration"]
        assert found.outputs[0].mask == straight.outputs[0].mask
    assert n_crediting >= 4


def test_what_was_captured_stays_as_it_was(tmp_path):
    events = prune(prune_job(**FEEDBACK))
    captured = next(state for event in events if isinstance(event, Snapshot) and STATE in (state := event.capture()))
    write_state(tmp_path / "first", captured, about={})
    list(events)
    write_state(tmp_path / "later", captured, about={})
    assert (tmp_path / "first").read_bytes() == (tmp_path / "later").read_bytes()


def test_a_network_that_gates_do_not_allow_is_refused_before_anything_is_trained(monkeypatch):
    def smooth(self, x):
        found = self.bn1(self.conv1(x)).sigmoid()
        return {}, self.fc(self.layer4(self.layer3(self.layer2(self.layer1(found)))).mean((2, 3)))

    monkeypatch.setattr("ticketcli.models.resnet.ResNet.taps_and_logits", smooth)
    monkeypatch.setattr("ticketcli.models.resnet.ResNet.forward", lambda self, x: smooth(self, x)[1])
    with pytest.raises(UsageError, match="'sigmoid' is not affine"):
        PrunedNetwork(prune_job(**FEEDBACK))
    PrunedNetwork(prune_job(**{**FEEDBACK, "criterion": "l1", "calibrate": 1024}))


def living_on_its_transition(model):
    """To channel 0 of each segment its unit and its projection add nothing, and the transition much."""
    for group in channel_graph(model).groups:
        if group.segment is not None:
            for rows in group.producers:
                is_transition = not rows.conv.startswith(group.segment.layer)
                model.get_parameter(f"{rows.norm}.weight").data[rows.first] = 3.0 if is_transition else 0.0
    return model


def test_a_channel_of_a_gunn_that_lives_on_its_transition_is_not_judged_by_its_unit_alone():
    source = encoder_input()
    model = living_on_its_transition(build_encoder("gunn:cifar-8-8/2-12/3-16", n_classes=3, seed=0))
    about = {**source.about, "arch": "gunn:cifar-8-8/2-12/3-16", **model.facts}
    encoder = dataclasses.replace(source, about=about, values=copy_of(model))
    network = PrunedNetwork(prune_job(**{**FEEDBACK, "finetune": "0ep"}, inputs={"encoder": encoder}))
    segments = [group for group in network.graph.groups if group.segment is not None]
    assert [group.channels for group in segments] == [4] * 5
    produced = produced_by(finetune="0ep", inputs={"encoder": encoder})
    left = channels_of(network.graph, produced.outputs[0].mask)
    assert [int(left[group.conv].sum()) for group in segments] == [3] * 5
    assert sum(bool(left[group.conv][0]) for group in segments) >= 4  # by the units alone it would be none
    assert {produced.metrics["feedback"]["dead"][group.conv] for group in segments} == {0}


def test_labels_are_not_needed():
    """The target is what the network says first: also of images of other classes, with the reconstruction loss."""
    source = encoder_input(n_classes=5)
    job = prune_job(**{**FEEDBACK, "loss": "feat"}, inputs={"encoder": dataclasses.replace(source)})
    made = next(event for event in prune(job) if isinstance(event, Produced))
    assert made.metrics["channels"]["kept"] == 340


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"criterion": "feedback"}, "judges whole channels"),
        (
            {"granularity": "channel", "criterion": "feedback", "damping": 0.1},
            "damping is nothing to criterion feedback",
        ),
        (
            {"granularity": "channel", "criterion": "feedback", "knockoff": "deep"},
            "knockoff is nothing to criterion feedback",
        ),
        ({"granularity": "channel", "criterion": "l1", "calibrate": 10}, "calibrate is nothing to criterion l1"),
    ],
)
def test_settings_that_say_nothing_to_it_are_refused(settings, words):
    with pytest.raises(UsageErrors, match=words):
        PruneConfig.parse(settings, where="prune")


def test_how_many_images_is_its_setting():
    config = PruneConfig.parse({"granularity": "channel", "criterion": "feedback", "calibrate": 64}, where="prune")
    assert config.calibrate == 64


@pytest.mark.parametrize("given", [{}, {"layer1.0.bn1": torch.zeros(3)}])
def test_worth_of_other_layers_is_refused(given):
    with pytest.raises(MismatchError, match=r"the importance of 'layer1.0.conv1' is"):
        feedback_scores(channel_graph(build_encoder("resnet_small", n_classes=3, seed=0)), given)
