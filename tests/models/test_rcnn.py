import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models.detection import fasterrcnn_resnet50_fpn, maskrcnn_resnet50_fpn

from tests.models.rectangles import rectangles
from ticketcli.data.images import Normalization
from ticketcli.errors import CorruptError, UsageError
from ticketcli.models.architectures import build_encoder
from ticketcli.models.encoder import Encoder
from ticketcli.models.freezing import freeze_parts
from ticketcli.models.rcnn import build_rcnn, describe
from ticketcli.tensors.global_draws import global_draws
from ticketcli.tensors.modes import evaluating
from ticketcli.tensors.seeds import derive
from ticketcli.tensors.shown import Objects

SIZES = ((64, 64), (50, 40))
MASKS = pytest.mark.parametrize("masks", [True, False], ids=["mask", "faster"])


def detector(arch="resnet_small", *, masks=True, seed=0, channels=16, **settings):
    settings = {"n_classes": 2, "anchors": None, "image_size": 64, **settings}
    return build_rcnn(
        build_encoder(arch, n_classes=5, seed=seed), masks=masks, channels=channels, seed=seed, **settings
    )


class Uneven(Encoder):
    """An encoder that strides by 2, 4 and 2."""

    tap_names, head_names, stem_names, depths, block_kind = ("a", "b", "c"), ("fc",), ("a",), (1, 1, 1), "basic"

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, stride, stride) for stride in (2, 4, 2))

    def taps_and_logits(self, x):
        found = {}
        for name in self.tap_names:
            found[name] = x = self.get_submodule(name)(x)
        return found, x

    def new_head(self, n_classes, draw):
        """It has none."""


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


# --- the same network as torchvision's -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[True, False], ids=["mask", "faster"])
def twins(request):
    """Ours of ResNet-50, and torchvision's with its values; torchvision's is told not to touch the images."""
    ours = detector("resnet50", masks=request.param, channels=256, image_size=224)
    build = maskrcnn_resnet50_fpn if request.param else fasterrcnn_resnet50_fpn
    theirs = build(
        weights=None, weights_backbone=None, num_classes=3, min_size=64, image_mean=(0, 0, 0), image_std=(1, 1, 1)
    )
    with torch.no_grad():
        ours.roi_heads.box_predictor.cls_score.bias[1:] += 2.0  # so that something is found
    missing, unexpected = theirs.load_state_dict(ours.state_dict(), strict=False)
    return ours, theirs, [*missing, *unexpected]


def test_a_resnet50_has_every_value_of_torchvisions_and_no_other(twins):
    ours, theirs, misfits = twins
    assert misfits == []
    assert list(ours.state_dict()) == list(theirs.state_dict())  # and in its order
    assert not any("fc." in name and "body" in name for name in ours.state_dict())


def test_losses_are_torchvisions(twins):
    ours, theirs, _ = twins
    shown = rectangles(SIZES[:1] * 2)
    targets = [{"boxes": o.boxes, "labels": o.labels + 1, "masks": o.masks} for o in shown.objects]
    ours.eval()  # BatchNorm; RPN and heads know that they train
    theirs.eval()
    theirs.training = theirs.rpn.training = theirs.roi_heads.training = True
    with global_draws(derive(7, "proposals"), torch.device("cpu")):
        expected = theirs(list(shown.images), targets)
    found = ours.losses(shown, 7)
    assert torch.allclose(found.pop("loss"), sum(expected.values()))
    assert equal(found, expected)


def test_what_is_found_is_what_torchvision_finds(twins):
    ours, theirs, _ = twins
    shown = rectangles(SIZES[:1] * 2)
    ours.roi_heads.detections_per_img = theirs.roi_heads.detections_per_img = 20
    with torch.no_grad():
        expected = theirs.eval()(list(shown.images))
    for one, other in zip(ours.find(shown), expected, strict=True):
        assert len(one.boxes) > 3
        assert torch.equal(one.boxes, other["boxes"])
        assert torch.equal(one.labels + 1, other["labels"])
        assert torch.equal(one.scores, other["scores"])
        assert (one.masks is None) == (not ours.masks)
        if one.masks is not None:
            assert torch.equal(one.masks, (other["masks"][:, 0] > 0.5).to(torch.uint8))


# --- the backbone -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arch", ["resnet_small", "resnet18", "resnet50", "resnet20", "timm:resnet18", "timm:regnety_002"]
)
def test_the_backbone_gives_the_classifiers_feature_maps_on_the_same_padded_pixels(arch):
    if arch.startswith("timm:"):
        pytest.importorskip("timm")
    classifier = build_encoder(arch, n_classes=5, seed=0).eval()
    rcnn = build_rcnn(
        copy.deepcopy(classifier), n_classes=2, masks=True, channels=8, anchors=None, image_size=64, seed=0
    )
    shown = rectangles(SIZES)
    seen = {}
    rcnn.backbone.fpn.register_forward_pre_hook(lambda _part, given: seen.update(given[0]))
    rcnn.find(shown)
    with torch.no_grad():
        expected, _ = classifier.taps_and_logits(shown.images)
    used = list(expected)[-len(seen) :]
    assert list(seen) == [str(place) for place in range(len(used))]
    assert all(torch.equal(seen[str(place)], expected[tap]) for place, tap in enumerate(used))


@pytest.mark.parametrize(
    ("arch", "strides"),
    [
        ("resnet_small", (1, 2, 4, 8, 16)),
        ("resnet20", (1, 2, 4, 8)),
        ("resnet18", (4, 8, 16, 32, 64)),
        ("timm:resnet18", (4, 8, 16, 32, 64)),  # five taps, of which the deepest four count
    ],
)
def test_strides_are_derived_and_anchors_follow_them(arch, strides):
    if arch.startswith("timm:"):
        pytest.importorskip("timm")
    rcnn = detector(arch)
    assert rcnn.backbone.strides == strides
    assert rcnn.anchors == tuple(8.0 * stride for stride in strides)
    assert rcnn.roi_heads.box_roi_pool.scales == [1 / stride for stride in strides[:-1]]


def test_another_width_of_the_pyramid_is_that_of_the_heads():
    state = detector(channels=24).state_dict()
    assert state["backbone.fpn.layer_blocks.0.0.weight"].shape == (24, 24, 3, 3)
    assert state["roi_heads.box_head.fc7.weight"].shape == (96, 96)
    assert state["roi_heads.mask_predictor.conv5_mask.weight"].shape == (24, 24, 2, 2)


def test_anchors_can_be_chosen():
    assert detector(anchors=(4.0, 6.0, 10.0, 20.0, 40.0)).anchors == (4.0, 6.0, 10.0, 20.0, 40.0)


@pytest.mark.parametrize(
    ("anchors", "message"),
    [((8.0, 16.0), "2 anchors for 5 levels of strides 1, 2, 4, 8, 16"), ((0.5, 4.0, 8.0, 16.0, 32.0), "0.5 pixels")],
)
def test_anchors_that_do_not_fit_are_refused(anchors, message):
    with pytest.raises(UsageError, match=message):
        detector(anchors=anchors)


def test_strides_that_do_not_double_are_refused():
    with pytest.raises(UsageError, match="this net's are 2, 8, 16"):
        build_rcnn(Uneven(), n_classes=2, masks=True, image_size=64, seed=0)


# --- draws --------------------------------------------------------------------------------------------------------------


def test_the_seed_decides_the_fresh_values_and_the_global_generator_stays():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = detector(seed=0).state_dict()
    torch.rand(3)
    two, other = detector(seed=0).state_dict(), detector(seed=1).state_dict()
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(one, two)
    assert not torch.equal(one["rpn.head.conv.0.0.weight"], other["rpn.head.conv.0.0.weight"])
    assert float(one["rpn.head.conv.0.0.weight"].std()) == pytest.approx(0.01, rel=0.1)  # torchvision's draw


@MASKS
def test_equal_draws_give_equal_bytes_and_the_global_generator_stays(masks):
    rcnn, shown = detector(masks=masks).train(), rectangles(SIZES, masks=masks)
    freeze_parts(rcnn.backbone.body, "backbone", "frozen")[0].eval()  # or its statistics would move between the calls
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = rcnn.losses(shown, 11)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    two, other = rcnn.losses(shown, 11), rcnn.losses(shown, 12)
    assert equal(one, two)
    assert not torch.equal(one["loss"], other["loss"])
    values = {name: float(value.detach()) for name, value in one.items()}
    assert values.pop("loss") == pytest.approx(sum(values.values()))


def test_what_earlier_batches_were_leaves_no_trace():
    """Pools of torchvision's keep what they saw first."""
    one, two = detector("resnet18").eval(), detector("resnet18").eval()
    two.losses(rectangles(((33, 33),)), 0)
    assert equal(one.losses(rectangles(SIZES), 1), two.losses(rectangles(SIZES), 1))


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
    small, large = rcnn.find(shown), rcnn.find(shown, sizes=[(128, 128), (100, 80)])
    for one, two, (h, w) in zip(small, large, [(128, 128), (100, 80)], strict=True):
        assert torch.allclose(2 * one.boxes, two.boxes)
        assert two.masks is None or two.masks.shape[1:] == (h, w)


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


# --- for people ---------------------------------------------------------------------------------------------------------


def test_it_says_what_people_ask_about_a_detector():
    rcnn = detector("resnet50")
    freeze_parts(rcnn.backbone.body, "first", "frozen")
    said = describe(rcnn, Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert "\n" not in said
    for part in (
        "Mask R-CNN",
        "RGB, mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225",
        "3x3 convolution, as in torchvision",
        "stride 4, 8, 16, 32, 64 with anchors of 32, 64, 128, 256, 512",
        "frozen: conv1, layer1, all BatchNorm",
        "backbone 23,508,032",
    ):
        assert part in said
