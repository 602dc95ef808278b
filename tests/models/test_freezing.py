import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tests.models.rectangles import rectangles
from ticketcli.errors import UsageError
from ticketcli.models.architectures import build_encoder, masked_parameters, prunable
from ticketcli.models.freezing import freeze_parts, frozen_in_words
from ticketcli.models.rcnn import build_rcnn
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import copy_of
from ticketcli.tensors.masking import MaskedWeights


def encoder(arch="resnet_small"):
    if arch.startswith("timm:"):
        pytest.importorskip("timm")
    return build_encoder(arch, n_classes=3, seed=0)


@pytest.mark.parametrize(
    ("arch", "stem", "first"),
    [
        ("resnet_small", "conv1, bn1", "conv1, bn1, layer1"),
        ("resnet20", "conv1, bn1", "conv1, bn1, layer1"),
        ("resnet50", "conv1, bn1", "conv1, bn1, layer1"),
        ("timm:resnet18", "conv1, bn1", "conv1, bn1, layer1"),
        ("timm:mobilenetv3_small_100", "conv_stem, bn1", "conv_stem, bn1, blocks.0"),
        ("timm:convnext_atto", "stem", "stem, stages.0"),
        ("timm:regnety_002", "stem", "stem, s1"),
    ],
)
def test_where_the_stem_and_the_first_stage_end(arch, stem, first):
    for upto, expected in (("stem", stem), ("first", first)):
        net = encoder(arch)
        still = freeze_parts(net, upto, "train")
        names = {id(part): name for name, part in net.named_modules()}
        assert ", ".join(names[id(part)] for part in still) == expected
        inside = {f"{name}." for name in expected.split(", ")}
        for name, parameter in net.named_parameters():
            assert parameter.requires_grad == (not name.startswith(tuple(inside)))


def test_detectron2s_default_keeps_stem_first_stage_and_every_batchnorm_still():
    net = encoder("resnet18").train()
    for part in freeze_parts(net, "first", "frozen"):
        part.eval()
    for name, part in net.named_modules():
        early = name.startswith(("conv1", "bn1", "layer1"))
        if isinstance(part, _BatchNorm) or (early and isinstance(part, nn.Conv2d)):
            assert not part.training
            assert not any(parameter.requires_grad for parameter in part.parameters())
        elif isinstance(part, nn.Conv2d):
            assert part.weight.requires_grad
    assert frozen_in_words(net) == "conv1, layer1, all BatchNorm"


def test_batchnorm_without_affine_parameters_is_kept_still_too():
    net = encoder()
    net.layer3[0].bn1 = nn.BatchNorm2d(64, affine=False)
    assert any(part is net.layer3[0].bn1 for part in freeze_parts(net, "none", "frozen"))


def test_nothing_is_frozen_where_nothing_is_asked_for():
    net = encoder()
    assert freeze_parts(net, "none", "train") == ()
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert frozen_in_words(net) == "nothing"


def test_the_whole_backbone_is_one_part():
    net = encoder()
    assert freeze_parts(net, "backbone", "train") == (net,)
    assert frozen_in_words(net) == "the whole backbone"


def test_values_and_modes_are_left_alone():
    net = encoder().train()
    before = copy_of(net)
    freeze_parts(net, "first", "frozen")
    assert all(torch.equal(value, before[name]) for name, value in copy_of(net).items())
    assert all(part.training for part in net.modules())


@pytest.mark.parametrize("upto", ["stem", "first"])
def test_a_net_whose_stages_cannot_be_told_apart_is_refused(upto):
    pytest.importorskip("timm")
    with pytest.raises(UsageError, match="it cannot be told") as caught:
        freeze_parts(encoder("timm:vit_tiny_patch16_224"), upto, "train")
    assert "freeze: none" in caught.value.hint


@pytest.mark.parametrize("arch", ["resnet_small", "timm:regnety_002"])
@pytest.mark.parametrize(
    ("upto", "batchnorm"), [("first", "frozen"), ("stem", "train"), ("none", "frozen"), ("backbone", "train")]
)
def test_after_training_steps_what_is_frozen_is_byte_equal_and_masked_weights_are_zero(arch, upto, batchnorm):
    net = encoder(arch)
    draw = np.random.default_rng(0)
    mask = Mask({name: draw.random(weight.shape) < 0.1 for name, weight in prunable(net).items()})
    rcnn = build_rcnn(net, n_classes=2, masks=True, channels=8, image_size=64, seed=0)
    still = freeze_parts(rcnn.backbone.body, upto, batchnorm)
    ticket = MaskedWeights(masked_parameters(rcnn.backbone.body, mask), mask)
    ticket.apply()
    before = copy_of(rcnn)
    optimizer = torch.optim.SGD(rcnn.parameters(), lr=0.01, momentum=0.9, weight_decay=0.1)
    rcnn.train()
    for part in still:
        part.eval()
    for step in range(3):
        optimizer.zero_grad()
        rcnn.losses(rectangles(((64, 64), (50, 40)), seed=step), step)["loss"].backward()
        ticket.mask_gradients()
        optimizer.step()
        rcnn.find(rectangles(((64, 64),)))  # wakes nothing
    ticket.require_masked()
    fixed = {id(value) for part in still for value in (*part.parameters(), *part.buffers())}
    after, moved = copy_of(rcnn), []
    for name, value in (*rcnn.named_parameters(), *rcnn.named_buffers()):
        same = after[name].numpy().tobytes() == before[name].numpy().tobytes()
        assert same or id(value) not in fixed, name
        moved += [] if same else [name]
    assert any(name.startswith("rpn.") for name in moved)
    assert any(name.startswith("backbone.body.") for name in moved) == (upto != "backbone")
    statistics = [name for name in moved if "running_mean" in name]
    assert bool(statistics) == (batchnorm == "train" and upto != "backbone")
    if upto == "stem":
        assert not any("body.bn1" in name or "body.stem" in name for name in statistics)
