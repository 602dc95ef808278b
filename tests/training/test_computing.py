"""How a training computes: whatever is asked for, it can be cut, its masked weights stay, and its files look the same."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.training.test_loop import encoder, finish, half_mask, make_run, same
from ticketcli.errors import OutOfMemory
from ticketcli.models.architectures import prunable
from ticketcli.tensors.files import copy_of, read_state, write_state
from ticketcli.tensors.shown import Objects, Shown
from ticketcli.training.loop import build_optimizer, train
from ticketcli.training.parts import parts_of
from ticketcli.training.replicas import Replica
from ticketcli.training.yields import Snapshot

WAYS = {
    "bf16": {"precision": "bf16"},
    "channels last": {"layout": "channels_last"},
    "fused": {"fused": True},
    "fused adamw": {"fused": True, "optimizer": "adamw", "layout": "channels_last"},
    "micro-batch": {"micro_batch": 3},
    "all but compiled": {"precision": "bf16", "layout": "channels_last", "fused": True, "micro_batch": 3},
}
COMPILED = pytest.param({"compile": True, "micro_batch": 5}, id="compiled", marks=pytest.mark.slow)
ALL = [*(pytest.param(way, id=name) for name, way in WAYS.items()), COMPILED]


@pytest.fixture(scope="module", autouse=True)
def _no_compiled_code_is_left():
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("way", ALL)
@pytest.mark.filterwarnings("default")
def test_computed_in_any_way_a_cut_training_ends_in_the_bytes_of_a_straight_one(tmp_path, way):
    straight = encoder()
    finish(train(make_run(straight, half_mask(straight), "6it", **way)))

    first = encoder()
    mask = half_mask(first)
    taken = 0
    for event in train(make_run(first, mask, "6it", **way)):
        taken += isinstance(event, Snapshot)
        if taken == 3:
            write_state(tmp_path / "state", event.capture(), about={})
            break
    second = encoder(seed=1)
    finish(train(make_run(second, mask, "6it", **way), resume=read_state(tmp_path / "state")[0]))
    assert same(straight.state_dict(), second.state_dict())

    usual = encoder()
    finish(train(make_run(usual, mask, "6it")))
    assert usual.state_dict().keys() == straight.state_dict().keys()
    for name, weight in straight.named_parameters():
        assert (weight.dtype, weight.is_contiguous()) == (torch.float32, True), name
    for name, weight in prunable(straight).items():
        dead = weight.detach()[~torch.from_numpy(mask[name].copy())]
        assert dead.view(torch.int32).abs().max() == 0, "+0.0 to the last bit"


def norms(model):
    return tuple(part for part in model.modules() if isinstance(part, nn.BatchNorm2d))


@pytest.mark.parametrize("micro_batch", [1, 3, 4, 5, 7, 8])
def test_with_frozen_statistics_the_parts_of_a_batch_add_up_to_it(micro_batch):
    """Eight images in parts of 3, 3, 2 weigh as their images do."""
    whole, parted = encoder(), encoder()
    for model, way in ((whole, {}), (parted, {"micro_batch": micro_batch})):
        run = make_run(model, None, "1it", momentum=0.0, weight_decay=0.0, clip=None, lr=1.0, **way)
        finish(train(replace(run, still=norms(model))))
    start, moved = copy_of(encoder()), copy_of(parted)
    for name, value in copy_of(whole).items():
        moved[name] -= start[name]
        wanted = value - start[name]
        assert float((moved[name] - wanted).float().norm()) <= 1e-5 * float(wanted.float().norm()) + 1e-7, name


def test_the_losses_that_are_shown_are_those_of_the_whole_batch():
    shown = []
    for way in ({}, {"micro_batch": 3}):
        run = make_run(model := encoder(), None, "1it", **way)
        found = Replica(model.eval(), run.loss, 1.0, run.config).learn(run.batches.at(0, 0))
        shown.append(float(found["loss"]))
    assert shown[1] == pytest.approx(shown[0], rel=1e-5)


def test_parts_differ_by_one_image_at_most_and_keep_what_belongs_together():
    images, labels = torch.arange(8.0).view(8, 1), torch.arange(8)
    parts = parts_of((images, labels), 3)
    assert [part[1].tolist() for part, _ in parts] == [[0, 1], [2, 3, 4], [5, 6, 7]]
    assert all(torch.equal(part[0].view(-1), part[1].float()) for part, _ in parts)
    assert [share for _, share in parts] == [0.25, 0.375, 0.375]


def test_each_part_of_a_step_has_its_own_draws_and_its_own_objects():
    objects = tuple(
        Objects(torch.full((1, 4), float(k)), torch.tensor([k]), torch.zeros(0), torch.tensor([False]))
        for k in range(4)
    )
    shown = Shown(torch.zeros(4, 3, 32, 32), ((32, 32),) * 4, objects, (7, 8, 9, 10))
    (first, one), (second, two) = (part for part, _ in parts_of((shown, 5), 2))
    assert one == 5
    assert two != 5
    assert (first.indices, second.indices) == ((7, 8), (9, 10))
    assert [int(one.labels) for one in second.objects] == [2, 3]
    assert len(second.images) == len(second.sizes) == 2


def test_half_precision_reaches_the_network_and_not_the_weights():
    model = encoder()
    seen = []
    model.layer1.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    run = make_run(model, None, "1it", precision="bf16")
    finish(train(run))
    assert set(seen) == {torch.bfloat16}
    assert {value.dtype for value in copy_of(model).values()} <= {torch.float32, torch.int64}


def test_images_and_weights_lie_with_channels_last_while_training_and_only_then():
    model = encoder()
    seen = []
    hook = model.layer1.register_forward_hook(
        lambda module, given, _: seen.append(
            [one.is_contiguous(memory_format=torch.channels_last) for one in (given[0], module[0].conv1.weight)]
        )
    )
    finish(train(make_run(model, None, "1it", layout="channels_last")))
    hook.remove()
    assert seen == [[True, True]]
    assert model.layer1[0].conv1.weight.is_contiguous()


def test_the_optimiser_is_fused_where_that_is_asked_for():
    run = make_run(model := encoder(), None, "1it", fused=True)
    assert build_optimizer(run.config, list(model.parameters())).defaults["fused"] is True


def greedy(model, most):
    """A loss that asks for more memory than any machine has for more than `most` images."""

    def loss(images, labels):
        if len(images) > most:
            torch.empty(2**60, dtype=torch.uint8)
        return {"loss": F.cross_entropy(model(images), labels)}

    return loss


@pytest.mark.parametrize(
    ("most", "said"), [(3, "micro_batch: 2, which fits here"), (4, "micro_batch: 4, which"), (0, "smaller images")]
)
def test_a_batch_that_does_not_fit_is_answered_with_one_that_does(most, said):
    run = make_run(model := encoder())
    with pytest.raises(OutOfMemory, match="8 images at once do not fit") as raised:
        finish(train(replace(run, loss=greedy(model, most))))
    assert said in raised.value.hint
    assert raised.value.where == "test"
    assert raised.value.code == 8
    if most:
        fits = int(raised.value.hint.split("micro_batch: ")[1].split(",")[0])
        again = make_run(model := encoder(), micro_batch=fits)
        finish(train(replace(again, loss=greedy(model, most))))


def test_other_errors_of_torch_stay_what_they_are():
    run = make_run(encoder())

    def loss(images, labels):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        finish(train(replace(run, loss=loss)))
