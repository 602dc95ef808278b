"""Rounds whose criterion judges by layer."""

import dataclasses

import pytest
import torch

from tests.stages.small_job import encoder_input, prune_job, run_prune
from ticketcli.errors import UsageError, UsageErrors
from ticketcli.events import Note, Pause, Progress
from ticketcli.models.architectures import build_encoder
from ticketcli.stages import solving
from ticketcli.stages.prune import prune
from ticketcli.stages.pruned_network import PrunedNetwork
from ticketcli.stages.solving import STATE
from ticketcli.tensors.files import load_into, read_state, write_state
from ticketcli.training import recalibrate
from ticketcli.training.yields import Produced, Snapshot

LAYERS = {"layer1.0.conv1": [0.5, 0.8], "layer2.0.conv2": [0.3, 0.6]}
SMALL = {
    "criterion": "lobs", "sparsities": LAYERS, "rounds": 2, "calibrate": 50, "positions": 16, "loss": "cls",
    "heal": "0ep",
}  # fmt: skip
COMPENSATED = {**SMALL, "compensate": True}


@pytest.fixture
def batches_of_16(monkeypatch):
    """So that a calibration has several."""
    monkeypatch.setattr(recalibrate, "_BATCH", 16)


def produced(**settings):
    return run_prune(**settings)[0]


def outputs(**settings):
    return {output.name: output for unit in produced(**settings).values() for output in unit.outputs}


def assert_same(found, expected):
    assert found.mask == expected.mask
    assert isinstance(found.values, str) or set(found.values) == set(expected.values)
    if isinstance(found.values, str):
        assert found.values == expected.values
    else:
        for name, value in found.values.items():
            assert torch.equal(value, expected.values[name]), name


@pytest.mark.parametrize("rewind", ["none", "pretrained"])
def test_masks_are_nested_exact_and_plus_zero_where_they_say_so(rewind):
    made = outputs(**{**COMPENSATED, "rewind": rewind})
    one, two = made["1"].mask, made["2"].mask
    assert two <= one
    for mask, number in ((one, 0), (two, 1)):
        for name, array in mask.items():
            aims = LAYERS.get(name.removesuffix(".weight"), [0, 0])
            assert array.size - mask.kept_by_name[name] == round(aims[number] * array.size), name
    for output in made.values():
        if not isinstance(output.values, str):
            for name, alive in output.mask.items():
                dead = output.values[name][torch.from_numpy(~alive)]
                assert not dead.any()
                assert not torch.signbit(dead).any()


def test_with_a_rewind_the_ticket_has_the_rewound_values_and_the_compensated_ones_lie_beside_it():
    made = outputs(**COMPENSATED)
    assert list(made) == ["1", "1-compensated", "2", "2-compensated"]
    assert made["1"].values == "encoder"
    beside = made["1-compensated"]
    assert (beside.mask, beside.mask_of, beside.about["compensated"]) == (made["1"].mask, "1", True)
    dense = encoder_input().values
    assert not torch.equal(beside.values["layer1.0.conv1.weight"], dense["layer1.0.conv1.weight"] * (beside.values["layer1.0.conv1.weight"] != 0))  # fmt: skip


def test_without_a_rewind_the_compensated_weights_go_on():
    settings = {**COMPENSATED, "rewind": "none"}
    made, plain = outputs(**settings), outputs(**{**settings, "compensate": False})
    assert list(made) == ["1", "2"]
    assert made["1"].mask == plain["1"].mask
    name = "layer1.0.conv1.weight"
    assert not torch.equal(made["1"].values[name], plain["1"].values[name])
    assert not torch.equal(
        made["1"].values["layer1.0.bn1.running_mean"], plain["1"].values["layer1.0.bn1.running_mean"]
    )
    other = "layer3.0.conv1.weight"
    assert torch.equal(made["1"].values[other], plain["1"].values[other]), "layers that are left out stay as they are"


def test_weights_that_are_not_compensated_are_the_finetuned_ones_under_the_mask():
    settings = {**SMALL, "rewind": "none", "finetune": "0ep", "rounds": 1}
    settings["sparsities"] = {"layer1.0.conv1": 0.5}
    made, dense = outputs(**settings)["1"], encoder_input().values
    alive = torch.from_numpy(made.mask["layer1.0.conv1.weight"].copy())
    expected = torch.where(alive, dense["layer1.0.conv1.weight"], 0.0)
    assert torch.equal(made.values["layer1.0.conv1.weight"], expected)
    assert torch.equal(made.values["layer1.0.bn1.running_mean"], dense["layer1.0.bn1.running_mean"])


@pytest.fixture(scope="module")
def trained():
    """That of the small job after sixty steps: it tells three digits apart, of nineteen in twenty."""
    settings = {"rewind": "none", "loss": "cls", "rounds": 1, "finetune": "60it", "heal": "0ep", "fraction": 0.001}
    return dataclasses.replace(encoder_input(), values=outputs(**settings, augment="none")["1"].values)


@pytest.mark.parametrize(
    ("criterion", "sparsity", "gain"), [("lobs", 0.6, 0.05), ("lobs_refit", 0.7, 0.4), ("sparsegpt", 0.7, 0.4)]
)
def test_compensated_weights_are_worth_more_than_the_same_mask_alone(trained, criterion, sparsity, gain):
    settings = {
        "criterion": criterion, "schedule": "one-shot", "to_sparsity": sparsity, "scope": "layer", "finetune": "0ep",
        "loss": "cls", "heal": "0ep", "calibrate": 60, "recalibrate_bn": 0, "compensate": True,
    }  # fmt: skip
    metrics = produced(**settings, inputs={"encoder": trained})["round-01"].metrics
    assert metrics["compensated"]["literal"]["top1"] > metrics["unhealed"]["literal"]["top1"] + gain
    assert metrics["output"]["measured"] < 0.8 * metrics["output"]["masked"]


def test_n_of_m_inputs_are_kept_exactly():
    made = outputs(criterion="sparsegpt", schedule="one-shot", pattern="2:4", loss="cls", finetune="0ep", heal="0ep",
                   calibrate=20)["1"]  # fmt: skip
    for array in made.mask.values():
        channels_last = array.transpose(0, 2, 3, 1).reshape(-1, 4)
        assert (channels_last.sum(axis=1) == 2).all()


def test_one_ranking_of_all_layers_keeps_the_exact_count_of_all_and_not_the_same_share_of_each():
    mask = outputs(criterion="obd", rounds=1, loss="cls", heal="0ep", calibrate=20)["1"].mask
    assert mask.dropped == round(0.2 * mask.total)
    assert len({round(kept / mask[name].size, 2) for name, kept in mask.kept_by_name.items()}) > 3


@pytest.mark.parametrize("criterion", ["magnitude", "random", "wanda"])
def test_each_layer_drops_the_same_share_where_that_is_the_scope(criterion):
    settings = {"calibrate": 20} if criterion == "wanda" else {}
    made = outputs(criterion=criterion, scope="layer", rounds=2, loss="cls", heal="0ep", **settings)
    for name, array in made["1"].mask.items():
        first = array.size - round(0.2 * array.size)
        assert made["1"].mask.kept_by_name[name] == first
        assert made["2"].mask.kept_by_name[name] == first - round(0.2 * first)


def test_an_error_that_is_tolerated_decides_how_many_fall():
    settings = {"criterion": "obd", "schedule": "one-shot", "loss": "cls", "heal": "0ep", "calibrate": 20}
    few = outputs(**settings, epsilon=1e-4)["1"].mask
    many = outputs(**settings, epsilon=2e-4)["1"].mask
    assert 0 < few.dropped < many.dropped
    assert many <= few


def test_layers_that_take_turns_come_to_the_same(batches_of_16):
    settings = {"criterion": "lobs_refit", "rounds": 1, "to_sparsity": 0.5, "schedule": "one-shot", "loss": "cls",
                "heal": "0ep", "calibrate": 40, "positions": 4, "compensate": True, "rewind": "none", "scope": "global",
                "finetune": "1it"}  # fmt: skip
    together = list(prune(prune_job(**settings)))
    apart = list(prune(prune_job(**settings, calib_memory="3MB")))
    passes = [
        sum(isinstance(one, Progress) and "calibrating" in one.what for one in events) for events in (together, apart)
    ]
    assert passes[1] > passes[0] == 3, passes
    one, other = (next(event for event in events if isinstance(event, Produced)) for events in (together, apart))
    assert_same(other.outputs[0], one.outputs[0])
    assert other.metrics == one.metrics


def interrupted(settings, at, path):
    """What a job makes that was cut at the `at`-th moment at which it may be saved, and went on from there; and whether
    a criterion was at work.
    """
    taken = 0
    for event in prune(prune_job(**settings)):
        taken += isinstance(event, Snapshot)
        if taken == at:
            write_state(path, event.capture(), about={})
            break
    state = read_state(path)[0]
    events = list(prune(prune_job(resume=state, **settings)))
    return {event.unit: event for event in events if isinstance(event, Produced)}, STATE in state, events


@pytest.mark.parametrize(
    ("scope", "memory"),
    [
        ({"sparsities": LAYERS}, "2GB"),
        pytest.param({"sparsities": LAYERS}, "300kB", marks=pytest.mark.slow),
        pytest.param({"scope": "global", "criterion": "obd"}, "2GB", marks=pytest.mark.slow),
        pytest.param({"scope": "global", "criterion": "obd"}, "3MB", marks=pytest.mark.slow),
    ],
)
def test_cut_at_any_moment_of_calibrating_and_solving_and_resumed_it_ends_in_the_same_bytes(
    tmp_path, batches_of_16, scope, memory
):
    settings = {**COMPENSATED, **scope, "rewind": "none", "calib_memory": memory, "rounds": 1, "calibrate": 40}
    if "criterion" in scope:
        settings = {**settings, "sparsities": None, "compensate": False, "fraction": 0.4}
    else:
        settings["sparsities"] = {"layer1.0.conv1": 0.5, "layer2.0.conv2": 0.3}
    events = list(prune(prune_job(**settings)))
    straight = next(event for event in events if isinstance(event, Produced))
    moments = sum(isinstance(event, Snapshot) for event in events)
    n_solving = 0
    for at in range(1, moments + 1) if moments < 20 else [*range(1, moments, 5), moments]:
        found, was_solving, _ = interrupted(settings, at, tmp_path / f"state-{at}")
        n_solving += was_solving
        assert_same(found["round-01"].outputs[0], straight.outputs[0])
        assert found["round-01"].metrics == straight.metrics, at
    assert n_solving > 3


def test_what_was_finetuned_and_calibrated_is_not_done_again_after_a_stop(tmp_path, batches_of_16):
    settings = {**SMALL, "rounds": 1, "sparsities": {"layer1.0.conv1": 0.5}}
    _, was_solving, events = interrupted(settings, 2 + 3, tmp_path / "state")  # of 4 batches of images, after two steps
    done = [(event.what, event.done) for event in events if isinstance(event, Progress)]
    assert was_solving
    assert done == [("round 1/1, calibrating 1 of 11 layers", 4), ("round 1/1, solving", 1)]
    assert not [event for event in events if isinstance(event, Pause) and event.what == "measuring what was finetuned"]


def test_moments_too_large_to_be_saved_are_gathered_again(tmp_path, batches_of_16, monkeypatch):
    monkeypatch.setattr(solving, "_MOST_SAVED", 1000)
    settings = {**SMALL, "rounds": 1, "sparsities": {"layer1.0.conv1": 0.5}}
    straight = next(event for event in prune(prune_job(**settings)) if isinstance(event, Produced))
    for at in (2 + 3, 2 + 5):
        found, was_solving, events = interrupted(settings, at, tmp_path / "state")
        done = [event.done for event in events if isinstance(event, Progress) and "calibrating" in event.what]
        assert (was_solving, done) == (True, [1, 2, 3, 4] if at < 7 else [])
        assert_same(found["round-01"].outputs[0], straight.outputs[0])
        assert found["round-01"].metrics == straight.metrics


def test_the_report_says_of_each_layer_what_it_lost_and_of_the_output_what_it_may_and_does(batches_of_16):
    metrics = produced(**{**SMALL, "rounds": 1, "sparsities": {"layer1.0.conv1": 0.5, "layer2.0.conv2": 0.3}})[
        "round-01"
    ].metrics
    assert list(metrics["layers"]) == ["layer1.0.conv1", "layer2.0.conv2"]
    for one in metrics["layers"].values():
        assert 0 < one["error"] < one["masked"]
        assert one["root"] == pytest.approx(one["error"] ** 0.5)
        assert one["bound"] > 0
    output = metrics["output"]
    assert output["images"] == 50
    assert 0 < output["measured"] < output["bound"] < output["bound_frobenius"]
    assert output["measured"] < output["masked"] < output["output"]


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"sparsities": {"layer1.0.conv9": 0.5, "layr2.0.conv1": 0.5}}, UsageErrors, "no layer 'layr2.0.conv1' to prune"),
        ({"sparsities": {"layer1.0.conv1": 0.9999}}, UsageError, "nothing would be left of the 2,304 weights"),
        ({"sparsities": {"layer1.0.conv1": 0}}, UsageError, "would drop nothing"),
        ({"sparsities": None, "epsilon": 1e-12, "schedule": "one-shot"}, UsageError, "none of the weights would fall"),
        ({"sparsities": None, "epsilon": 1e6, "schedule": "one-shot"}, UsageError, "all weights would fall"),
        ({"sparsities": None, "pattern": "2:5", "schedule": "one-shot"}, UsageError, "pattern 2:5 needs input channels that 5 divides; not so in layer1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(settings, error, words):
    with pytest.raises(error, match=words):
        produced(**{**SMALL, "rounds": 1, "rewind": "none", **settings})


def test_an_unknown_layer_is_answered_with_the_one_that_was_meant():
    with pytest.raises(UsageErrors) as refused:
        produced(**{**SMALL, "rounds": 1, "sparsities": {"layer1.0.conv9": 0.5}})
    assert "did you mean 'layer1.0.conv" in str(refused.value)


def test_a_layer_in_which_nothing_is_left_is_told():
    settings = {
        "criterion": "obd",
        "schedule": "one-shot",
        "loss": "cls",
        "heal": "0ep",
        "calibrate": 20,
        "epsilon": 0.3,
    }
    notes = [event.text for event in prune(prune_job(**settings)) if isinstance(event, Note)]
    assert any("nothing is left of layer" in text for text in notes), notes


def before_norm(values, images):
    """What the first BatchNorm of a block reads, less its running mean, on average: [C]."""
    model, found = build_encoder("resnet_small", n_classes=3, seed=0).eval(), []
    load_into(model, values, where="the test")
    norm = model.layer1[0].bn1
    norm.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    with torch.no_grad():
        model(images)
    return found[0].mean(dim=(0, 2, 3)) - norm.running_mean


def test_what_the_means_lose_is_taken_off_the_batchnorm_that_reads_the_layer(trained):
    """So that on the calibration images it reads the same as before, on average, and exactly."""
    settings = {**COMPENSATED, "rewind": "none", "finetune": "0ep", "rounds": 1, "sparsities": {"layer1.0.conv1": 0.8},
                "calibrate": 60, "positions": 0, "inputs": {"encoder": trained}}  # fmt: skip
    made = outputs(**settings)["1"].values
    network = PrunedNetwork(prune_job(**settings))
    ((images, _),) = recalibrate.calibration_batches(network.splits, 60, torch.device("cpu"))
    before, after = before_norm(trained.values, images), before_norm(made, images)
    shifted = before_norm({**made, "layer1.0.bn1.running_mean": trained.values["layer1.0.bn1.running_mean"]}, images)
    torch.testing.assert_close(after, before, rtol=0, atol=2e-5)
    assert (shifted - before).abs().max() > 0.01
