import copy

import pytest
import torch
from torch import nn
from torchvision.models.detection import fasterrcnn_resnet50_fpn, maskrcnn_resnet50_fpn

from tests.models.rectangles import rectangles
from ticketcli.data.images import Normalization
from ticketcli.errors import UsageError
from ticketcli.models.architectures import build_encoder
from ticketcli.models.encoder import Encoder
from ticketcli.models.freezing import freeze_parts
from ticketcli.models.rcnn import build_rcnn, describe
from ticketcli.tensors.global_draws import global_draws
from ticketcli.tensors.seeds import derive

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


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ("resnet_small", "; stages stride in their first 3x3 convolution, as in torchvision; "),
        ("timm:resnet18", "; strides where timm has them; "),
        ("gunn_small", "; pools between its stages; "),
    ],
)
def test_where_the_network_strides_is_said(arch, words):
    if arch.startswith("timm:"):
        pytest.importorskip("timm")
    assert words in describe(detector(arch), Normalization((0.5,) * 3, (0.25,) * 3))


def test_another_width_of_the_pyramid_is_that_of_the_heads():
    state = detector(channels=24).state_dict()
    assert state["backbone.fpn.layer_blocks.0.0.weight"].shape == (24, 24, 3, 3)
    assert state["roi_heads.box_head.fc7.weight"].shape == (96, 96)
    assert state["roi_heads.mask_predictor.conv5_mask.weight"].shape == (24, 24, 2, 2)


def test_how_many_regions_are_proposed_and_learnt_from_can_be_chosen():
    rcnn, seen = detector(proposals=60, samples=20), {}
    rcnn.rpn.register_forward_hook(lambda _part, _given, found: seen.update(proposed=[len(b) for b in found[0]]))
    rcnn.roi_heads.box_head.register_forward_pre_hook(lambda _part, given: seen.update(sampled=len(given[0])))
    rcnn.losses(rectangles(SIZES), 0)
    assert max(seen["proposed"]) == 60
    assert seen["sampled"] == 2 * 20
    rcnn.find(rectangles(SIZES))
    assert max(seen["proposed"]) == 30


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
