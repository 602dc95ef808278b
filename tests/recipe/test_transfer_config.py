"""Schedules of pixel-level tasks: what is not given follows the batch and the length that are."""

import pytest

from ticketcli.errors import UsageErrors
from ticketcli.recipe.transfer_config import TransferConfig


def config(**settings):
    return TransferConfig.parse({"data": "scenes", "task": "segmentation", **settings}, where="transfer")


def test_1x_is_detectron2s():
    found = config()
    assert (found.batch, found.lr, found.momentum, found.weight_decay) == (16, 0.02, 0.9, 1e-4)
    assert str(found.epochs) == "90000it"
    assert [str(point) for point in found.milestones] == ["60000it", "80000it"]
    assert (str(found.warmup), found.warmup_factor) == ("1000it", 1 / 1000)
    assert found.short_sides == (640, 672, 704, 736, 768, 800)
    assert found.long_side == 1333
    assert (found.frozen_part, found.freezes_batchnorm) == ("first", True)


def test_another_batch_changes_rate_and_length_in_proportion():
    found = config(batch=2)
    assert found.lr == pytest.approx(0.0025)
    assert (str(found.epochs), str(found.warmup)) == ("720000it", "8000it")
    assert [str(point) for point in found.milestones] == ["480000it", "640000it"]


def test_what_is_given_stays():
    found = config(schedule="tiny", batch=16, lr=0.5, milestones=["1it"], short_sides=[96])
    assert (found.lr, found.short_sides) == (0.5, (96,))
    assert [str(point) for point in found.milestones] == ["1it"]


def test_milestones_follow_a_length_that_is_given():
    assert [str(point) for point in config(epochs="300it").milestones] == ["200it", "267it"]
    assert [str(point) for point in config(schedule="tiny", epochs="20ep").milestones] == ["13.3333ep", "18ep"]


@pytest.mark.parametrize("settings", [{}, {"batch": 6}, {"schedule": "tiny", "epochs": "7ep"}, {"task": "semantic"}])
def test_what_a_manifest_records_reads_back_as_the_same_settings(settings):
    found = config(**settings)
    assert TransferConfig.parse(found.resolved(), where="m") == found


def test_classification_is_as_it_was():
    found = TransferConfig.parse({"data": "digits"}, where="t")
    assert found.identity() == {"data": {"name": "digits"}}
    assert (found.frozen_part, found.freezes_batchnorm) == ("none", False)


def test_heads_alone_are_trained_when_the_backbone_is_frozen():
    for task in ("classification", "semantic", "detection"):
        found = config(task=task, freeze_backbone=True)
        assert (found.frozen_part, found.freezes_batchnorm) == ("backbone", True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "classification", "schedule": "1x"}, "schedule is for pixel-level tasks"),
        ({"task": "classification", "anchors": [8]}, "anchors is for pixel-level tasks"),
        ({"task": "semantic", "anchors": [8]}, "anchors are for"),
        ({"regions": "boundary"}, "regions are for"),
        ({"stem": "fresh"}, "would freeze what was never trained"),
        ({"short_sides": [16]}, "short_sides are pixels"),
        ({"short_sides": [640], "long_side": 600}, "short_sides are pixels"),
        ({"anchors": [0]}, "above 0"),
        ({"batch": "many"}, "batch"),
        ({"epochs": "soon"}, "not a duration"),
        ({"schedule": "2x"}, "schedule"),
    ],
)
def test_what_does_not_fit_together_is_refused(settings, words):
    with pytest.raises(UsageErrors, match=words):
        config(**settings)


def test_the_warm_up_follows_a_length_that_is_given():
    assert str(config(epochs="900it").warmup) == "10it"
    assert str(config(schedule="tiny", batch=2, epochs="300it").warmup) == "25it"


def test_a_length_of_a_million_steps_is_recorded_to_the_step():
    one, other = config(epochs="1234561it"), config(epochs="1234562it")
    assert one.identity() != other.identity()
    assert TransferConfig.parse(one.resolved(), where="m") == one


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"freeze_backbone": True, "freeze": "none"}, "freezes all of it"),
        ({"freeze_backbone": True, "batchnorm": "train"}, "freezes all of it"),
        ({"augment": "shift"}, "is for classification"),
        ({"image_size": 128, "data": "coco:cells"}, "image_size would change nothing"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings, words):
    with pytest.raises(UsageErrors, match=words):
        config(**settings)
