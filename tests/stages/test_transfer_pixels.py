"""Pixel-level targets, trained for a few steps on twelve scenes: what is kept, what is frozen, what is refused."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.stages.small_job import encoder_input, run_transfer, transfer_job
from ticketcli.data.sets import load_splits
from ticketcli.errors import UsageError
from ticketcli.models.architectures import build_encoder, prunable
from ticketcli.stages.transfer import transfer
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import read_state, write_state

TASKS = ("semantic", "detection", "segmentation")
BODY = "backbone.body."


def ticket():
    """Half of the weights, at random, of a random network."""
    dense = encoder_input()
    draw = np.random.default_rng(0)
    weights = prunable(build_encoder("resnet_small", n_classes=3, seed=0))
    mask = Mask({name: draw.random(tuple(weight.shape)) < 0.5 for name, weight in weights.items()})
    return dataclasses.replace(dense, ref="ours/3", kind="ticket", mask=mask)


def made(produced):
    (output,) = produced.outputs
    return output


def body(output):
    return {name.removeprefix(BODY): value for name, value in output.values.items() if name.startswith(BODY)}


@pytest.mark.parametrize("task", TASKS)
def test_a_ticket_keeps_its_mask_on_every_task(task):
    source = ticket()
    output = made(run_transfer(source, task=task)[0])
    assert {name.removeprefix(BODY) for name in output.mask} == set(source.mask)
    assert output.mask.sparsity == source.mask.sparsity
    for name, alive in output.mask.items():
        dead = output.values[name].numpy()[~alive]
        assert not dead.any()
        assert not np.signbit(dead).any()


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_stem_first_stage_and_batchnorm_stay_as_they_are_in_detectors(task):
    source = ticket()
    values = body(made(run_transfer(source, task=task, recalibrate_bn=0)[0]))
    still = [name for name in values if name.startswith(("conv1", "layer1")) or ".bn" in name or name.startswith("bn1")]
    assert len(still) > 20
    for name in still:
        wanted = source.values[name]
        if name in source.mask:
            wanted = torch.where(torch.from_numpy(source.mask[name].copy()), wanted, torch.zeros(()))
        assert torch.equal(values[name], wanted), name
    assert not torch.equal(values["layer4.0.conv1.weight"], source.values["layer4.0.conv1.weight"])


def test_batchnorm_is_reestimated_on_the_source_before_it_is_frozen():
    source = ticket()
    literal = body(made(run_transfer(source, task="detection", recalibrate_bn=0)[0]))
    found = body(made(run_transfer(source, task="detection")[0]))
    assert torch.equal(literal["bn1.running_mean"], source.values["bn1.running_mean"])
    assert not torch.equal(found["bn1.running_mean"], source.values["bn1.running_mean"])
    longer = body(made(run_transfer(source, task="detection", epochs="2it")[0]))
    assert torch.equal(longer["bn1.running_mean"], found["bn1.running_mean"])


@pytest.mark.parametrize("task", TASKS)
def test_heads_alone_leave_one_backbone_for_all_tasks(task):
    source = encoder_input()
    output = made(run_transfer(source, task=task, freeze_backbone=True, recalibrate_bn=0)[0])
    values = body(output)
    assert all(torch.equal(value, source.values[name]) for name, value in values.items())
    assert set(source.values) - set(values) == {"fc.weight", "fc.bias"}
    fresh = made(run_transfer(source, task=task, freeze_backbone=True, recalibrate_bn=0, epochs="1it")[0])
    heads = [name for name in output.values if not name.startswith(BODY) and "weight" in name]
    assert any(not torch.equal(output.values[name], fresh.values[name]) for name in heads)


def test_a_classifier_can_be_a_head_on_a_frozen_backbone():
    source = encoder_input()
    settings = {"task": "classification", "data": "digits", "freeze_backbone": True, "recalibrate_bn": 0}
    output = made(run_transfer(source, **settings, schedule="auto", channels=256)[0])
    for name, value in output.values.items():
        if not name.startswith("fc."):
            assert torch.equal(value, source.values[name]), name


@pytest.mark.parametrize("task", ["semantic", "segmentation"])
def test_in_half_precision_and_in_parts_a_task_is_trained_and_keeps_its_mask(task):
    ways = {"precision": "bf16", "layout": "channels_last", "fused": True, "micro_batch": 2}
    source = ticket()
    output, usual = (made(run_transfer(source, task=task, **how)[0]) for how in (ways, {}))
    assert {name: (v.dtype, v.shape) for name, v in output.values.items()} == {
        name: (v.dtype, v.shape) for name, v in usual.values.items()
    }
    assert all(value.is_contiguous() for value in output.values.values())
    assert not all(torch.equal(value, usual.values[name]) for name, value in output.values.items())
    for name, alive in output.mask.items():
        assert not output.values[name].numpy().view(np.int32)[~alive].any(), "+0.0 to the last bit"


@pytest.mark.parametrize("task", ["semantic", "segmentation"])
def test_a_run_cut_and_continued_ends_in_the_same_bytes(task, tmp_path):
    source = ticket()
    straight = made(run_transfer(source, task=task)[0])
    job = transfer_job(source, task=task)
    steps = 0
    for event in transfer(job):
        if hasattr(event, "capture"):
            steps += 1
            if steps == 2:
                write_state(tmp_path / "s.safetensors", event.capture(), about={}, check=lambda path: None)
                break
    torch.rand(7)  # what else draws in the process changes nothing
    state, _ = read_state(tmp_path / "s.safetensors")
    resumed = made(run_transfer(source, task=task, resume=state)[0])
    assert all(torch.equal(resumed.values[name], value) for name, value in straight.values.items())


def test_what_the_network_is_and_expects_is_said_and_recorded():
    produced, _, notes = run_transfer(ticket(), task="segmentation")
    assert any("Mask R-CNN: images RGB" in note and "frozen: conv1, layer1, all BatchNorm" in note for note in notes)
    assert any(" 49." in note or " 50." in note for note in notes)  # the sparsity
    about = made(produced).about
    assert about["class_names"] == [str(digit) for digit in range(10)]
    assert about["head"]["side"] == about["image_size"] == 64
    assert about["normalization"] == encoder_input().about["normalization"]
    metrics = produced.metrics
    assert set(metrics["test"]) == {"box", "mask", "n"}
    assert metrics["images"]["train"] == 12
    assert metrics["network_sparsity"] < metrics["sparsity"]


def test_images_of_one_class_are_no_target_for_pixels_nor_scenes_one_for_classes():
    with pytest.raises(UsageError, match="nothing is outlined"):
        run_transfer(encoder_input(), task="detection", data="digits")
    with pytest.raises(UsageError, match="images of several objects"):
        run_transfer(encoder_input(), task="classification", schedule="auto", channels=256)


def test_boxes_alone_are_no_target_for_masks(monkeypatch):
    splits = load_splits("scenes", images=12)
    bare = [
        dataclasses.replace(
            picture, instances=tuple(dataclasses.replace(one, segmentation=None) for one in picture.instances)
        )
        for picture in splits.train.pictures
    ]
    train = dataclasses.replace(splits.train, pictures=tuple(bare))
    from ticketcli.tasks.table import TASKS

    boxes = dataclasses.replace(splits, train=train)
    with pytest.raises(UsageError, match="has a box and no outline"):
        TASKS["segmentation"].check(boxes)
    TASKS["detection"].check(boxes)


def test_a_checkpoint_that_forgot_its_images_says_how_to_go_on():
    source = encoder_input()
    about = {name: value for name, value in source.about.items() if name != "data"}
    forgetful = dataclasses.replace(source, about=about)
    with pytest.raises(UsageError, match="does not say what it was trained on"):
        run_transfer(forgetful, task="detection")
    assert run_transfer(forgetful, task="detection", recalibrate_bn=0)[0] is not None


def test_batchnorm_of_a_frozen_part_is_reestimated_though_the_rest_is_trained():
    source = ticket()
    values = body(made(run_transfer(source, task="semantic", freeze="first")[0]))
    assert not torch.equal(values["bn1.running_mean"], source.values["bn1.running_mean"])
    again = body(made(run_transfer(source, task="semantic", freeze="first", epochs="1it")[0]))
    assert torch.equal(values["bn1.running_mean"], again["bn1.running_mean"])


def test_images_of_coco_are_mirrored_and_digits_are_not():
    from ticketcli.data.table import natural_augment

    for name, kind in (("coco", "crop-flip"), ("coco:x", "crop-flip"), ("maps:x", "crop-flip"), ("scenes", "shift")):
        assert natural_augment(name, 800) == kind


def test_a_batch_in_which_no_pixel_counts_does_not_diverge():
    from ticketcli.tasks.table import TASKS
    from ticketcli.tasks.task import Head
    from ticketcli.tensors.shown import Objects, Shown

    head = Head(("background", "interior", "boundary"), 32, 64, 8, regions="boundary")
    task = TASKS["semantic"]
    model = task.build(build_encoder("resnet_small", n_classes=3, seed=0), head, seed=0)
    crowd = Objects(torch.tensor([[0.0, 0, 32, 32]]), torch.tensor([0]), torch.ones(1, 32, 32, dtype=torch.uint8),
                    torch.tensor([True]))  # fmt: skip
    shown = Shown(torch.zeros(1, 3, 32, 32), ((32, 32),), (crowd,), (0,))
    assert float(task.loss(model, head)(shown, 0)["loss"].detach()) == 0
