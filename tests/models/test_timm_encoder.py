import copy
import sys

import pytest
import torch

from ticketcli.errors import UsageError
from ticketcli.models.architectures import build_encoder
from ticketcli.models.decoder import build_decoder
from ticketcli.models.table import architecture
from ticketcli.tensors.modes import evaluating
from ticketcli.tensors.seeds import generator

NETS = ["resnet18", "efficientnet_lite0", "mobilenetv3_small_100", "convnext_atto", "regnety_002"]


@pytest.fixture
def timm():
    return pytest.importorskip("timm", reason="timm is not installed")


def encoder(name, seed=0):
    return build_encoder(f"timm:{name}", n_classes=4, seed=seed)


@pytest.mark.parametrize("name", NETS)
def test_names_and_logits_are_timms(timm, name):
    ours, theirs = encoder(name).eval(), timm.create_model(name, num_classes=4).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


@pytest.mark.parametrize("name", NETS)
def test_taps_are_the_features_that_timm_would_extract(timm, name):
    ours, theirs = encoder(name).eval(), timm.create_model(name, features_only=True).eval()
    theirs.load_state_dict(
        dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=False))
    )  # renamed, in order
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        taps, features = ours.taps(images), theirs(images)
    assert list(taps) == theirs.feature_info.module_name()
    assert all(torch.equal(a, b) for a, b in zip(taps.values(), features, strict=True))


def test_the_seed_decides_timms_draw_and_the_global_generator_stays(timm):
    before = torch.get_rng_state()
    one, two, other = encoder("regnety_002"), encoder("regnety_002"), encoder("regnety_002", seed=1)
    one.new_head(7, generator(0, "head"))
    two.new_head(7, generator(0, "head"))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert not torch.equal(one.state_dict()["stem.conv.weight"], other.state_dict()["stem.conv.weight"])


@pytest.mark.parametrize("name", NETS)
def test_a_new_head_is_seen_by_forward_and_by_the_state(timm, name):
    model = encoder(name).eval()
    before = {
        key: value.clone() for key, value in model.state_dict().items() if not key.startswith(model.head_prefixes)
    }
    model.new_head(9, generator(0, "head"))
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 9)
    assert model.state_dict()[f"{model.head_names[0]}.weight"].shape[0] == 9
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())


def test_what_happens_to_the_module_happens_to_the_net(timm):
    model = encoder("convnext_atto")
    model.to(torch.float64).requires_grad_(False)
    assert model(torch.zeros(1, 3, 64, 64, dtype=torch.float64)).dtype == torch.float64
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.get_parameter("head.fc.weight").zero_()
        twin.get_parameter("head.fc.bias").fill_(1.0)
    assert torch.equal(twin(torch.zeros(1, 3, 64, 64, dtype=torch.float64)), torch.ones(1, 4, dtype=torch.float64))
    assert float(model.get_parameter("head.fc.weight").abs().sum()) > 0


def test_the_mode_reaches_what_the_net_asks_of_itself(timm):
    """EfficientNets drop features in their own forward, by their own `training`."""
    model = encoder("efficientnet_lite0")
    (net,) = model._beside
    net.drop_rate = 0.9
    images = torch.randn(4, 3, 64, 64)
    with evaluating(model), torch.no_grad():
        assert torch.equal(model(images), model(images))
    assert model.training
    model(images)
    assert net.training


def test_a_net_without_a_pyramid_is_rebuilt_from_its_one_resolution(timm):
    model = encoder("vit_tiny_patch16_224")
    decoder = build_decoder(model, image_size=224, hints=("blocks.11",), width=0.125, seed=0)
    with torch.no_grad():
        taps = model.taps(torch.randn(1, 3, 224, 224))
        assert {name: tuple(tap.shape) for name, tap in taps.items()} == {"blocks.11": (1, 192, 14, 14)}
        assert decoder(taps, t=0.1).shape == (1, 3, 224, 224)
    with pytest.raises(UsageError, match="takes images of 224 pixels, not of 64"):
        build_decoder(model, image_size=64, hints=(), width=0.125, seed=0)


def test_hints_are_named_as_timm_names_them(timm):
    with pytest.raises(UsageError, match="no tap 'layer4'") as caught:
        build_decoder(encoder("convnext_atto"), image_size=64, hints=("layer4",), width=0.125, seed=0)
    assert "hints: [stages.2, stages.3]" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "hint"),
    [("rsnet18", "timm:resnet18"), ("resnet18.nonsense", "timm:resnet18."), ("hf-hub:some/net", "list_models")],
)
def test_an_unknown_net_is_refused_and_nothing_is_fetched(timm, name, hint):
    with pytest.raises(UsageError, match="timm knows no net") as caught:
        build_encoder(f"timm:{name}", n_classes=2, seed=0)
    assert hint in caught.value.hint


def test_a_net_that_standardises_its_weights_is_refused(timm):
    with pytest.raises(UsageError, match="standardises its weights"):
        encoder("nf_resnet26")


def test_a_net_that_does_not_say_where_its_features_are_is_refused(timm, monkeypatch):
    monkeypatch.delattr(timm.models.regnet.RegNet, "forward_intermediates")
    with pytest.raises(UsageError, match="does not say where its features are") as caught:
        encoder("regnety_002")
    assert "forward_intermediates" in caught.value.hint


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match="need timm") as caught:
        architecture("timm:resnet18")
    assert "ticketcli[zoo]" in caught.value.hint
