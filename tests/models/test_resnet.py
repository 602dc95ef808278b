from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file

from ticketcli.models.architectures import build_encoder
from ticketcli.models.cost import macs, parameters, tap_outlines
from ticketcli.models.resnet import PaddedShortcut
from ticketcli.tensors.files import load_into
from ticketcli.tensors.seeds import generator


def encoder(seed=0):
    return build_encoder("resnet_small", n_classes=5, seed=seed)


TORCHVISION = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


def ghost(build):
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in build().state_dict().items()}


@pytest.mark.parametrize("arch", TORCHVISION)
def test_names_order_and_shapes_are_torchvisions(arch):
    theirs = ghost(getattr(torchvision.models, arch))
    ours = {
        name: tuple(value.shape) for name, value in build_encoder(arch, n_classes=1000, seed=0).state_dict().items()
    }
    assert list(ours.items()) == list(theirs.items())


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_torchvisions_values_give_torchvisions_logits(arch):
    theirs = getattr(torchvision.models, arch)(num_classes=7).eval()
    ours = build_encoder(arch, n_classes=7, seed=3).eval()
    with torch.no_grad():
        for module in theirs.modules():  # statistics that show
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=generator(0, "mean"))
                module.running_var.uniform_(0.5, 2, generator=generator(0, "var"))
        ours.load_state_dict(theirs.state_dict())
        images = torch.randn(2, 3, 97, 97, generator=generator(0, "images"))
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arch", TORCHVISION)
def test_the_3x3_form_differs_in_the_stems_kernel_alone(arch):
    large, small = (build_encoder(name, n_classes=10, seed=0) for name in (arch, arch + "_3x3"))
    shapes = [{name: value.shape for name, value in net.state_dict().items()} for net in (large, small)]
    assert shapes[1] == shapes[0] | {"conv1.weight": (64, 3, 3, 3)}
    outlines = tap_outlines(small, 32)
    assert [tap.shape[2] for tap in outlines.values()] == [32, 16, 8, 4]


@pytest.mark.parametrize(
    ("arch", "count"), [("resnet20", 269_722), ("resnet32", 464_154), ("resnet44", 658_586), ("resnet56", 853_018)]
)
def test_cifars_resnets_have_as_many_weights_as_their_published_form(arch, count):
    assert parameters(build_encoder(arch, n_classes=10, seed=0)) == count


@pytest.mark.parametrize("arch", ["resnet20", "resnet56"])
def test_published_cifar_weights_fit_name_by_name(arch):
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "cifar10-resnets"
    if not folder.is_dir():
        pytest.skip("the published weights are not on this machine")
    values = {
        name.replace("linear.", "fc."): value for name, value in load_file(folder / f"{arch}.safetensors").items()
    }
    model = build_encoder(arch, n_classes=10, seed=0)
    counters = {name: value for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")}
    load_into(model, counters | values, where="published")
    assert bool(torch.isfinite(model.eval()(torch.randn(2, 3, 32, 32))).all())


def test_option_a_takes_every_second_pixel_and_pads_with_channels_of_zeros():
    x = torch.randn(2, 4, 6, 6)
    y = PaddedShortcut(4, 8, 2)(x)
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert not y[:, [0, 1, 6, 7]].any()


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


def test_a_new_head_leaves_the_backbone_as_it_is():
    model = encoder()
    before = model.layer1[0].conv1.weight.clone()
    model.new_head(7, generator(0, "head"))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert torch.equal(before, model.layer1[0].conv1.weight)


def test_convolutions_start_from_hes_draw_by_fan_out():
    """The first convolution of a widening block has twice as many outputs as inputs, so fan in would show."""
    weight = encoder().layer4[0].conv1.weight.detach()
    assert float(weight.std()) == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
