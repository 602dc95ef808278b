"""Shares of open gates over batches, and how far those of two networks are the same."""

import pytest
import torch

from tests.explain.nets import classes, images, mlp, resnet
from ticketcli.errors import MismatchError
from ticketcli.explain.search import Feedback, GatedNetwork
from ticketcli.explain.statistics import ALL, gate_overlap, gate_statistics
from ticketcli.explain.targets import ClassTarget


def bits(*rows):
    return torch.tensor([[one == "1" for one in row] for row in rows])


def test_overlap_is_open_in_both_over_open_in_either_image_by_image():
    one = {"a": bits("1100", "0000", "1111"), "b": bits("10", "00", "11")}
    other = {"a": bits("0110", "0000", "0000"), "b": bits("10", "00", "01")}
    found = gate_overlap(one, other)
    assert found["a"].tolist() == [pytest.approx(1 / 3), 1.0, 0.0]
    assert found["b"].tolist() == [1.0, 1.0, 0.5]
    assert found[ALL].tolist() == [pytest.approx(2 / 4), 1.0, pytest.approx(1 / 6)]
    assert [one.tolist() for one in gate_overlap(other, one).values()] == [one.tolist() for one in found.values()]


def test_a_network_overlaps_itself_wholly_and_another_less():
    x, target = images(3, 16), classes(3)
    one, other = (GatedNetwork(resnet(seed)).search(x, target, mode="fr").gates for seed in (0, 1))
    assert all(bool((share == 1).all()) for share in gate_overlap(one, one).values())
    assert bool((gate_overlap(one, other)[ALL] < 0.9).all())


@pytest.mark.parametrize(
    ("one", "other"),
    [({"a": bits("10")}, {"b": bits("10")}), ({"a": bits("10")}, {"a": bits("10"), "b": bits("1")}),
     ({"a": bits("10")}, {"a": bits("100")}), ({"a": bits("10")}, {"a": bits("10", "10")})],
)  # fmt: skip
def test_gates_of_other_networks_or_images_are_not_compared(one, other):
    with pytest.raises(MismatchError, match="the gates of") as caught:
        gate_overlap(one, other)
    assert "one architecture" in caught.value.hint


def feedback(shares, scores, converged):
    n = len(shares)
    gates = {"a": torch.ones(n, 2, 3, 3, dtype=torch.bool)}
    return Feedback(
        torch.tensor(scores), gates, {"a": torch.tensor(shares)}, torch.zeros(n, 3, 4, 4), torch.tensor(converged)
    )


def test_statistics_are_means_over_images_and_not_over_batches():
    found = gate_statistics([
        feedback([0.5, 0.1], [[1.0, 4.0, 4.0], [3.0, 5.0, 6.0]], [True, False]),
        feedback([0.9], [[5.0, 8.0]], [True]),
    ])  # fmt: skip
    assert found.open_share == {"a": pytest.approx(0.5)}
    assert found.n_gates == {"a": 18}
    assert found.score_before == pytest.approx(3.0)
    assert found.score_after == pytest.approx(6.0)
    assert found.converged == pytest.approx(2 / 3)
    assert found.n_images == 3


def test_statistics_of_halves_are_those_of_the_whole():
    network, x = GatedNetwork(mlp(0)), images(4, 2)
    whole = gate_statistics([network.search(x, classes(4), mode="fr")])
    halves = gate_statistics([
        network.search(x[part], ClassTarget(classes(4).classes[part]), mode="fr") for part in (slice(2), slice(2, 4))
    ])  # fmt: skip
    assert halves.open_share == {name: pytest.approx(share) for name, share in whole.open_share.items()}
    assert halves.score_after == pytest.approx(whole.score_after)
    assert halves.n_images == whole.n_images


def test_there_is_no_statistic_of_nothing_or_of_other_gates():
    one, other = feedback([0.5], [[1.0, 2.0]], [True]), feedback([0.5], [[1.0, 2.0]], [True])
    other.gates["b"] = other.gates.pop("a")
    for batches in ([], [one, other]):
        with pytest.raises(MismatchError, match="the same gates"):
            gate_statistics(batches)
