"""BatchNorm that stands still, multiplied into convolutions."""

import copy

import pytest
import torch
from torch import nn

from ticketcli.models.architectures import build_encoder
from ticketcli.models.decoder import build_decoder
from ticketcli.models.folding import Normalized, folded, norms


def settled(network):
    """Statistics and factors that normalise something, as training leaves them; float64, so that rounding is small."""
    draw = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=draw).mul_(0.1)
            module.running_var.uniform_(0.5, 2.0, generator=draw)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=draw)
            nn.init.normal_(module.bias, 0, 0.1, generator=draw)
    return network.double().eval()


@pytest.mark.parametrize("arch", ["resnet_small", "resnet20", "resnet50"])
def test_taps_and_logits_are_those_of_the_network(arch):
    network = settled(build_encoder(arch, n_classes=3, seed=0))
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    plain, fast = network.taps_and_logits(images), folded(network).taps_and_logits(images)
    assert all(torch.allclose(fast[0][name], tap, rtol=1e-9, atol=1e-9) for name, tap in plain[0].items())
    assert torch.allclose(fast[1], plain[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("arch", ["resnet_small", "resnet50"])
def test_gradients_reach_the_encoder_through_a_folded_decoder_as_through_the_decoder(arch):
    encoder = settled(build_encoder(arch, n_classes=3, seed=0))
    decoder = settled(build_decoder(encoder.float(), image_size=64, hints=("layer3",), width=0.5, seed=0))
    encoder.double()
    images, found = torch.randn(2, 3, 64, 64, dtype=torch.float64), []
    for one in (decoder, folded(decoder)):
        encoder.zero_grad()
        one(encoder.taps(images), t=0.1).square().mean().backward()
        found.append(encoder.conv1.weight.grad.clone())
    assert torch.allclose(found[0], found[1], rtol=1e-8, atol=1e-12)
    assert float(found[0].norm()) > 0


def test_no_normalisation_is_left_of_our_own_networks():
    encoder = build_encoder("resnet18", n_classes=3, seed=0).eval()
    decoder = build_decoder(encoder, image_size=64, hints=(), width=1.0, seed=0).eval()
    for one in (encoder, decoder):
        assert not any(isinstance(module, nn.BatchNorm2d) for module in folded(one).modules())


def test_the_network_itself_stays_as_it_is():
    network = build_encoder("resnet_small", n_classes=3, seed=0).eval()
    before = copy.deepcopy(network.state_dict())
    folded(network)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(one.requires_grad for one in network.parameters())


def test_a_norm_that_no_module_names_stays():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    assert isinstance(folded(network)[1], nn.BatchNorm2d)


def test_a_network_in_training_cannot_be_folded():
    with pytest.raises(AssertionError, match="statistics of a batch"):
        folded(Normalized(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))


def test_the_norms_that_alone_read_a_convolution_are_known_by_their_names_in_the_network():
    found = norms(build_encoder("resnet_small", n_classes=2, seed=0))
    assert found["conv1"] == "bn1"
    assert found["layer2.0.downsample.0"] == "layer2.0.downsample.1"
    assert len(found) == 12
