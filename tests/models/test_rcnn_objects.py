"""What a detector learns from, and what it finds."""

from dataclasses import replace

import pytest
import torch

from tests.models.rectangles import rectangles
from tests.models.test_rcnn import MASKS, SIZES, detector, equal
from ticketcli.errors import CorruptError, UsageError
from ticketcli.models.architectures import build_encoder
from ticketcli.models.fpn import levels_of
from ticketcli.tensors.modes import evaluating
from ticketcli.tensors.shown import Objects

# --- targets ------------------------------------------------------------------------------------------------------------


def test_crowds_are_no_targets():
    rcnn = detector().eval()
    crowded = rectangles(SIZES, crowd={(0, 1), (1, 0)})
    without = replace(
        crowded,
        objects=tuple(
            Objects(o.boxes[~o.crowd], o.labels[~o.crowd], o.masks[~o.crowd], o.crowd[~o.crowd])
            for o in crowded.objects
        ),
    )
    assert equal(rcnn.losses(crowded, 0), rcnn.losses(without, 0))
    assert not equal(rcnn.losses(rectangles(SIZES), 0), rcnn.losses(without, 0))


@MASKS
@pytest.mark.parametrize("n_objects", [0, 1])
def test_images_without_objects_train_as_background(masks, n_objects):
    rcnn = detector(masks=masks).train()
    shown = rectangles(SIZES, n_objects=n_objects, crowd={(0, 0), (1, 0)})
    losses = rcnn.losses(shown, 0)
    assert bool(losses["loss_classifier"] > 0)
    assert bool(losses["loss_objectness"] > 0)
    assert bool(losses["loss_box_reg"] == 0)
    losses["loss"].backward()
    assert all(bool(p.grad.isfinite().all()) for p in rcnn.parameters() if p.grad is not None)


def test_one_image_may_be_empty_beside_another_that_is_not():
    rcnn, shown = detector().train(), rectangles(SIZES, crowd={(0, 0), (0, 1)})
    assert all(bool(value.isfinite()) for value in rcnn.losses(shown, 0).values())


def test_a_box_without_area_is_refused():
    shown = rectangles(SIZES)
    shown.objects[1].boxes[0, 2] = shown.objects[1].boxes[0, 0]
    with pytest.raises(CorruptError, match="no area"):
        detector().losses(shown, 0)


def test_masks_that_are_wanted_and_absent_are_missed():
    with pytest.raises(UsageError, match="no masks"):
        detector(masks=True).losses(rectangles(SIZES, masks=False), 0)


@pytest.mark.parametrize(
    "name", ["backbone.body.conv1.weight", "rpn.head.bbox_pred.weight", "roi_heads.box_head.fc6.weight"]
)
def test_a_network_that_has_diverged_says_so_and_does_not_crash(name):
    """Boxes that are not finite would end the process inside RoIAlign, if any came so far."""
    rcnn = detector().train()
    with torch.no_grad():
        rcnn.get_parameter(name).fill_(float("nan"))
    loss = rcnn.losses(rectangles(SIZES), 0)["loss"]
    loss.backward()
    assert not bool(loss.isfinite())
    rcnn.find(rectangles(SIZES))


# --- findings -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[True, False], ids=["mask", "faster"])
def trained(request):
    """A small detector that has seen two images a few dozen times, what its loss was, and those images."""
    rcnn = detector(masks=request.param, anchors=(8.0, 12.0, 16.0, 24.0, 32.0)).train()
    rcnn.roi_heads.fg_bg_sampler.batch_size_per_image = 64  # for speed
    shown = rectangles(SIZES)
    optimizer = torch.optim.SGD(rcnn.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for step in range(60):
        optimizer.zero_grad()
        loss = rcnn.losses(shown, step)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rcnn.parameters(), 10.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return rcnn, losses, shown


def test_it_learns(trained):
    _, losses, _ = trained
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_findings_lie_within_the_images_as_shown(trained):
    rcnn, _, shown = trained
    rcnn.roi_heads.score_thresh = 0.01
    for found, (h, w) in zip(rcnn.find(shown), shown.sizes, strict=True):
        m = len(found.boxes)
        assert 0 < m <= 100
        assert (found.boxes.dtype, found.labels.dtype, found.scores.dtype) == (
            torch.float32,
            torch.int64,
            torch.float32,
        )
        assert bool((found.boxes >= 0).all() and (found.boxes <= torch.tensor([w, h, w, h])).all())
        assert set(found.labels.tolist()) <= {0, 1}
        assert bool((found.scores > 0.01).all())
        assert torch.equal(found.scores, found.scores.sort(descending=True).values)
        assert (found.masks is None) == (not rcnn.masks)
        if found.masks is not None:
            assert (found.masks.dtype, found.masks.shape) == (torch.uint8, (m, h, w))
            assert int(found.masks.max()) <= 1
    rcnn.roi_heads.score_thresh = 0.05


def test_no_more_is_found_than_wanted(trained):
    rcnn, _, shown = trained
    rcnn.roi_heads.score_thresh, rcnn.roi_heads.detections_per_img = 0.0, 3
    assert [len(found.boxes) for found in rcnn.find(shown)] == [3, 3]
    rcnn.roi_heads.score_thresh, rcnn.roi_heads.detections_per_img = 0.05, 100


def test_findings_can_be_given_at_the_original_size(trained):
    rcnn, _, shown = trained
    small, large = rcnn.find(shown), rcnn.find(shown, sizes=[(128, 192), (100, 160)])
    for one, two, (h, w), (height, width) in zip(small, large, shown.sizes, [(128, 192), (100, 160)], strict=True):
        assert torch.allclose(one.boxes * torch.tensor([width / w, height / h] * 2), two.boxes)
        assert two.masks is None or two.masks.shape[1:] == (height, width)


def test_finding_leaves_modes_and_gradients_alone(trained):
    rcnn, _, shown = trained
    rcnn.train()
    rcnn.backbone.body.get_submodule("bn1").eval()
    before = [part.training for part in rcnn.modules()]
    found = rcnn.find(shown)
    assert [part.training for part in rcnn.modules()] == before
    assert not found[0].scores.requires_grad
    with evaluating(rcnn):
        assert torch.equal(rcnn.find(shown)[0].boxes, found[0].boxes)


def test_an_image_is_found_the_same_alone_and_beside_others(trained):
    """Equal padded sizes; what differs is the arithmetic of batches."""
    rcnn, _, shown = trained
    together = rcnn.find(shown)
    for place, one in enumerate(together):
        alone = replace(
            shown,
            images=shown.images[place : place + 1],
            sizes=shown.sizes[place : place + 1],
            objects=shown.objects[place : place + 1],
        )
        (other,) = rcnn.find(alone)
        assert torch.allclose(one.boxes, other.boxes, atol=1e-3)
        assert torch.allclose(one.scores, other.scores, atol=1e-5)


@pytest.mark.parametrize("side", [375, 427, 773, 100])
def test_images_of_any_side_have_a_pyramid(side):
    levels = levels_of(build_encoder("resnet18", n_classes=2, seed=0), side)
    assert [level.stride for level in levels] == [4, 8, 16, 32]
