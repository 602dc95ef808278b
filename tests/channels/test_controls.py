import copy

import pytest
import torch
from torch import nn

from tests.channels.nets import images, lived, net
from ticketcli.channels.controls import controlled
from ticketcli.channels.graph import channel_graph
from ticketcli.channels.knockoffs.gaussian import GaussianKnockoffs, MomentSums, positions
from ticketcli.channels.knockoffs.permute import permuted
from ticketcli.channels.scores import scop_scores
from ticketcli.channels.selection import ControlSettings, ControlTraining, train_controls
from ticketcli.errors import DivergedError, MismatchError, UsageError
from ticketcli.tensors.files import copy_of, read_state, write_state
from ticketcli.tensors.seeds import generator


def draw(number=0):
    return generator(0, "test controls", number)


def labels(n=3):
    return torch.arange(n) % 5


def batches(first=0, last=4, n=6):
    return [(torch.randn(n, 3, 8, 8, dtype=torch.float64, generator=draw(k)), labels(n)) for k in range(first, last)]


def training_of(controls, source=permuted, **settings):
    return ControlTraining(controls, source, ControlSettings(**settings), seed=0)


def set_all(controls, value):
    for beta in controls.betas.values():
        beta.data.fill_(value)


@pytest.mark.parametrize("kind", ["resnet20", "bottleneck", "vgg"])
def test_betas_of_one_give_the_plain_networks_logits(kind):
    """S7."""
    model = net(kind)
    with torch.no_grad(), controlled(model, channel_graph(model)) as controls:
        set_all(controls, 1.0)
        torch.testing.assert_close(controls.logits(images(), permuted, draw()), model(images()), rtol=1e-10, atol=1e-10)


def test_betas_of_zero_give_the_controls_logits_behind_the_gates():
    """In a chain, whose only way is through the gates."""
    model = net("vgg")
    control = images().flip(0)
    with torch.no_grad(), controlled(model, channel_graph(model)) as controls:
        set_all(controls, 0.0)
        torch.testing.assert_close(controls.logits(images(), lambda x, _: x.flip(0), draw()), model(control))


def test_the_blend_is_taken_before_the_batchnorm_and_the_control_stream_stays_pure():
    model = net("vgg")
    seen = {}
    with torch.no_grad(), controlled(model, channel_graph(model)) as controls:
        handles = [
            model.get_submodule(name).register_forward_pre_hook(lambda _, x, name=name: seen.update({name: x[0]}))
            for name in ("features.3", "features.4", "features.7", "features.8")
        ]
        set_all(controls, 0.3)
        controls.logits(images(), lambda x, _: -x, draw())
        for handle in handles:
            handle.remove()
        for conv, norm in (("features.3", "features.4"), ("features.7", "features.8")):
            real, control = model.get_submodule(conv)(seen[conv]).chunk(2)
            torch.testing.assert_close(seen[norm], torch.cat([0.3 * real + 0.7 * control, control]))


def test_batchnorm_statistics_do_not_move():
    """S10."""
    model = net("basic").train()
    before = copy_of(model)
    with controlled(model, channel_graph(model)) as controls:
        list(train_controls(training_of(controls), batches()))
        assert not model.bn1.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_network_is_left_as_it_was_even_after_an_error():
    model = net("basic").train()
    model.layer1.requires_grad_(False)
    model.bn1.eval()
    modes = [part.training for part in model.modules()]
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    before = copy_of(model)
    with pytest.raises(RuntimeError, match="on purpose"), controlled(model, channel_graph(model)) as controls:
        list(train_controls(training_of(controls), batches()))
        raise RuntimeError("on purpose")
    assert [part.training for part in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert not any(part._forward_hooks for part in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_call_of_the_network_itself_does_not_blend():
    model = net("basic")
    plain = model(images())
    with controlled(model, channel_graph(model)) as controls:
        set_all(controls, 0.0)
        assert torch.equal(model(images()), plain)


def test_a_channel_that_nobody_listens_to_keeps_its_beta_to_the_bit():
    """S5."""
    model = net("vgg")
    model.get_parameter("classifier.1.weight").data[:, 12:16] = 0.0  # channel 3 of features.7
    graph = channel_graph(model)
    with controlled(model, graph) as controls:
        training = training_of(controls, lr=0.05)
        x, y = batches()[0]
        training.step(x, y)
        gradient = controls.betas["features.7"].grad
        assert float(gradient[3]) == 0
        assert int((gradient == 0).sum()) == 1
        list(train_controls(training, batches(1, 4)))
        assert float(controls.betas["features.7"][3].detach()) == 0.5
        assert float(scop_scores(model, graph, controls.values())["features.7"][3]) == 0


class Toy(nn.Module):
    """Four features of the image; the first two tell the label, the third nothing of it, and the fourth is not read."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(4, 4, 1, bias=False)
        self.conv, self.bn, self.head = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Linear(4, 4)
        for part in (self.stem, self.conv):
            part.weight.data = torch.eye(4)[:, :, None, None]
        self.head.weight.data = torch.tensor([[2.0, 2, 0, 0], [2, -2, 0, 0], [-2, 2, 0, 0], [-2, -2, 0, 0]])
        self.head.weight.data[:, 2] = torch.tensor([1.0, -1, 1, -1])
        self.head.bias.data.zero_()

    def forward(self, x):
        return self.head(self.bn(self.conv(self.stem(x))).mean((2, 3)))


def toy_batches(n):
    for k in range(n):
        x = torch.randn(64, 4, 1, 1, generator=draw(k)).sign() + 0.1 * torch.randn(
            64, 4, 1, 1, generator=draw(k + 5000)
        )
        yield x.double(), (2 * (x[:, 0] < 0) + (x[:, 1] < 0)).flatten().long()


def test_informative_channels_are_found_and_dead_ones_stay_in_the_middle():
    """S6."""
    model = Toy().double().eval()
    graph = channel_graph(model)
    with controlled(model, graph) as controls:
        steps = list(train_controls(training_of(controls, lr=0.02), toy_batches(150)))
        beta = controls.betas["conv"].detach()
        assert float(beta[:2].min()) > 0.9
        assert float(beta[2]) < 0.7  # as much of it is noise in the image as in the control
        assert float(beta[3]) == 0.5
        assert steps[-1].loss < steps[0].loss
        assert steps[-1].at_one == pytest.approx(0.5)
        assert (steps[0].at_one, steps[0].at_zero) == (0, 0)


def test_permuted_channels_have_permuted_scores():
    """S11."""
    model = net("basic")
    name, order = "layer1.0.conv1", torch.randperm(8, generator=draw())
    other = copy.deepcopy(model)
    for key, tensor in other.state_dict().items():
        if key == f"{name}.weight" or (key.startswith("layer1.0.bn1.") and tensor.ndim):
            tensor.copy_(tensor[order].clone())
    columns = other.get_parameter("layer1.0.conv2.weight").data
    columns.copy_(columns[:, order].clone())
    found = []
    for one in (model, other):
        graph = channel_graph(one)
        with controlled(one, graph) as controls:
            list(train_controls(training_of(controls, lr=0.02), batches()))
            found.append(scop_scores(one, graph, controls.values()))
    assert float(found[0][name].std()) > 1e-3
    torch.testing.assert_close(found[1][name], found[0][name][order], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found[1]["layer2.1.conv2"], found[0]["layer2.1.conv2"], rtol=1e-6, atol=1e-9)


def test_betas_stay_in_their_range_however_large_the_steps():
    model = net("basic")
    with controlled(model, channel_graph(model)) as controls:
        step = list(train_controls(training_of(controls, lr=3.0), batches()))[-1]
        assert all(0 <= float(beta.min()) <= float(beta.max()) <= 1 for beta in controls.values().values())
        assert 0 < step.at_one < 1
        assert 0 < step.at_zero < 1


def test_a_cut_and_resumed_training_is_a_straight_one_to_the_bit(tmp_path):
    model = net("basic")
    graph = channel_graph(model)
    with controlled(model, graph) as controls:
        list(train_controls(training_of(controls), batches()))
        straight = controls.values()
    with controlled(model, graph) as controls:
        training = training_of(controls)
        list(train_controls(training, batches(0, 2)))
        write_state(tmp_path / "state", training.state(), about={})
    with controlled(model, graph) as controls:
        training = training_of(controls)
        training.load(read_state(tmp_path / "state")[0])
        steps = list(train_controls(training, batches(2, 4)))
        assert [step.done for step in steps] == [3, 4]
        assert all(torch.equal(straight[name], beta) for name, beta in controls.values().items())


def test_features_can_be_controlled_instead_of_images():
    model = net("basic")
    sums = MomentSums(8)
    with torch.no_grad():
        sums.add(positions(model.bn1(model.conv1(torch.cat([x for x, _ in batches()])))))
    source, seen = GaussianKnockoffs(sums.moments(), by_position=True), []

    def watched(x, draw):
        seen.append((x, source(x, draw)))
        return seen[-1][1]

    with controlled(model, channel_graph(model), at="bn1") as controls:
        handle = model.layer1[0].conv1.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
        list(train_controls(training_of(controls, watched), batches(0, 1)))
        handle.remove()
        (real, _), given = seen
        assert real.shape[1] == 8
        assert given.shape[0] == 2 * len(real)
        assert not torch.equal(given[: len(real)], given[len(real) :])
        assert all(float((beta - 0.5).abs().max()) > 0 for beta in controls.values().values())
        set_all(controls, 1.0)
        torch.testing.assert_close(controls.logits(images(), source, draw()), model(images()), rtol=1e-10, atol=1e-10)


def test_the_noise_of_lemma_2_is_off_unless_asked_for():
    assert not ControlSettings().lemma2_noise
    model = lived(net("vgg"))
    with torch.no_grad(), controlled(model, channel_graph(model)) as controls:
        set_all(controls, 1.0)
        plain = controls.logits(images(), permuted, draw())
        noisy = controls.logits(images(), permuted, draw(), lemma2_noise=True)
        torch.testing.assert_close(plain, model(images()), rtol=1e-10, atol=1e-10)
        assert float((noisy - plain).std()) > float(plain.std(dim=0).mean())  # larger than what tells images apart
        assert torch.equal(noisy, controls.logits(images(), permuted, draw(), lemma2_noise=True))


def test_sources_that_are_no_controls_are_errors():
    model = net("basic")
    with controlled(model, channel_graph(model)) as controls:
        with pytest.raises(MismatchError, match=r"controls are \(2, 3, 16, 16\)"):
            controls.logits(images(), lambda x, _: x[1:], draw())
        with pytest.raises(DivergedError, match="not finite"):
            training_of(controls, lambda x, _: x * float("nan")).step(images(), labels())
        with pytest.raises(MismatchError, match=r"do not fit 'layer1.0.conv1'"):
            controls.load({})


def test_a_layer_that_is_not_there_or_is_judged_itself_is_an_error():
    model = net("basic")
    for at, match in (("layer9", "no layer 'layer9'"), ("layer1.0.conv1", "channels are judged")):
        with pytest.raises(UsageError, match=match), controlled(model, channel_graph(model), at=at):
            pass
    assert all(parameter.requires_grad for parameter in model.parameters())
