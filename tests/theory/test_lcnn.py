import pytest
import torch

from tests.drained import drained
from ticketcli.errors import UsageError
from ticketcli.tensors.seeds import generator
from ticketcli.theory.lcnn import Lcnn, _energies, _falling, _through, measure
from ticketcli.theory.show import slopes


def by_rule(damages):
    found = {}
    for one in damages:
        found.setdefault(one.rule, []).append(one)
    return found


@pytest.fixture(scope="module")
def damages():
    """At the size that the specification was measured at."""
    return by_rule(drained(measure(Lcnn(width=256, length=32, p=(0.02, 0.05, 0.08, 0.11), seeds=6))))


def draw(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=generator(1, "test"))


@pytest.mark.parametrize(("s", "length"), [(0, 4), (1, 8), (1, 9), (3, 7)])
def test_mode_by_mode_is_circular_convolution(s, length):
    layers, x = [draw(3, 3, 2 * s + 1), 2 * draw(3, 3, 2 * s + 1)], draw(3, length)
    found = torch.fft.irfft(_through(layers, torch.fft.rfft(x), length), n=length)
    for layer in layers:
        x = sum(layer[:, :, tap + s] @ x.roll(-tap, dims=1) for tap in range(-s, s + 1))
    torch.testing.assert_close(found, x)


@pytest.mark.parametrize("length", [7, 8])
def test_energies_of_modes_add_up_to_the_squared_norm(length):
    x = draw(3, length)
    energy = _energies(torch.fft.rfft(x), length)
    assert float(energy.sum()) == pytest.approx(length * float(x.square().sum()))
    assert float(energy[0]) == pytest.approx(float(x.sum(dim=1).square().sum()))


def test_theorem_3_1_holds_at_the_size_of_the_specification(damages):
    for one in damages["kernel-sum"]:
        assert one.mean("r_pool") <= one.mean("most_pool")
        assert min(one.values("r_map")) >= 0.7 * one.p**0.5
        assert one.holds
    found = slopes(damages["kernel-sum"])["kernel-sum"]
    assert found["r_pool"] == pytest.approx(1.5, abs=0.15)
    assert found["r_map"] == pytest.approx(0.5, abs=0.15)


def test_what_is_measured_is_what_the_limit_predicts(damages):
    for several in damages.values():
        for one in several:
            assert one.mean("r_pool") == pytest.approx(one.mean("predicted_pool"), rel=0.12)
            assert one.mean("r_map") == pytest.approx(one.mean("predicted_map"), rel=0.04)


@pytest.mark.parametrize("rule", ["random", "l2", "1x1"])
def test_the_controls_separate_nothing(damages, rule):
    for one in damages[rule]:
        assert 0.9 < one.mean("ratio") < 1.12
        assert not one.holds or rule == "1x1"  # whose lower bound is 0
    for ours, control in zip(damages["kernel-sum"], damages[rule], strict=True):
        assert ours.mean("ratio") < 0.2 * control.mean("ratio")


def test_controls_drop_as_many_kernels_of_each_layer_as_the_rule_does():
    layer = draw(20, 20, 3) / 60**0.5
    counts = {rule: int(_falling(layer, rule, 0.2, 0, 0).sum()) for rule in ("kernel-sum", "random", "l2")}
    assert len(set(counts.values())) == 1
    assert 40 < counts["random"] < 120
    falls = _falling(layer, "l2", 0.2, 0, 0)
    norms = layer.norm(dim=2)
    assert norms[falls].max() < norms[~falls].min()


def test_with_s_0_the_rule_is_its_own_control():
    damages = by_rule(drained(measure(Lcnn(width=32, s=0, length=8, p=(0.1,), seeds=2))))
    assert damages["kernel-sum"][0].losses == damages["1x1"][0].losses


def test_a_seed_gives_the_same_numbers_alone_and_among_others():
    small = {"width": 16, "length": 6, "p": (0.1, 0.2)}
    several = drained(measure(Lcnn(**small, seeds=3)))
    alone = drained(measure(Lcnn(**{**small, "p": (0.2,)}, seeds=1, first_seed=2, rules=("random",))))
    assert alone[0].losses[0] == next(one for one in several if (one.rule, one.p) == ("random", 0.2)).losses[2]
    assert len({loss.r_map for loss in several[0].losses}) == 3


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"p": (0.0, 0.1)}, "between 0 and 1, got 0"),
        ({"p": (0.1, float("nan"))}, "got nan"),
        ({"p": (0.2, 0.1)}, "do not increase"),
        ({"p": ()}, "no share"),
        ({"s": 16}, "33 taps is wider than the 32 positions"),
        ({"s": -1}, "s is -1"),
        ({"s": 0, "length": 1}, "length is 1"),
        ({"layers": 0}, "layers is 0"),
        ({"width": 30_000}, "GiB"),
    ],
)
def test_sizes_that_mean_nothing_are_refused(sizes, message):
    with pytest.raises(UsageError, match=message):
        Lcnn(**sizes)
