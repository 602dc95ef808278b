import pytest
import torch
import torch.fx
from torch import nn

from ticketcli.criteria.layerwise.bound import error_bound
from ticketcli.criteria.layerwise.gram import GramAccumulator
from ticketcli.criteria.layerwise.layer import prune_layer
from ticketcli.data.images import Normalization
from ticketcli.errors import UsageError
from ticketcli.models.architectures import build_encoder, prunable
from ticketcli.models.cost import macs, one_image, parameters, tap_outlines
from ticketcli.models.decoder import build_decoder
from ticketcli.models.freezing import freeze_parts, freeze_untapped
from ticketcli.models.lenet import grey_middle
from ticketcli.models.semantic import build_semantic
from ticketcli.tensors.seeds import generator

LENETS = ("lenet300", "lenet5")
TABLES = {
    "lenet300": {"fc1": 235_200, "fc2": 30_000, "fc3": 1_000},
    "lenet5": {"conv1": 500, "conv2": 25_000, "fc1": 400_000, "fc2": 5_000},
}


def encoder(arch, seed=0):
    return build_encoder(arch, n_classes=10, seed=seed)


def images(side=32, n=4):
    return torch.randn(n, 3, side, side, generator=generator(0, "images"))


@pytest.mark.parametrize("arch", LENETS)
def test_layers_are_called_and_as_large_as_in_the_published_tables(arch):
    weights = {name.removesuffix(".weight"): one.numel() for name, one in prunable(encoder(arch), "weights").items()}
    assert weights == TABLES[arch]
    assert list(weights) == list(TABLES[arch])


@pytest.mark.parametrize(("arch", "n", "n_macs"), [("lenet300", 266_610, 266_200), ("lenet5", 431_080, 2_293_000)])
def test_a_lenet_has_its_published_size(arch, n, n_macs):
    assert (parameters(encoder(arch)), macs(encoder(arch), one_image(32))) == (n, n_macs)


@pytest.mark.parametrize("arch", LENETS)
def test_only_the_middle_28_pixels_and_the_mean_of_the_channels_count(arch):
    net, shown = encoder(arch).eval(), images()
    moved = shown.clone()
    moved[:, :, :2] = 7.0
    moved[:, :, :, 30:] = -7.0
    grey = shown.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    with torch.no_grad():
        assert torch.equal(net(moved), net(shown))
        torch.testing.assert_close(net(grey), net(shown))
        assert torch.equal(net(shown[:, :, 2:30, 2:30]), net(shown))


def test_of_a_grey_image_the_lenets_see_the_very_pixels_of_its_set():
    """Normalised, three equal channels and a margin, as an image set shows them."""
    pixels = torch.randint(0, 256, (2, 28, 28, 1), dtype=torch.uint8, generator=generator(0, "pixels"))
    padded = nn.functional.pad(pixels, (0, 0, 2, 2, 2, 2))
    shown = Normalization((0.1,) * 3, (0.2752,) * 3).normalize(padded)
    wanted = (pixels[..., 0].double() / 255 - 0.1) / 0.2752
    torch.testing.assert_close(grey_middle(shown)[:, 0].double(), wanted, rtol=1e-6, atol=1e-6)


def test_what_the_lenets_see_is_shorter_than_the_images_by_the_gain_that_it_names():
    shown = images(28)
    assert float(grey_middle(shown).norm() / shown.norm()) < grey_middle.gain
    grey = shown[:, :1].expand(-1, 3, -1, -1)
    assert float(grey_middle(grey).norm() / grey.norm()) == pytest.approx(grey_middle.gain)


@pytest.mark.parametrize("arch", LENETS)
def test_images_that_are_too_small_are_refused(arch):
    with pytest.raises(UsageError, match="a LeNet looks at 28 pixels a side, and these images have 24"):
        encoder(arch)(images(24))


@pytest.mark.parametrize("arch", LENETS)
def test_its_graph_can_be_traced_and_computes_the_same(arch):
    net = encoder(arch).eval()
    traced = torch.fx.symbolic_trace(net)
    layers = [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]
    assert [name for name in layers if "pool" not in name] == list(TABLES[arch])
    for side in (28, 32, 40):
        assert torch.equal(traced(images(side)), net(images(side)))


def test_the_first_layers_of_a_lenet5_end_in_taps_after_relu():
    net = encoder("lenet5").eval()
    assert {name: tuple(tap.shape[1:]) for name, tap in tap_outlines(net, 32).items()} == {
        "pool1": (20, 12, 12), "pool2": (50, 4, 4)
    }  # fmt: skip
    with torch.no_grad():
        taps = net.taps(images())
    assert all(float(tap.min()) == 0 for tap in taps.values())
    first = nn.functional.max_pool2d(torch.relu(net.conv1(grey_middle(images()))), 2)
    assert torch.equal(taps["pool1"], first)


@pytest.mark.parametrize("arch", LENETS)
def test_errors_of_its_output_can_be_bounded(arch):
    net = encoder(arch).eval()
    last = net.get_submodule(net.head_names[0])
    moments = GramAccumulator(last, positions=None, seed=0)
    moments.add(torch.rand(64, last.in_features, generator=generator(0, "inputs")), 0)
    kept = last.weight.numel() // 2
    pruned = prune_layer(last.weight.detach(), moments.finalize(), method="lobs", kept=kept, centre=True)
    found = error_bound(net, {net.head_names[0]: pruned.report}, images(n=1), norm="spectral")
    assert found["output"] == pytest.approx(pruned.report.error**0.5)


@pytest.mark.parametrize("arch", LENETS)
def test_the_same_seed_gives_the_same_bytes_and_leaves_the_global_generator_alone(arch):
    before = torch.get_rng_state()
    one, two, other = encoder(arch), encoder(arch), encoder(arch, seed=1)
    other.new_head(7, generator(0, "head"))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))
    assert other(images()).shape == (4, 7)


NEEDS_TAPS = {
    "a decoder": lambda net: build_decoder(net, image_size=32, hints=(), width=1.0, seed=0),
    "a pyramid": lambda net: build_semantic(net, n_classes=2, channels=8, image_size=32, seed=0),
    "a loss of taps": lambda net: freeze_untapped(net, image_size=32),
    "its taps": lambda net: net.taps(images()),
}


@pytest.mark.parametrize("what", NEEDS_TAPS)
def test_what_reads_taps_refuses_a_net_without_maps(what):
    with pytest.raises(UsageError, match="a LeNet300 has no feature maps") as caught:
        NEEDS_TAPS[what](encoder("lenet300"))
    assert "choose a net of convolutions" in caught.value.hint


@pytest.mark.parametrize("upto", ["stem", "first"])
def test_freezing_a_part_of_a_net_without_maps_is_refused_and_all_of_it_is_not(upto):
    with pytest.raises(UsageError, match="it cannot be told where"):
        freeze_parts(encoder("lenet300"), upto, "train")
    net = encoder("lenet300")
    freeze_parts(net, "backbone", "train")
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_freezing_up_to_the_first_pool_of_a_lenet5_freezes_its_first_layer():
    net = encoder("lenet5")
    freeze_parts(net, "first", "train")
    assert {name for name, one in net.named_parameters() if not one.requires_grad} == {"conv1.weight", "conv1.bias"}
