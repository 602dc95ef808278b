"""The round trip of every architecture of the table, and of a handful of timm's; and what can be pruned."""

import importlib.util

import numpy as np
import pytest
import torch
from torch import nn

from ticketcli.errors import MismatchError, UsageError
from ticketcli.models.architectures import build_encoder, masked_parameters, prunable
from ticketcli.models.decoder import build_decoder
from ticketcli.models.table import ARCHITECTURES, architecture, tap_names_of
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import copy_of, load_into
from ticketcli.tensors.seeds import generator

TIMM = ["resnet18", "efficientnet_lite0", "mobilenetv3_small_100", "convnext_atto", "regnety_002"]
needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
HEAVY = ("vgg16", "vgg16_bn")  # half a gigabyte of weights each
OWN = [pytest.param(arch, marks=pytest.mark.slow) if arch in HEAVY else arch for arch in ARCHITECTURES]
ALL = [*OWN, *(pytest.param(f"timm:{name}", marks=needs_timm) for name in TIMM)]
TAPPED = [arch for arch in ALL if arch != "lenet300"]


def small_side(arch):
    """Large nets meet small images here, so that the tests stay quick."""
    return min(64, architecture(arch).image_size)


@torch.no_grad()
def settle(decoder, taps):
    """Statistics of what it is given: a hundred layers one behind the other are else beyond all numbers."""
    for part in decoder.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    decoder.train()(taps, t=0.1)


@pytest.mark.parametrize("arch", TAPPED)
def test_the_round_trip_of_every_architecture(arch):
    side = small_side(arch)
    encoder = build_encoder(arch, n_classes=3, seed=0)
    hints = encoder.tap_names[-2:]
    decoder = build_decoder(encoder, image_size=side, hints=hints, width=0.125, seed=0)
    images = torch.randn(2, 3, side, side, generator=generator(0, "images"))

    taps, logits = encoder.taps_and_logits(images)
    settle(decoder, taps)
    decoder.requires_grad_(False).eval()
    assert (tuple(taps), logits.shape) == (encoder.tap_names, (2, 3))
    assert tap_names_of(arch) in (None, encoder.tap_names)
    assert len(encoder.depths) == len(taps)
    sides = [tap.shape[2] for tap in taps.values()]
    assert all(tap.ndim == 4 for tap in taps.values())
    assert sides == sorted(set(sides), reverse=True)  # one tap a resolution, shallow to deep

    for tap in taps.values():
        tap.retain_grad()
    rebuilt = decoder(taps, t=0.1)
    assert rebuilt.shape == images.shape
    rebuilt.square().mean().backward()
    assert all(float(taps[hint].grad.abs().sum()) > 0 for hint in hints)
    stem = encoder.get_submodule(encoder.stem_names[0]).weight
    assert float(stem.grad.abs().sum()) > 0

    other = build_encoder(arch, n_classes=3, seed=1).eval()
    load_into(other, copy_of(encoder), where="saved")
    with torch.no_grad():
        assert torch.equal(other(images), encoder.eval()(images))


@pytest.mark.parametrize("arch", ALL)
def test_stem_head_and_norms_are_not_prunable_unless_all_weights_are(arch):
    encoder = build_encoder(arch, n_classes=3, seed=0)
    names = prunable(encoder)
    kinds = {name: type(part) for name, part in encoder.named_modules()}
    assert (nn.Conv2d if encoder.tap_names else nn.Linear) in {
        base for name in names for base in kinds[name.removesuffix(".weight")].mro()
    }
    heads = {f"{name}.weight" for name in (*encoder.stem_names, *encoder.head_names)}
    assert not heads & set(names)
    everything = prunable(encoder, "weights")
    assert set(everything) == set(names) | heads
    assert all(weight.ndim in (2, 4) for weight in everything.values())
    assert all(weight is encoder.get_parameter(name) for name, weight in everything.items())


def test_every_convolution_but_the_stem_is_prunable_in_a_resnet():
    names = prunable(build_encoder("resnet_small", n_classes=5, seed=0))
    assert len(names) == 8 + 3
    assert "layer2.0.downsample.0.weight" in names
    assert list(names)[:2] == ["layer1.0.conv1.weight", "layer1.0.conv2.weight"]


@needs_timm
def test_the_pointwise_layers_of_convnext_are_prunable_but_not_its_head():
    names = prunable(build_encoder("timm:convnext_atto", n_classes=5, seed=0))
    assert "stages.0.blocks.0.mlp.fc1.weight" in names
    assert "stages.1.downsample.1.weight" in names
    assert not any(name.startswith(("stem.", "head.")) for name in names)


def test_a_mask_names_its_own_parameters_whatever_could_have_been_pruned():
    model = build_encoder("resnet_small", n_classes=5, seed=0)
    found = masked_parameters(model, Mask({"fc.weight": np.ones((5, 128), bool)}))
    assert list(found) == ["fc.weight"]
    assert found["fc.weight"] is model.fc.weight


def test_a_mask_of_something_that_the_network_lacks_is_refused():
    model = build_encoder("resnet_small", n_classes=5, seed=0)
    with pytest.raises(MismatchError, match=r"about 'layer5\.weight', which the network has not"):
        masked_parameters(model, Mask({"layer5.weight": np.ones((5, 128), bool)}))
    with pytest.raises(MismatchError, match=r"the mask is \(4, 128\), the network's is \(5, 128\)"):
        masked_parameters(model, Mask({"fc.weight": np.ones((4, 128), bool)}))


@pytest.mark.parametrize(("word", "close"), [("resnet-50", "resnet50"), ("resnet18_3", "resnet18_3x3")])
def test_an_unknown_architecture_is_refused_with_a_suggestion(word, close):
    with pytest.raises(UsageError, match=f"unknown architecture '{word}'") as caught:
        build_encoder(word, n_classes=2, seed=0)
    assert close in caught.value.hint


@pytest.mark.parametrize("arch", ["resnet_small", pytest.param("timm:regnety_002", marks=needs_timm)])
def test_without_its_head_a_net_has_the_same_taps_and_no_parameters_of_it(arch):
    encoder = build_encoder(arch, n_classes=3, seed=0).eval()
    images, names = torch.randn(1, 3, 64, 64), set(encoder.state_dict())
    with torch.no_grad():
        before = encoder.taps(images)
        encoder.drop_head()
        after = encoder.taps(images)
    assert all(torch.equal(before[tap], after[tap]) for tap in encoder.tap_names)
    assert names - set(encoder.state_dict()) == {name for name in names if name.startswith(encoder.head_prefixes)}
