"""What is written as ONNX computes what torch does, keeps zeros, and tells nobody where it was made."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from ticketcli.errors import CorruptError, UsageError
from ticketcli.models.architectures import build_encoder, prunable
from ticketcli.runtimes import onnx_graph
from ticketcli.runtimes.onnx_graph import describe, described, opset_of, require_onnx, to_onnx
from ticketcli.runtimes.outputs import LOGITS, Work, logits_of, taps_of
from ticketcli.runtimes.session import Session, agreement, compared
from ticketcli.store.mask import Mask


@torch.no_grad()
def sparse_net(sparsity=0.8):
    """A small network with statistics of its own, negative BatchNorm weights among them, and its mask."""
    model = build_encoder("resnet_small", n_classes=5, seed=0).eval()
    draw = torch.Generator().manual_seed(0)
    bits = {}
    for name, weight in prunable(model).items():
        dropped = torch.rand(weight.shape, generator=draw) < sparsity
        weight[dropped] = 0.0
        bits[name] = ~dropped.numpy()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.copy_(torch.randn(part.weight.shape, generator=draw))
            part.running_mean.copy_(torch.randn(part.running_mean.shape, generator=draw))
    return model, Mask(bits)


@pytest.fixture(scope="module")
def exported():
    model, mask = sparse_net()
    work = logits_of(model, 32)
    return work, mask, to_onnx(work, mask, where="x")


def test_it_computes_what_torch_does_for_any_batch(exported):
    work, _, graph = exported
    session = Session(graph.SerializeToString(), 1)
    found = compared(work, session)
    assert found.holds
    assert 0 < found.difference < found.tolerance
    for n in (1, 2, 7):
        assert session(np.zeros((n, 3, 32, 32), np.float32))[0].shape == (n, 5)
    assert session.names == (LOGITS,)


def test_every_masked_weight_is_plus_zero_in_it_and_no_other_is(exported):
    _, mask, graph = exported
    weights = {one.name: onnx.numpy_helper.to_array(one) for one in graph.graph.initializer}
    for name, alive in mask.items():
        assert not weights[name][~alive].any()
        assert not np.signbit(weights[name][~alive]).any()
        assert weights[name][alive].all()


def test_it_says_nothing_of_where_it_was_made(exported):
    content = exported[2].SerializeToString()
    assert b".py" not in content
    assert b"stack_trace" not in content
    assert exported[2].producer_name == "ticketcli"
    assert opset_of(exported[2]) >= 18


def test_metadata_are_words_by_name(exported):
    graph = onnx.ModelProto()
    graph.CopyFrom(exported[2])
    describe(graph, {"ticket": "ours/7", "class_names": '["a"]'})
    assert described(graph.SerializeToString()) == {"ticket": "ours/7", "class_names": '["a"]'}


def test_taps_are_named_outputs_and_images_may_have_any_size():
    model, mask = sparse_net()
    work = taps_of(model, 32)
    backbone = Mask({name: bits for name, bits in mask.items() if not name.startswith("fc.")})
    session = Session(to_onnx(work, backbone, where="x").SerializeToString(), 1)
    assert session.names == ("layer1", "layer2", "layer3", "layer4")
    assert compared(work, session).holds
    assert [one.shape[2:] for one in session(np.zeros((1, 3, 64, 96), np.float32))] == [
        (64, 96),
        (32, 48),
        (16, 24),
        (8, 12),
    ]


def test_a_weight_that_is_not_zero_is_seen():
    model, mask = sparse_net()
    with torch.no_grad():
        model.layer2[0].conv1.weight[0, 0, 0, 0] += 1.0
    bits = {name: array.copy() for name, array in mask.items()}
    bits["layer2.0.conv1.weight"][0, 0, 0, 0] = False
    with pytest.raises(CorruptError, match=r"'layer2.0.conv1.weight' are not zero"):
        to_onnx(logits_of(model, 32), Mask(bits), where="x")


class Unknown(nn.Module):
    """An operation that ONNX does not have."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return torch.linalg.eigvals(x @ x.transpose(-1, -2)).real * self.scale


class Choosing(nn.Module):
    """Control flow that depends on values."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x + self.scale if x.sum() > 0 else x - self.scale


@pytest.mark.parametrize(("module", "words"), [(Unknown, "linalg_eig"), (Choosing, "data-dependent")])
def test_what_onnx_cannot_say_is_an_error_with_the_reason(module, words, capfd):
    with pytest.raises(UsageError, match=words) as error:
        to_onnx(Work(module().eval(), ("out",), 8), None, where="mine")
    assert "--taps" in error.value.hint
    assert error.value.where == "mine"
    assert "Next steps" not in str(error.value)
    assert not capfd.readouterr().out


def test_a_graph_of_more_than_a_message_holds_is_refused(monkeypatch, exported):
    monkeypatch.setattr(onnx_graph, "_LIMIT", 1000)
    with pytest.raises(UsageError, match="too large for one ONNX file"):
        to_onnx(exported[0], None, where="x")


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(onnx_graph, "NEEDS", ("onnx_that_nobody_has",))
    with pytest.raises(UsageError, match="onnx_that_nobody_has is not installed") as error:
        require_onnx()
    assert error.value.hint == "pip install 'ticketcli[export]'"


def test_what_is_no_graph_is_told_as_such():
    with pytest.raises(UsageError, match="ONNX Runtime cannot run this graph"):
        Session(b"no graph")


ONE = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("other", "holds"),
    [
        ([ONE], True),
        ([ONE + 5e-5], True),
        ([ONE + 5e-4], False),
        ([ONE * np.nan], False),
        ([ONE[:1]], False),
        ([], False),
    ],
)
def test_agreement_is_a_share_of_the_largest_output_and_nan_agrees_with_nothing(other, holds):
    assert agreement([ONE], other).holds is holds
