"""What gates do not allow, and targets that are none: errors that name the place and the way out, and never NaN."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.explain.nets import Plain, classes, filled, images, mlp, resnet
from ticketcli.errors import DivergedError, UsageError
from ticketcli.explain.baselines import BASELINES
from ticketcli.explain.search import GatedNetwork
from ticketcli.explain.targets import ClassTarget, NeuronTarget
from ticketcli.models.architectures import build_encoder


class Then(nn.Module):
    """A small network, and something done to what is behind its first layer, or to its logits."""

    def __init__(self, inside=None, end=None):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)
        self.inside, self.end = inside, end

    def forward(self, x):
        x = torch.relu(self.conv(x))
        if self.inside is not None:
            x = self.inside(x)
        x = self.head(x.mean((2, 3)))
        return x if self.end is None else self.end(x)


ENDS = {
    "softmax": lambda x: torch.softmax(x, 1),
    "softmax of a module": nn.Softmax(dim=1),
    "log_softmax": lambda x: F.log_softmax(x, dim=1),
    "LogSoftmax": nn.LogSoftmax(dim=1),
    "sigmoid": lambda x: x.sigmoid(),
    "loss": lambda x: F.cross_entropy(x, torch.zeros(2, dtype=torch.int64)),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_makes_probabilities_or_losses_of_logits_is_no_target(end):
    """F10."""
    with pytest.raises(UsageError, match="is not affine, so that nothing behind it can be a target") as caught:
        GatedNetwork(Then(end=ENDS[end]).eval())
    assert "let the network return its logits" in caught.value.hint


INSIDE = {
    "sigmoid": (lambda x: torch.sigmoid(x), "'sigmoid'"),
    "GELU": (nn.GELU(), "'GELU'"),
    "SiLU": (nn.SiLU(), "'SiLU'"),
    "ReLU6": (nn.ReLU6(), "'ReLU6'"),
    "LeakyReLU": (nn.LeakyReLU(), "'LeakyReLU'"),
    "PReLU": (nn.PReLU(), "'PReLU'"),
    "tanh": (torch.tanh, "'tanh'"),
    "clamp": (lambda x: x.clamp(min=0), "'clamp'"),
    "maximum": (lambda x: torch.maximum(x, torch.zeros(())), "'maximum'"),
    "LayerNorm": (nn.GroupNorm(1, 4), "'GroupNorm'"),
    "InstanceNorm": (nn.InstanceNorm2d(4), "'InstanceNorm2d'"),
    "a gate of squeeze and excitation": (lambda x: x * x.mean((2, 3), keepdim=True), "multiplies or divides"),
    "attention": (lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2), "multiplies or divides"),
    "division by the image": (lambda x: 1 / (x + 2), "multiplies or divides"),
    "a norm": (lambda x: x / x.norm(), "'norm'"),
    "places of maxima": (lambda x: F.max_pool2d(x, 2, return_indices=True)[0], "'max_pool2d_with_indices'"),
    "places of maxima of a module": (nn.Sequential(nn.MaxPool2d(2, return_indices=True)), "places of its maxima"),
    "statistics of the batch": (nn.BatchNorm2d(4, track_running_stats=False), "normalises by the batch"),
    "a dropout that is always on": (lambda x: F.dropout(x, 0.5), "drops at random"),
    "an index by the image": (lambda x: x[x.argmax()], "'argmax'"),
}


@pytest.mark.parametrize("kind", INSIDE)
def test_what_is_neither_affine_nor_a_relu_is_refused_and_named(kind):
    inside, words = INSIDE[kind]
    with pytest.raises(UsageError, match=words) as caught:
        GatedNetwork(Then(inside).eval())
    assert "of the traced network" in caught.value.where
    assert caught.value.hint


def test_a_network_that_trains_is_refused_and_so_is_one_with_a_part_that_does():
    net = resnet(0)
    with pytest.raises(UsageError, match="eval mode") as caught:
        GatedNetwork(copy.deepcopy(net).train())
    assert "network.eval()" in caught.value.hint
    net.layer2[0].bn1.train()
    with pytest.raises(UsageError, match="eval mode") as caught:
        GatedNetwork(net)
    assert caught.value.where == "layer2.0.bn1"


def test_a_network_whose_way_depends_on_values_is_refused_with_the_part():
    def choosing(x):
        return x if x.sum() > 0 else -x

    class Part(nn.Module):
        def forward(self, x):
            return choosing(x)

    with pytest.raises(UsageError, match="cannot be followed") as caught:
        GatedNetwork(Then(Part()).eval())
    assert caught.value.where == "inside"


@pytest.mark.parametrize("end", [lambda x: {"out": x}, lambda x: (x, x), lambda x: [x]])
def test_a_network_that_returns_no_single_tensor_is_refused(end):
    with pytest.raises(UsageError, match="no single tensor"):
        GatedNetwork(Then(end=end).eval())


def test_a_network_without_a_relu_is_refused():
    with pytest.raises(UsageError, match="no ReLU"):
        GatedNetwork(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval())


def test_a_network_of_other_values_than_its_operations_is_refused():
    """A hook on the network itself is not among the operations, as those on its parts are; nor is a view."""
    net = filled(Plain(), 0)
    net.features.register_forward_hook(lambda _part, _given, out: out * 2)
    GatedNetwork(net).search(images(2, 8), classes(2), mode="fr")
    net.register_forward_hook(lambda _part, _given, out: out * 2)
    with pytest.raises(UsageError, match="do not compute what the network does"):
        GatedNetwork(net).search(images(2, 8), classes(2), mode="fr")

    def through_a_view(x):
        x = x - 0.3
        x.flatten(1).relu_()
        return x

    with pytest.raises(UsageError, match="do not compute what the network does"):
        GatedNetwork(filled(Then(through_a_view), 0)).search(images(2, 8), classes(2), mode="fr")


def test_timm_networks_of_other_activations_are_refused():
    pytest.importorskip("timm")
    with pytest.raises(UsageError, match=r"of the traced network|cannot be followed"):
        GatedNetwork(build_encoder("timm:convnext_atto", n_classes=3, seed=0).eval())


TARGETS = {
    "too few classes": (ClassTarget(torch.tensor([0])), "2 images need as many classes"),
    "classes that are floats": (ClassTarget(torch.tensor([0.0, 1.0])), "int64"),
    "a class that is not there": (ClassTarget(torch.tensor([0, 4])), "no class 4 among 4"),
    "a negative class": (ClassTarget(torch.tensor([0, -1])), "no class -1"),
    "a layer that is not there": (NeuronTarget("layer9", 0), "no layer 'layer9'"),
    "a channel that is not there": (NeuronTarget("features.0", 5), "no unit"),
    "a negative channel": (NeuronTarget("features.0", -1), "no unit"),
    "a row that is not there": (NeuronTarget("features.0", 0, 8, 0), "no unit"),
    "a row alone": (NeuronTarget("features.0", 0, 3), "a row and a column"),
    "a place in a vector": (NeuronTarget("classifier.0", 0, 0, 0), "no unit"),
    "a pool": (NeuronTarget("features.4", 0), "ends in a max-pool"),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_a_target_that_does_not_fit_is_refused(kind):
    target, words = TARGETS[kind]
    with pytest.raises(UsageError, match=words):
        GatedNetwork(filled(Plain(), 0)).search(images(2, 8), target, mode="fr")


@pytest.mark.parametrize(
    "settings",
    [{"max_sweeps": 0}, {"tolerance": -1.0}, {"tolerance": float("nan")}, {"ratio": -0.1}, {"ratio": float("inf")}],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(UsageError, match="make no sense"):
        GatedNetwork(mlp(0)).search(images(2, 2), classes(2), mode="fr", **settings)


@pytest.mark.parametrize(
    "x", [torch.zeros(3, 2, 2), torch.zeros(0, 3, 2, 2), torch.zeros(1, 3, 2, 2, dtype=torch.uint8)]
)
def test_what_is_no_batch_of_images_is_refused(x):
    with pytest.raises(UsageError, match="images are floats"):
        GatedNetwork(mlp(0)).search(x, classes(len(x)), mode="fr")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_refused(bad):
    net = mlp(0)
    with pytest.raises(DivergedError, match="not a finite number"):
        GatedNetwork(net).search(images(2, 2) * bad, classes(2), mode="fr")
    net[-1].bias.data[0] = bad
    with pytest.raises(DivergedError, match="not a finite number"):
        GatedNetwork(net).search(images(2, 2), classes(2), mode="fr")
    with pytest.raises(DivergedError):
        BASELINES["gradient"](net, images(2, 2), classes(2))
