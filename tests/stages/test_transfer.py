import numpy as np
import pytest
import torch

from ticketcli.errors import InputMissing, UsageError
from ticketcli.models.architectures import build_encoder, masked_parameters, prunable
from ticketcli.recipe.transfer_config import TransferConfig
from ticketcli.stages.transfer import ticket_backbone
from ticketcli.store.mask import Mask
from ticketcli.tensors.files import copy_of
from ticketcli.training.yields import Loaded

HALF = np.random.default_rng(0)


def ticket(arch, what="auto"):
    model = build_encoder(arch, n_classes=3, seed=0)
    bits = {name: HALF.random(tuple(weight.shape)) < 0.5 for name, weight in prunable(model, what).items()}
    about = {"arch": arch, "class_names": ["a", "b", "c"], "image_size": 224}
    return Loaded("ours/3", "ticket", about, copy_of(model), Mask(bits))


def config(stem="auto"):
    return TransferConfig.parse({"data": "digits", "stem": stem, "seed": 5}, where="transfer")


def test_a_7x7_net_meets_small_images_with_a_fresh_stem():
    source = ticket("resnet18")
    arch, form, model, mask = ticket_backbone(source, config(), 32)
    assert (arch, form) == ("resnet18_3x3", "fresh")
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    assert mask == source.mask
    assert torch.equal(model.state_dict()["layer1.0.conv1.weight"], source.values["layer1.0.conv1.weight"])


def test_a_7x7_net_keeps_its_stem_for_large_images_or_when_told():
    source = ticket("resnet18")
    for settings, size in ((config(), 224), (config("keep7"), 32)):
        arch, form, model, _ = ticket_backbone(source, settings, size)
        assert (arch, form) == ("resnet18", "keep7")
        assert torch.equal(model.state_dict()["conv1.weight"], source.values["conv1.weight"])


def test_what_is_replaced_is_dense():
    source = ticket("resnet18", "weights")
    assert {"conv1.weight", "fc.weight"} <= set(source.mask)
    _, _, model, mask = ticket_backbone(source, config("center"), 32)
    assert set(mask) == set(source.mask) - {"conv1.weight", "fc.weight"}
    assert masked_parameters(model, mask).keys() == mask.keys()
    _, _, _, kept = ticket_backbone(source, config("keep7"), 32)
    assert set(kept) == set(source.mask) - {"fc.weight"}


def test_a_stem_that_the_net_cannot_take_is_refused():
    with pytest.raises(UsageError, match="has no 7x7 stem"):
        ticket_backbone(ticket("resnet_small"), config("fresh"), 32)


def test_a_bare_mask_is_refused():
    source = ticket("resnet_small")
    with pytest.raises(InputMissing, match="no values"):
        ticket_backbone(Loaded("m", "ticket", source.about, {}, source.mask), config(), 32)
