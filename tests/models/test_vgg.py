import pytest
import torch
import torch.fx
import torchvision
from torch import nn

from ticketcli.models.architectures import build_encoder, prunable
from ticketcli.models.cost import cost_of, tap_outlines
from ticketcli.models.folding import folded
from ticketcli.tensors.seeds import generator

VGGS = ("vgg16", "vgg16_bn")
# The appendix's table 5, in thousands; its 2K and 2M are rounded.
TABLE = (1.7, 37, 74, 148, 295, 590, 590, 1180, 2359, 2359, 2359, 2359, 2359, 102_760, 16_777, 4096)


@pytest.mark.parametrize("arch", VGGS)
def test_names_order_and_shapes_are_torchvisions(arch):
    with torch.device("meta"):
        theirs = {name: tuple(value.shape) for name, value in getattr(torchvision.models, arch)().state_dict().items()}
    ours = {name: tuple(one.shape) for name, one in build_encoder(arch, n_classes=1000, seed=0).state_dict().items()}
    assert list(ours.items()) == list(theirs.items())


@pytest.mark.slow
@pytest.mark.parametrize("arch", VGGS)
def test_torchvisions_values_give_torchvisions_logits(arch):
    theirs = getattr(torchvision.models, arch)(num_classes=7).eval()
    ours = build_encoder(arch, n_classes=7, seed=3).eval()
    shown = torch.randn(2, 3, 97, 97, generator=generator(0, "images"))
    with torch.no_grad():
        for module in theirs.modules():  # statistics that show
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=generator(0, "mean"))
                module.running_var.uniform_(0.5, 2, generator=generator(0, "var"))
        ours.load_state_dict(theirs.state_dict())
        torch.testing.assert_close(ours(shown), theirs(shown), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(folded(ours)(shown), theirs(shown), rtol=1e-3, atol=1e-5)
        assert torch.equal(torch.fx.symbolic_trace(ours)(shown), ours(shown))


def test_its_layers_are_as_large_as_in_the_published_table_and_its_taps_halve():
    net = build_encoder("vgg16", n_classes=1000, seed=0)
    assert [round(one.numel() / 1000, 1) for one in prunable(net, "weights").values()] == pytest.approx(TABLE, rel=0.02)
    assert cost_of(net, 224) == {"parameters": 138_357_544, "macs": 15_470_264_320}
    assert [(name, tap.shape[1], tap.shape[2]) for name, tap in tap_outlines(net, 224).items()] == [
        ("features.4", 64, 112), ("features.9", 128, 56), ("features.16", 256, 28), ("features.23", 512, 14),
        ("features.30", 512, 7),
    ]  # fmt: skip


def test_stem_and_head_are_spared_unless_all_weights_are_asked_for():
    net = build_encoder("vgg16_bn", n_classes=3, seed=0)
    spared = set(prunable(net, "weights")) - set(prunable(net))
    assert spared == {"features.0.weight", "classifier.6.weight"}
    assert len(prunable(net, "weights")) == 16
