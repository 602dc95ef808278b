import numpy as np
import pytest
import torch
from torchvision.models.resnet import BasicBlock
from torchvision.models.resnet import ResNet as TorchvisionResNet

from ticketcli.models.architectures import ARCHITECTURES, build_encoder, prunable
from ticketcli.models.cost import macs, parameters
from ticketcli.tensors.seeds import generator


def encoder(seed=0):
    return build_encoder("resnet_small", n_classes=5, seed=seed)


def test_parameter_names_are_torchvisions():
    theirs = TorchvisionResNet(BasicBlock, [1, 1, 1, 1]).state_dict().keys()
    assert set(encoder().state_dict()) <= set(theirs) | {
        f"layer1.0.downsample.{end}" for end in ("0.weight", "1.weight", "1.bias")
    }


def test_the_small_resnet_has_about_0_3_million_weights():
    assert parameters(encoder()) == 308_181
    assert macs(encoder(), torch.zeros(1, 3, 32, 32)) == 16_171_648


def test_taps_come_in_order_with_halving_resolution():
    taps = encoder().eval().taps(torch.zeros(2, 3, 32, 32))
    assert {name: tuple(tap.shape) for name, tap in taps.items()} == {
        "layer1": (2, 16, 32, 32), "layer2": (2, 32, 16, 16), "layer3": (2, 64, 8, 8), "layer4": (2, 128, 4, 4)
    }  # fmt: skip
    assert all(float(tap.detach().min()) >= 0 for tap in taps.values())


def test_logits_are_those_of_the_last_tap():
    model = encoder().eval()
    images = torch.randn(3, 3, 32, 32)
    taps, logits = model.taps_and_logits(images)
    assert torch.equal(model(images), logits)
    assert torch.equal(logits, model.fc(taps["layer4"].mean(dim=(2, 3))))  # average pooling


def test_the_same_seed_gives_the_same_bytes_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    one, two, other = encoder(0), encoder(0), encoder(1)
    other.new_head(7, generator(0, "head"))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert not torch.equal(one.conv1.weight, other.conv1.weight)


def test_every_convolution_but_the_stem_is_prunable():
    names = prunable(encoder())
    assert len(names) == 8 + 3
    assert "conv1.weight" not in names
    assert "layer2.0.downsample.0.weight" in names
    assert not any("bn" in name or "fc" in name or "downsample.1" in name for name in names)


def test_a_new_head_leaves_the_backbone_as_it_is():
    model = encoder()
    before = model.layer1[0].conv1.weight.clone()
    model.new_head(7, generator(0, "head"))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert torch.equal(before, model.layer1[0].conv1.weight)


def test_every_architecture_builds_and_says_its_size():
    for name, known in ARCHITECTURES.items():
        model = build_encoder(name, n_classes=3, seed=0).eval()
        assert model(torch.zeros(1, 3, known.image_size, known.image_size)).shape == (1, 3)
        assert np.isfinite(float(model.fc.weight.detach().sum()))


def test_convolutions_start_from_hes_draw_by_fan_out():
    """The first convolution of a widening block has twice as many outputs as inputs, so fan in would show."""
    weight = encoder().layer4[0].conv1.weight.detach()
    assert float(weight.std()) == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
