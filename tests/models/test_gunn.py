"""G1 to G3, G5 and G6 of the specification, and descriptions of networks; G7 is in tests/channels."""

import copy

import pytest
import torch
from torch import fx, nn

from ticketcli.criteria.layerwise.bound import error_bound
from ticketcli.errors import MismatchError, UsageError
from ticketcli.models.architectures import build_encoder
from ticketcli.models.cost import parameters
from ticketcli.models.decoder import build_decoder
from ticketcli.models.folding import folded
from ticketcli.models.fpn import levels_of
from ticketcli.models.gunn_layer import GunnLayer, GunnUnit
from ticketcli.models.gunn_shape import NAMED, GunnShape, near_equal_segments, parse_shape
from ticketcli.models.semantic import build_semantic
from ticketcli.models.table import architecture
from ticketcli.stages.job import build_of
from ticketcli.tensors.seeds import generator

SIZES = [(12,), (6, 6), (4, 4, 4), (2, 3, 1, 6), (1,) * 12]


def drawn(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=generator(seed, "test gunn"))


def layer_of(sizes, unit=GunnUnit, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GunnLayer(sum(sizes), sizes, unit).double()


def linear_unit(channels, size):
    return nn.Conv2d(channels, size, 1, bias=False)


def projecting(channels, size):
    return GunnUnit(channels, size, projects=True)


def plainly(layer):
    found = copy.deepcopy(layer)
    found.keeps_copies = True
    return found


def test_one_segment_is_a_residual_block():
    """G1."""
    layer, x = layer_of((6,)), drawn(2, 6, 5, 5)
    assert torch.equal(layer(x), x + copy.deepcopy(layer).units[0](x))


@pytest.mark.parametrize("sizes", SIZES)
def test_a_linear_layer_is_a_solved_triangular_system(sizes):
    """G2: (I - L)^-1 (I + U) x, where L has what reads updated segments."""
    layer, x = layer_of(sizes, linear_unit), drawn(2, 12, 3, 3)
    weights = torch.cat([unit.weight[:, :, 0, 0] for unit in layer.units])
    segment = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    is_later = segment[:, None] > segment[None, :]
    one, lower, upper = torch.eye(12).double(), weights * is_later, weights * ~is_later
    wanted = torch.einsum("ij,njhw->nihw", torch.linalg.solve(one - lower, one + upper), x)
    torch.testing.assert_close(layer(x), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("arch", "n_classes", "n"),
    [("gunn15", 10, 1_585_746), ("gunn15", 100, 1_618_236), ("gunn18", 1000, 28_909_736), ("gunn_small", 10, 316_922)],
)
def test_networks_have_the_published_numbers_of_parameters(arch, n_classes, n):
    """G3."""
    assert parameters(build_encoder(arch, n_classes=n_classes, seed=0)) == n


def test_networks_whose_sizes_are_not_known_are_not_there():
    for arch in ("gunn24", "gunn18_wide", "wide_gunn18"):
        with pytest.raises(UsageError, match="unknown architecture"):
            architecture(arch)


@pytest.mark.parametrize("changed", range(4))
def test_a_unit_is_seen_by_later_segments_alone(changed):
    """G5: without unit j, y_i is another for i >= j, and the same to the bit before."""
    sizes = (2, 3, 1, 6)
    layer, x = layer_of(sizes).eval(), drawn(2, 12, 4, 4)
    other = copy.deepcopy(layer)
    other.units[changed].bn3.weight.data.zero_()
    pairs = zip(layer(x).split(sizes, 1), other(x).split(sizes, 1), strict=True)
    assert [torch.equal(one, two) for one, two in pairs] == [place < changed for place in range(4)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("training", [True, False])
def test_one_memory_for_all_states_changes_no_bit_of_values_gradients_and_statistics(sizes, training):
    """G6, and more than it asks for."""
    layer = layer_of(sizes, projecting).train(training)
    plain, inputs = plainly(layer), [drawn(3, 12, 5, 5).requires_grad_() for _ in range(2)]
    slope = drawn(3, 12, 5, 5, seed=1)
    found = []
    for one, x in zip((layer, plain), inputs, strict=True):
        y = one(x)
        y.backward(slope)
        found.append([y, x.grad, *(weight.grad for weight in one.parameters()), *one.buffers()])
    assert len(found[0]) > 10
    assert all(map(torch.equal, *found))
    counts = [buffer for name, buffer in layer.named_buffers() if name.endswith("num_batches_tracked")]
    assert all(int(one) == training for one in counts)  # nothing is computed twice


def test_a_graph_may_be_walked_back_more_than_once_and_beside_another():
    layer = layer_of((4, 4, 4), projecting)
    x, other = drawn(2, 12, 4, 4).requires_grad_(), drawn(2, 12, 4, 4, seed=5)
    y, late = layer(x).square().sum(), layer(other).sum()
    first = torch.autograd.grad(y, layer.units[1].conv1.weight, retain_graph=True)[0]
    late.backward()
    assert torch.equal(torch.autograd.grad(y, layer.units[1].conv1.weight, retain_graph=True)[0], first)
    plain = plainly(layer)
    wanted = torch.autograd.grad(plain(x).square().sum(), plain.units[1].conv1.weight)[0]
    assert torch.equal(first, wanted)


def test_where_weights_stand_still_the_input_has_its_gradient_all_the_same():
    layer = layer_of((4, 4, 4)).requires_grad_(False)
    x, again = (drawn(2, 12, 4, 4).requires_grad_() for _ in range(2))
    layer(x).sum().backward()
    plainly(layer)(again).sum().backward()
    assert torch.equal(x.grad, again.grad)


@pytest.mark.parametrize("sizes", [(6, 6), (2, 3, 1, 6)])
def test_lower_precision_goes_through_the_same_memory(sizes):
    layer = layer_of(sizes, projecting).float()
    found = []
    for one in (layer, plainly(layer)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = one(drawn(3, 12, 8, 8).float())
        y.float().square().sum().backward()
        found.append([y.detach().float(), *(weight.grad for weight in one.parameters())])
    for ours, theirs in zip(*found, strict=True):
        assert float((ours - theirs).norm() / theirs.norm().clamp_min(1e-3)) < 0.05


def test_the_order_of_memory_changes_nothing():
    layer, x = layer_of((2, 3, 1, 6)).eval(), drawn(2, 12, 6, 6)
    torch.testing.assert_close(layer(x.contiguous(memory_format=torch.channels_last)), layer(x), rtol=1e-9, atol=1e-9)


def held(layer, x):
    """Bytes of different memory that autograd keeps between forward and backward, without those of the weights."""
    weights = {weight.data_ptr() for weight in layer.parameters()}
    kept = {}

    def pack(saved):
        if saved.data_ptr() not in weights:
            storage = saved.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        layer(x).sum()
    return sum(kept.values())


def test_what_autograd_keeps_does_not_grow_with_the_number_of_segments():
    x = drawn(2, 12, 8, 8)
    few, many = layer_of((6, 6)), layer_of((1,) * 12)
    size = x.nelement() * x.element_size()
    assert held(plainly(many), x) - held(plainly(few), x) > 9 * size  # a copy for each of ten segments more
    assert abs(held(many, x) - held(few, x)) < size / 10


def test_a_trace_is_of_the_plain_form_and_computes_the_same():
    model = build_encoder("gunn_small", n_classes=3, seed=0).eval()
    traced, x = fx.symbolic_trace(model), torch.randn(2, 3, 16, 16, generator=generator(0, "test"))
    assert {node.target for node in traced.graph.nodes} >= {torch.cat, torch.split}
    assert torch.equal(traced(x), model(x))


def test_error_bounds_follow_a_state_through_its_segments():
    model = build_encoder("gunn:cifar-6-12/3-3+9-8", n_classes=3, seed=0).eval()
    x = torch.randn(1, 3, 8, 8, generator=generator(0, "test"))
    assert error_bound(model, {}, x, norm="spectral") == {"output": 0.0}  # the truth: tests/criteria/layerwise


def test_folding_leaves_no_batchnorm_and_the_same_outputs():
    model = build_encoder("gunn_small", n_classes=3, seed=0).double().eval()
    small = folded(model)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in small.modules())
    x = drawn(2, 3, 16, 16)
    torch.testing.assert_close(small(x), model(x))


# ---------------------------------------------------------------------- descriptions


def test_a_description_is_the_network_it_names():
    assert parse_shape(NAMED["gunn15"]) == GunnShape("cifar", 64, ((12,) * 20, (12,) * 25, (12,) * 30), 360)
    assert parse_shape("imagenet-8-4/2-1+5") == GunnShape("imagenet", 8, ((2, 2), (1, 5)), None)
    one = build_encoder("gunn:" + NAMED["gunn_small"], n_classes=3, seed=0)
    other = build_encoder("gunn_small", n_classes=3, seed=0)
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
    assert (architecture("gunn:imagenet-8-4/2").image_size, architecture("gunn15").image_size) == (224, 32)


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("cifar-64-240/7", "240 channels do not divide into 7 equal segments", r"35\+35\+34\+34\+34\+34\+34"),
        ("cifar-64-4/7", "4 channels cannot be 7 segments", "1 or more"),
        ("cifar-64-4/0", "4 channels cannot be 0 segments", "1 or more"),
        ("cifra-64-240/20", "has the form cifar or imagenet, not 'cifra'", "cifar"),
        ("", "has the form cifar or imagenet, not ''", "cifar"),
        ("cifar-64", "has no GUNN layer", "FORM-STEM"),
        ("cifar-64-360", "'360' is no GUNN layer", "240/20"),
        ("cifar-x-240/20", "'x' is no number of channels for the stem", "FORM-STEM"),
        ("cifar-64-240/20-360-240/20", "'360' is no GUNN layer", "12\\+24"),
        ("cifar-64-0+3", "has a segment without channels", "FORM"),
        ("cifar-8" + "-4/2" * 9, "9 GUNN layers", "8 at most"),
    ],
)
def test_a_description_that_makes_no_network_is_refused_with_advice(text, what, hint):
    with pytest.raises(UsageError, match=what) as caught:
        architecture(f"gunn:{text}")
    assert caught.match(hint) or __import__("re").search(hint, caught.value.hint)


def test_sizes_that_do_not_make_the_channels_are_refused():
    with pytest.raises(UsageError, match=r"segments of 3\+4 channels do not make 8"):
        GunnLayer(8, (3, 4))


def test_segments_that_cannot_be_equal_are_as_equal_as_can_be_where_nobody_says_sizes():
    assert near_equal_segments(10, 4) == (3, 3, 2, 2)
    assert near_equal_segments(3, 4) == (1, 1, 1)


# ---------------------------------------------------------------------- in its places


@pytest.mark.parametrize(
    ("arch", "size", "strides"),
    [("gunn15", 32, (1, 2, 4)), ("gunn18", 224, (4, 8, 16, 32)), ("gunn_small", 32, (1, 2, 4, 8))],
)
def test_its_taps_make_a_pyramid(arch, size, strides):
    levels = levels_of(build_encoder(arch, n_classes=3, seed=0), size)
    assert tuple(level.stride for level in levels) == strides


def test_maps_of_odd_sides_are_rounded_up_and_rebuilt():
    model = build_encoder("gunn:cifar-6-6/2-8/2-10/5", n_classes=3, seed=0)
    taps, _ = model.taps_and_logits(torch.randn(1, 3, 15, 15))
    assert [tap.shape[-1] for tap in taps.values()] == [15, 8, 4]
    decoder = build_decoder(model, image_size=15, hints=("layer2", "layer3"), width=0.5, seed=0)
    assert decoder(taps, t=0.1).shape == (1, 3, 15, 15)


def test_its_decoder_is_its_mirror():
    model = build_encoder("gunn:imagenet-6-8/2-12/4", n_classes=3, seed=0)
    decoder = build_decoder(model, image_size=64, hints=(), width=0.5, seed=0)
    layers = {name: part.segments for name, part in decoder.named_modules() if isinstance(part, GunnLayer)}
    assert layers == {
        "layer2.0.layer": (3,) * 4,
        "layer1.0.layer": (4, 4),
        "tail.0.0.layer": (4, 4),
        "tail.1.0.layer": (4, 4),
    }
    assert decoder.get_submodule("layer1.0.layer.units.0.conv1").out_channels == 4  # half of two for one


def test_a_class_for_every_pixel_stands_on_it():
    net = build_semantic(
        build_encoder("gunn_small", n_classes=3, seed=0), n_classes=4, channels=8, image_size=32, seed=0
    )
    assert net(torch.randn(1, 3, 32, 64)).shape == (1, 4, 32, 64)


def test_a_fresh_head_has_no_bias_and_moves_no_global_generator():
    state = torch.get_rng_state()
    model = build_encoder("gunn_small", n_classes=3, seed=0)
    assert not model.fc.bias.any()
    model.new_head(7, generator(0, "head"))
    assert model.fc.weight.shape == (7, 128)
    assert not model.fc.bias.any()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_checkpoint_that_says_other_segments_than_it_has_is_refused():
    model = build_encoder("gunn_small", n_classes=3, seed=0)
    about = {"arch": "gunn_small", **model.facts}
    assert model.facts["segments"]["layer3"] == [16] * 4
    assert build_of(about, n_classes=3, seed=0).facts == model.facts
    about["segments"] = {**about["segments"], "layer3": [8, 24, 16, 16]}
    with pytest.raises(MismatchError, match="segments"):
        build_of(about, n_classes=3, seed=0)
