import hashlib

import pytest
import torch

from ticketcli.errors import UsageError
from ticketcli.models.architectures import build_encoder
from ticketcli.models.cost import parameters
from ticketcli.models.decoder import Decoder, Enlarge, UpBottleneck, build_decoder
from ticketcli.tensors.seeds import generator

HINTS = ("layer3", "layer4")


def pair(hints=HINTS, width=1.0, arch="resnet_small", size=32):
    encoder = build_encoder(arch, n_classes=5, seed=0)
    return encoder, build_decoder(encoder, image_size=size, hints=hints, width=width, seed=0)


@pytest.mark.parametrize("hints", [(), ("layer4",), HINTS, ("layer2", "layer3"), ("layer1",)])
@pytest.mark.parametrize("width", [1.0, 0.25, 0.125])
def test_an_image_goes_round_in_its_own_shape(hints, width):
    encoder, decoder = pair(hints, width)
    images = torch.randn(2, 3, 32, 32)
    assert decoder(encoder.taps(images), t=0.1).shape == images.shape


def test_every_stage_rebuilds_the_tap_of_its_resolution():
    encoder, decoder = pair()
    taps = encoder.eval().taps(torch.randn(2, 3, 32, 32))
    x = taps["layer4"]
    for name in ("layer4", "layer3", "layer2", "layer1"):
        x = decoder.get_submodule(name)(x)
        assert x.shape == taps[name].shape
        assert float(x.detach().min()) >= 0  # after ReLU, like the tap


def test_a_narrower_decoder_is_smaller():
    sizes = [parameters(pair(width=width)[1]) for width in (1.0, 0.25, 0.125)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[2] < sizes[0] / 4


def test_hints_are_mixed_in_as_equation_10_says():
    _, decoder = pair(hints=("layer4",))
    decoder.eval()
    code = torch.rand(1, 128, 4, 4)
    own = decoder.layer4(code)
    seen = []
    decoder.layer3.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    decoder({"layer4": code}, t=0.3)
    assert torch.allclose(seen[0], 0.7 * own + 0.3 * code)


def test_without_t_hints_do_not_count():
    encoder, decoder = pair()
    taps = encoder.eval().taps(torch.randn(2, 3, 32, 32))
    decoder.eval()
    other = {**taps, "layer3": torch.zeros_like(taps["layer3"])}
    assert torch.equal(decoder(taps, t=0.0), decoder(other, t=0.0))
    assert not torch.equal(decoder(taps, t=0.1), decoder(other, t=0.1))


def test_gradients_reach_the_encoder_through_hints_and_through_the_code():
    encoder, decoder = pair()
    decoder.requires_grad_(False).eval()
    taps = encoder.taps(torch.randn(2, 3, 32, 32))
    for tap in taps.values():
        tap.retain_grad()
    decoder(taps, t=0.1).square().mean().backward()
    assert float(taps["layer4"].grad.abs().sum()) > 0
    assert float(encoder.layer1[0].conv1.weight.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in decoder.parameters())


def test_building_a_decoder_leaves_the_encoder_as_it_was():
    encoder = build_encoder("resnet_small", n_classes=5, seed=0).train()
    encoder.bn1.eval()  # frozen on purpose
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    build_decoder(encoder, image_size=32, hints=HINTS, width=1.0, seed=0)
    assert encoder.training
    assert not encoder.bn1.training
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_an_unknown_hint_is_refused_with_a_suggestion():
    with pytest.raises(UsageError, match="no tap 'layer5'") as caught:
        pair(hints=("layer5",))
    assert "did you mean" in caught.value.hint
    assert "hints: [layer3, layer4]" in caught.value.hint


def test_a_net_of_three_stages_names_hints_that_it_has():
    with pytest.raises(UsageError, match="no tap 'layer4'") as caught:
        pair(arch="resnet20")
    assert "hints: [layer2, layer3]" in caught.value.hint


def leaves(**shapes):
    """Taps that do not hang together, so that a gradient has come by one way only."""
    return {name: torch.rand(shape, requires_grad=True) for name, shape in shapes.items()}


def test_gradients_pass_through_each_hint_alone_and_through_the_code_alone():
    _, with_hint = pair(hints=("layer3",))
    _, without = pair(hints=())
    taps = leaves(layer3=(2, 64, 8, 8), layer4=(2, 128, 4, 4))
    with_hint(taps, t=0.1).square().mean().backward()
    assert float(taps["layer3"].grad.abs().sum()) > 0
    taps = leaves(layer3=(2, 64, 8, 8), layer4=(2, 128, 4, 4))
    without(taps, t=0.1).square().mean().backward()
    assert float(taps["layer4"].grad.abs().sum()) > 0
    assert taps["layer3"].grad is None


def strided(**changes):
    """The mirror of an encoder whose stem divides the resolution by four, with stages of unequal depth."""
    settings = {"image_size": 32, "hints": (), "width": 1.0, "draw": generator(0, "x")} | changes
    return Decoder({"layer1": (8, 8), "layer2": (24, 4)}, (1, 3), **settings)


def test_the_strides_of_the_stem_are_made_good_at_the_end():
    taps = leaves(layer1=(2, 8, 8, 8), layer2=(2, 24, 4, 4))
    assert strided()(taps, t=0.1).shape == (2, 3, 32, 32)


def test_stage_counts_are_the_encoders_turned_round():
    assert [len(strided().get_submodule(name)) for name in ("layer2", "layer1")] == [3, 1]


def test_blocks_are_never_narrower_than_eight_channels_inside():
    assert strided(width=0.125).layer1[0].conv1.out_channels == 8


@pytest.mark.parametrize("arch", ["resnet_small", "resnet18"])
@pytest.mark.parametrize("size", [28, 33, 75])
def test_sides_that_no_stride_divides_are_rebuilt_too(arch, size):
    encoder, decoder = pair((), 0.125, arch, size)
    taps = encoder.taps(torch.randn(2, 3, size, size))
    x = taps["layer4"]
    for name in ("layer4", "layer3", "layer2", "layer1"):
        x = decoder.get_submodule(name)(x)
        assert x.shape[2:] == taps[name].shape[2:]
    assert decoder(taps, t=0.1).shape == (2, 3, size, size)


def test_where_an_encoder_strode_over_an_odd_side_each_pixel_comes_from_the_one_that_saw_it():
    """A stride of 2 over 15 pixels gives 8, and pixel i lies under output i // 2, at both ends."""
    row = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 8, 8)
    assert Enlarge.between(8, 15)(row)[0, 0, 0].tolist() == [place // 2 for place in range(15)]
    assert Enlarge.between(150, 299)(torch.arange(150.0).view(1, 1, 1, 150).expand(1, 1, 150, 150))[
        0, 0, 0
    ].tolist() == [place // 2 for place in range(299)]


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_whole_factor_repeats_each_pixel(scale):
    x = torch.randn(2, 3, 5, 5)
    wanted = x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    assert torch.equal(Enlarge.between(5, 5 * scale)(x), wanted)


def test_what_the_stem_strode_costs_no_more_at_the_image_than_before_it():
    tail = strided().tail
    assert [stage[0].conv2.out_channels for stage in tail] == [8, 8]  # never fewer than eight
    wide = Decoder({"layer1": (64, 8)}, (1,), image_size=32, hints=(), width=1.0, draw=generator(0, "x")).tail
    assert [stage[0].conv2.out_channels for stage in wide] == [32, 16]


def test_a_net_of_bottlenecks_is_mirrored_by_bottlenecks_a_quarter_as_wide_inside():
    decoder = pair((), 1.0, "resnet50_3x3")[1]
    assert len(decoder.layer3) == 6
    block = decoder.layer3[0]
    assert [block.get_submodule(name).weight.shape[:2] for name in ("conv1", "conv2", "conv3")] == [
        (256, 2048), (256, 256), (1024, 256)
    ]  # fmt: skip
    assert block.conv2.kernel_size == (3, 3)
    assert pair((), 0.25, "resnet50_3x3")[1].layer3[0].conv2.in_channels == 64


def test_a_bottleneck_enlarges_before_its_3x3_convolution():
    block = UpBottleneck(4, 2, 4, Enlarge.between(5, 10)).eval()
    seen = []
    block.conv2.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    assert block(torch.randn(1, 4, 5, 5)).shape == (1, 4, 10, 10)
    assert seen == [(1, 2, 10, 10)]


def test_the_first_draw_of_earlier_versions_is_still_drawn():
    encoder, decoder = pair(width=0.25)
    assert (digest_of(encoder), digest_of(decoder)) == ("e434b5f1ad0467b5", "b9a4f76216756dbf")
    encoder.new_head(7, generator(0, "head"))
    assert digest_of(encoder) == "2f34bb25af461b79"


def digest_of(module):
    values = (name.encode() + value.numpy().tobytes() for name, value in module.state_dict().items())
    return hashlib.sha256(b"".join(values)).hexdigest()[:16]


def test_a_hint_named_twice_is_refused():
    with pytest.raises(UsageError, match="a hint is named twice"):
        strided(hints=("layer1", "layer1"))


def test_the_same_seed_gives_the_same_decoder_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    one, two = (strided().state_dict().values() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(strided().head.weight, strided(draw=generator(1, "x")).head.weight)


def test_a_border_that_the_stem_cut_off_is_made_good():
    decoder = Decoder({"layer1": (8, 30)}, (1,), image_size=32, hints=(), width=1.0, draw=generator(0, "x"))
    assert decoder(leaves(layer1=(2, 8, 30, 30)), t=0.1).shape == (2, 3, 32, 32)


@pytest.mark.parametrize("scale", [2, 4])
def test_enlarging_by_a_whole_factor_and_its_gradient_are_those_of_interpolate(scale):
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, 5 * scale, 4 * scale, dtype=torch.float64)
    found = Enlarge(scale, 0)(x)
    wanted = torch.nn.functional.interpolate(x, scale_factor=scale, mode="nearest")
    assert torch.equal(found, wanted)
    mine, theirs = (torch.autograd.grad((one * weights).sum(), x)[0] for one in (found, wanted))
    assert torch.allclose(mine, theirs, rtol=1e-12)


@pytest.mark.parametrize("scale", [2, 3])
def test_enlarging_keeps_the_layout(scale):
    x = torch.randn(2, 6, 5, 4).to(memory_format=torch.channels_last)
    found = Enlarge(scale, 0)(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, Enlarge(scale, 0)(x.contiguous()))
    assert Enlarge(scale, 0)(x.contiguous()).is_contiguous()
