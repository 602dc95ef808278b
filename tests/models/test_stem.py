import pytest
import torch
from torch.nn import functional as F

from ticketcli.errors import UsageError
from ticketcli.models.architectures import build_encoder
from ticketcli.models.stem import choose_form, resampled, restem
from ticketcli.tensors.files import copy_of, load_into


@pytest.fixture(scope="module")
def values():
    return copy_of(build_encoder("resnet18", n_classes=4, seed=0))


@pytest.mark.parametrize("form", ["fresh", "center", "resize"])
def test_the_values_fit_the_3x3_form_and_only_the_stem_has_changed(values, form):
    arch, found = restem(values, "resnet18", form, seed=0)
    assert arch == "resnet18_3x3"
    model = build_encoder(arch, n_classes=4, seed=1)
    load_into(model, found, where="restemmed")
    assert all(torch.equal(found[name], value) for name, value in values.items() if name != "conv1.weight")
    assert values["conv1.weight"].shape == (64, 3, 7, 7)
    assert model.taps(torch.zeros(1, 3, 32, 32))["layer1"].shape == (1, 64, 32, 32)


def test_keep7_changes_nothing(values):
    arch, found = restem(values, "resnet18", "keep7", seed=0)
    assert (arch, found.keys()) == ("resnet18", values.keys())
    assert all(torch.equal(found[name], value) for name, value in values.items())


def test_center_is_the_middle_of_the_kernel():
    kernel = torch.arange(49.0).view(1, 1, 7, 7)
    assert restem({"conv1.weight": kernel}, "resnet50", "center", seed=0)[1]["conv1.weight"].flatten().tolist() == [
        16, 17, 18, 23, 24, 25, 30, 31, 32
    ]  # fmt: skip


def test_resize_keeps_the_response_to_a_constant_image(values):
    kernel = values["conv1.weight"]
    small = restem(values, "resnet18", "resize", seed=0)[1]["conv1.weight"]
    grey = torch.tensor([0.2, -1.0, 3.0]).view(1, 3, 1, 1)
    wanted, found = F.conv2d(grey.expand(1, 3, 7, 7), kernel), F.conv2d(grey.expand(1, 3, 3, 3), small)
    torch.testing.assert_close(found, wanted)


def test_resize_shares_out_by_area():
    """The first new pixel covers two old ones and a third of the next."""
    one = torch.zeros(1, 1, 7, 7)
    one[0, 0, 2, 3] = 9.0
    torch.testing.assert_close(resampled(one)[0, 0], torch.tensor([[0.0, 3, 0], [0, 6, 0], [0, 0, 0]]))


def test_a_fresh_stem_hangs_on_the_seed_alone_and_is_hes_draw(values):
    before = torch.get_rng_state()
    one, two, other = (restem(values, "resnet18", "fresh", seed=seed)[1]["conv1.weight"] for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert float(one.std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("wanted", "arch", "side", "form"),
    [
        ("auto", "resnet50", 32, "fresh"),
        ("auto", "resnet50", 64, "fresh"),
        ("auto", "resnet50", 65, "keep7"),
        ("auto", "resnet50_3x3", 32, "keep7"),
        ("auto", "resnet20", 32, "keep7"),
        ("auto", "timm:resnet18", 32, "keep7"),
        ("keep7", "resnet50", 32, "keep7"),
        ("keep7", "timm:resnet18", 32, "keep7"),
        ("resize", "resnet50", 224, "resize"),
    ],
)
def test_auto_takes_a_fresh_stem_where_a_7x7_stem_meets_small_images(wanted, arch, side, form):
    assert choose_form(wanted, arch, side) == form


@pytest.mark.parametrize("arch", ["resnet18_3x3", "resnet_small", "resnet20", "timm:resnet18"])
@pytest.mark.parametrize("form", ["fresh", "center", "resize"])
def test_a_net_without_a_7x7_stem_keeps_its_own(arch, form):
    with pytest.raises(UsageError, match="has no 7x7 stem to change"):
        choose_form(form, arch, 32)
    with pytest.raises(UsageError, match="has no 7x7 stem to change"):
        restem({}, arch, form, seed=0)
