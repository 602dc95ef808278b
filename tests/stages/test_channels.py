"""Rounds in which whole channels fall: counts, subsets, masks that expand, and SCOP's selection, cut and resumed."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from tests.drained import drained
from tests.stages.small_job import cut_everywhere, encoder_input, prune_job, run_prune, run_transfer
from ticketcli.channels.graph import channel_graph
from ticketcli.channels.masks import channels_of, expanded
from ticketcli.errors import TicketError, UsageError, UsageErrors
from ticketcli.events import Note, Progress
from ticketcli.models.architectures import build_encoder, prunable
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.stages import controlling, knockoffs
from ticketcli.stages.choosing_channels import choose_channels
from ticketcli.stages.controlling import STATE
from ticketcli.stages.prune import prune
from ticketcli.stages.pruned_network import PrunedNetwork
from ticketcli.tensors.files import copy_of, write_state
from ticketcli.tensors.seeds import generator
from ticketcli.training.yields import Loaded, Produced, Snapshot

CHANNELS = {"granularity": "channel", "criterion": "l1", "loss": "cls", "heal": "0ep"}
SCOP = {**CHANNELS, "criterion": "scop", "channel_fraction": 0.3, "selection": "3it", "calibrate": 40}
WIDTHS = {"layer1": 16, "layer2": 32, "layer3": 64, "layer4": 128}


def dense():
    return build_encoder("resnet_small", n_classes=3, seed=0)


def rounds(**settings):
    """Output -> what a round made of it, and what was measured."""
    produced, _ = run_prune(**{**CHANNELS, **settings})
    return {unit.outputs[0].name: (unit.outputs[0], unit.metrics) for unit in produced.values()}


def kept(mask):
    """Convolution -> living channels."""
    return {name: int(one.sum()) for name, one in channels_of(channel_graph(dense()), mask).items()}


@pytest.mark.parametrize("criterion", ["l1", "l2", "bn_scale", "random"])
def test_a_share_of_each_layers_channels_falls_at_once_and_takes_all_that_belongs_to_it(criterion):
    made, metrics = rounds(criterion=criterion, channel_fraction=0.3)["1"]
    assert kept(made.mask) == {
        f"{layer}.0.conv{n}": width - int(0.3 * width) for layer, width in WIDTHS.items() for n in (1, 2)
    }
    graph, model = channel_graph(dense()), dense()
    assert made.mask == expanded(model, graph, channels_of(graph, made.mask), names=prunable(model))
    assert metrics["channels"]["kept"] == sum(kept(made.mask).values())
    assert metrics["channels"]["of"] == 2 * sum(WIDTHS.values())


def test_a_round_takes_its_share_of_what_lives_and_small_layers_keep_up():
    made = rounds(rounds=6, finetune="0ep")
    before = None
    for number in range(1, 7):
        mask = made[str(number)][0].mask
        for name, n in kept(mask).items():
            width = WIDTHS[name[:6]]
            assert n == width - int((1 - 0.8**number) * width + 1e-9), (number, name)
        assert before is None or mask <= before
        before = mask


def test_each_layer_keeps_the_nearest_multiple():
    made = rounds(rounds=3, fraction=0.4, round_to=8, finetune="0ep")
    found = [kept(made[str(number)][0].mask) for number in (1, 2, 3)]
    assert [one["layer2.0.conv1"] for one in found] == [24, 16, 8]  # of 20, 12 and 7 (6.9)
    assert [one["layer1.0.conv1"] for one in found] == [8, 8, 8]


def test_one_ranking_of_all_channels_takes_more_of_some_layers():
    mask = rounds(criterion="random", scope="global", channel_fraction=0.5)["1"][0].mask
    assert sum(kept(mask).values()) == sum(WIDTHS.values())
    assert any(n != WIDTHS[name[:6]] // 2 for name, n in kept(mask).items())


@pytest.mark.parametrize("settings", [{}, {"scope": "global", "round_to": 8}, {"scope": "global"}])
def test_a_fallen_channel_stays_fallen_whatever_it_would_be_worth(monkeypatch, settings):
    """SCOP's scores of living channels may be below the 0 of a fallen one."""
    sign = [1.0]

    def turning(graph, *, seed):
        sign[0] = -sign[0]
        return {name: sign[0] * torch.arange(n, dtype=torch.float64) / n for name, n in graph.channels.items()}

    monkeypatch.setattr("ticketcli.channels.scores.random_scores", turning)
    made = rounds(criterion="random", rounds=3, fraction=0.2, finetune="0ep", **settings)
    one, two, three = (made[str(number)][0].mask for number in (1, 2, 3))
    assert three <= two <= one
    if settings.get("round_to") is None:
        assert [made[str(n)][1]["channels"]["kept"] for n in (1, 2, 3)] == (
            [384, 308, 246] if settings else [388, 310, 250]
        )


def test_what_is_counted_is_what_is_left():
    made, metrics = rounds(channel_fraction=0.45)["1"]
    cost, mask = metrics["cost"], made.mask
    n = sum(parameter.numel() for parameter in dense().parameters())
    assert cost["parameters"] == n == metrics["parameters"]
    assert cost["parameters_left"] == n - mask.dropped
    assert cost["macs_left"] < 0.7 * cost["macs"]


def test_a_rewound_ticket_has_the_dense_networks_values_and_a_healed_one_zeros_where_channels_fell():
    made = rounds(rounds=2, heal="3it", weight_decay=0.01, optimizer="adamw")
    assert made["2"][0].values == "encoder"
    healed = made["healed"][0]
    assert healed.mask == made["2"][0].mask
    moved = 0
    for name, alive in healed.mask.items():
        dead = healed.values[name][~torch.from_numpy(alive.copy())]
        assert bool((dead == 0).all()), name
        assert not bool(torch.signbit(dead).any()), name
        moved += int(not torch.equal(healed.values[name], encoder_input().values[name]))
    assert moved == len(healed.mask)
    assert any(name.endswith("bn1.bias") and not alive.all() for name, alive in healed.mask.items())


def silent(values, mask):
    """The largest output of a fallen channel's BatchNorm, in both modes, over random images."""
    model = dense()
    model.load_state_dict(values)
    found = []
    for group in channel_graph(model).groups:
        dead = ~channels_of(channel_graph(model), mask)[group.conv]
        model.get_submodule(group.norm).register_forward_hook(
            lambda _part, _given, out, dead=dead: found.append(float(out.detach()[:, dead].abs().max()))
        )
    for training in (False, True):
        model.train(training)(torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    return max(found)


def test_a_fallen_channel_says_nothing_after_training_and_recalibration():
    made = rounds(rounds=2, heal="3it", rewind="none", recalibrate_bn=40)
    for name in ("1", "2", "healed"):
        assert silent(made[name][0].values, made[name][0].mask) == 0.0


def test_channels_fall_where_weights_would_under_the_reconstruction_loss_too():
    made = rounds(loss="cls+rec", rounds=2, **{"lambda": 5.0})
    assert kept(made["2"][0].mask)["layer4.0.conv2"] == 128 - int(0.36 * 128)


@pytest.mark.parametrize("task", ["semantic", "detection"])
def test_a_ticket_of_channels_keeps_its_zeros_on_pixels(task):
    made, _ = rounds(channel_fraction=0.3, heal="2it")["healed"]
    ticket = Loaded("ticket", "ticket", made.about, made.values, made.mask)
    produced, _, _ = run_transfer(ticket, task=task)
    (out,) = produced.outputs
    assert set(out.mask) == {"backbone.body." + name for name in made.mask}
    for name, alive in out.mask.items():
        dead = out.values[name][~torch.from_numpy(alive.copy())]
        assert bool((dead == 0).all())
        assert not bool(torch.signbit(dead).any())


# -------------------------------------------------------------------- what cannot be


def test_a_network_without_batchnorm_is_refused():
    source = encoder_input()
    model = build_encoder("lenet5", n_classes=3, seed=0)
    source = dataclasses.replace(source, about={**source.about, "arch": "lenet5"}, values=copy_of(model))
    with pytest.raises(UsageError, match="no channels of this network can fall") as caught:
        PrunedNetwork(prune_job(**CHANNELS, inputs={"encoder": source}))
    assert "granularity: weight" in caught.value.hint


def test_a_network_that_cannot_be_followed_is_refused_before_anything_is_trained(monkeypatch):
    def chosen(self, x):
        return {}, x.mean((2, 3)) if x.sum() > 0 else -x.mean((2, 3))

    monkeypatch.setattr("ticketcli.models.resnet.ResNet.taps_and_logits", chosen)
    with pytest.raises(UsageError, match="cannot be followed") as caught:
        PrunedNetwork(prune_job(**CHANNELS))
    assert "weights can be pruned one by one" in caught.value.hint


def test_a_rate_that_empties_a_layer_is_refused():
    with pytest.raises(UsageError, match=r"no channel of 'layer.*'"):
        rounds(channel_fraction=0.99, scope="global", criterion="bn_scale")


def test_a_round_that_drops_nothing_is_refused():
    with pytest.raises(UsageError, match="would drop no channel") as caught:
        rounds(channel_fraction=0.1, round_to=64)
    assert "round_to" in caught.value.hint


def test_a_later_round_that_will_drop_nothing_is_refused_before_anything_is_trained():
    with pytest.raises(UsageError, match=r"round 2 would drop no channel: it begins and ends with 352"):
        PrunedNetwork(prune_job(**CHANNELS, rounds=5, fraction=0.3, round_to=64))


def test_where_scores_decide_it_is_refused_when_they_are_known():
    PrunedNetwork(prune_job(**CHANNELS, scope="global", channel_fraction=0.001))
    with pytest.raises(UsageError, match="would drop no channel"):
        rounds(scope="global", channel_fraction=0.001)


def test_a_criterion_without_scores_of_its_own_gets_nobody_elses():
    network = PrunedNetwork(prune_job(**CHANNELS, channel_fraction=0.3))
    network.config = network.config.model_copy(update={"criterion": "new"})
    with pytest.raises(TicketError, match="no scores of 'new'"):
        list(choose_channels(network, 1, {}, None))


# -------------------------------------------------------------------- scop


def produced_by(**settings):
    return next(event for event in prune(prune_job(**{**SCOP, **settings})) if isinstance(event, Produced))


def test_selection_moves_no_weight_and_no_statistic():
    network = PrunedNetwork(prune_job(**SCOP))
    before = copy_of(network.model)
    chosen = list(choose_channels(network, 1, {}, None))
    assert sum(isinstance(event, Progress) for event in chosen) == 3
    assert all(torch.equal(before[name], value) for name, value in network.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.model.parameters())


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"knockoff": "gaussian", "knockoff_at": "bn1"},
        {"knockoff": "deep", "knockoff_at": "bn1", "knockoff_steps": 2},
        {"knockoff": "gan", "knockoff_steps": 2},
        {"knockoff": "gan-released", "knockoff_steps": 2},
        {"lemma2_noise": True},
    ],
)
def test_every_kind_of_control_says_how_good_it_is_and_how_many_betas_are_at_an_end(kind):
    found = produced_by(**kind)
    selection = found.metrics["selection"]
    assert found.metrics["channels"]["kept"] == 340
    assert selection["steps"] == 3
    assert {"at_one", "at_zero", "loss_first", "loss_last"} <= set(selection)
    assert all(low <= median <= high for low, _, median, _, high in selection["betas"].values())
    control = selection["knockoff"]
    assert control["kind"] == kind.get("knockoff", "permute")
    assert {"mean_gap", "covariance_gap", "off_diagonal_gap", "mmd_partial"} <= set(control)
    if control["kind"] == "gaussian":
        assert control["mean_gap"] < 0.02
        assert 0 < control["share"] <= 1


@pytest.mark.parametrize(("kind", "sees_images"), [("gan", True), ("gan-released", False)])
def test_the_released_generator_of_scop_sees_no_image(kind, sees_images):
    config = PruneConfig.parse({**SCOP, "knockoff": kind}, where="prune")
    x = torch.randn(4, 3, 32, 32, generator=generator(0, "test images"))
    made_of = knockoffs.Controlled(torch.nn.Identity(), "")
    source, learner, _ = drained(knockoffs.make_source(config, made_of, [(x, torch.zeros(4))], 0))
    assert source is learner, "it has yet to be trained"
    controls = [source(one, generator(0, "test draw")) for one in (x, 100 * x)]
    assert torch.equal(*controls) != sees_images
    assert (float(controls[1].abs().max()) <= 1) != sees_images, "a tanh at its end"


def test_channels_are_ranked_by_their_betas(monkeypatch):
    def select(self, source):
        for name, n in self.graph.channels.items():
            self.betas[name] = torch.arange(n) / n
        yield from ()

    monkeypatch.setattr("ticketcli.stages.controlling.Controlling._select", select)
    mask = produced_by().outputs[0].mask
    for name, alive in channels_of(channel_graph(dense()), mask).items():
        n = len(alive)
        assert alive.tolist() == [channel >= int(0.3 * n) for channel in range(n)], name


def test_gaussian_controls_that_would_be_copies_are_refused_and_so_are_images_too_large_for_a_covariance(monkeypatch):
    with pytest.raises(UsageError, match="would be copies") as caught:
        produced_by(knockoff="gaussian")
    assert "knockoff_at" in caught.value.hint
    monkeypatch.setattr(knockoffs, "_MOST_VALUES", 3000)
    with pytest.raises(UsageError, match="3,072 values are too many"):
        produced_by(knockoff="gaussian")


BEHIND = {"knockoff": "gaussian", "knockoff_at": "layer1.0.bn2"}


@pytest.mark.parametrize("at", ["layer9", "fc", "layer1.0.conv1"])
def test_a_layer_at_which_no_controls_can_be_made_is_refused_before_anything_is_trained(at):
    with pytest.raises(UsageError, match=at) as caught:
        PrunedNetwork(prune_job(**SCOP, knockoff="gaussian", knockoff_at=at))
    assert caught.value.hint or at == "layer1.0.conv1"


def test_gates_that_nothing_moves_are_not_ranked_with_those_that_something_does():
    """They would all stay at 0.5, be worth 0, and fall first."""
    PrunedNetwork(prune_job(**SCOP, **BEHIND))
    PrunedNetwork(prune_job(**SCOP, scope="global", knockoff="gaussian", knockoff_at="bn1"))
    with pytest.raises(UsageError, match=r"layer1\.0\.conv1, layer1\.0\.conv2, which lie before") as caught:
        PrunedNetwork(prune_job(**SCOP, **BEHIND, scope="global"))
    assert "scope: layer" in caught.value.hint


def test_several_processes_are_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(knockoffs, "world", lambda: 2)
    with pytest.raises(UsageError, match="by one process"):
        PrunedNetwork(prune_job(**SCOP))
    PrunedNetwork(prune_job(**CHANNELS, channel_fraction=0.3))


def test_what_cannot_fall_is_told_before_anything_is_trained():
    told = PrunedNetwork(prune_job(**CHANNELS, channel_fraction=0.3)).describe()
    assert "480 channels of 8 layers can fall (4 convolutions keep theirs, conv1: " in told


@pytest.mark.parametrize(
    ("setting", "says"), [({"calibrate": 3}, "calibrate has to be 4"), ({"batch": 1}, "batch has to be 2")]
)
def test_too_few_images_to_take_or_measure_controls_of_are_refused(setting, says):
    with pytest.raises(UsageErrors, match=says):
        prune_job(**{**SCOP, **setting})


def test_a_selection_is_told_in_a_line_and_that_it_hardly_chose():
    told = [event.text for event in prune(prune_job(**SCOP)) if isinstance(event, Note)]
    (line,) = [text for text in told if "selected in 3 steps" in text]
    assert "hardly chose, raise selection" in line


def test_first_and_last_losses_are_of_other_steps(monkeypatch):
    losses = iter([4.0, 3.0, 1.0])
    monkeypatch.setattr(controlling, "train_controls", lambda training, batches: (
        SimpleNamespace(loss=next(losses), done=n + 1) for n, _ in enumerate(batches)
    ))  # fmt: skip
    selection = produced_by().metrics["selection"]
    assert (selection["loss_first"], selection["loss_last"]) == (4.0, 1.0)


@pytest.mark.parametrize(
    "kind", [{}, pytest.param({"knockoff": "deep", "knockoff_at": "bn1", "knockoff_steps": 2}, id="deep", marks=pytest.mark.slow),
             pytest.param({"knockoff": "gan", "knockoff_steps": 2}, id="gan", marks=pytest.mark.slow)]
)  # fmt: skip
def test_cut_at_any_moment_of_the_selection_and_resumed_it_ends_in_the_same_bytes(kind, tmp_path):
    settings = {**SCOP, **kind, "rewind": "none"}
    straight = produced_by(**settings)
    n_selecting = 0
    for state, found in cut_everywhere(settings, tmp_path):
        n_selecting += STATE in state
        assert found.metrics == straight.metrics, state["iteration"]
        assert found.outputs[0].mask == straight.outputs[0].mask
        for name, value in straight.outputs[0].values.items():
            assert torch.equal(found.outputs[0].values[name], value), (state["iteration"], name)
    assert n_selecting >= 4


def test_what_was_captured_stays_as_it_was(tmp_path):
    """The shell writes it while training goes on."""
    events = prune(prune_job(**SCOP))
    captured = next(state for event in events if isinstance(event, Snapshot) and STATE in (state := event.capture()))
    write_state(tmp_path / "first", captured, about={})
    list(events)
    write_state(tmp_path / "later", captured, about={})
    assert (tmp_path / "first").read_bytes() == (tmp_path / "later").read_bytes()
