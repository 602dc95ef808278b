"""G4: the experiment with tied neurons."""

import re
from xml.etree import ElementTree

import pytest
import torch

from tests.cli.command_line import ticket
from tests.drained import drained
from ticketcli.errors import DivergedError, UsageError
from ticketcli.tensors.seeds import generator
from ticketcli.theory.drawing_gunn import draw_gunn
from ticketcli.theory.gunn import UPDATES, TiedNeurons, first_order, measure, through, tied
from ticketcli.theory.show_gunn import gunn_json, gunn_text, shown_steps

SIZES = TiedNeurons(steps=3, lr=0.1, seeds=4)


def draw(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=generator(seed, "test"))


@pytest.fixture(scope="module")
def found():
    return {kind.update: kind for kind in drained(measure(SIZES))}


@pytest.mark.parametrize("update", UPDATES)
def test_tied_neurons_compute_the_same_and_are_read_alike(update):
    weights, readers = tied(SIZES, update, seed=3)
    y = through(weights, draw(20, 6), SIZES.segments(update))
    p, q = SIZES.tied
    torch.testing.assert_close(y[:, p], y[:, q])
    assert torch.equal(readers[:, p], readers[:, q])
    assert torch.equal(weights[q + 1 :, p], weights[q + 1 :, q])


def test_gradual_update_parts_them_within_three_steps(found):
    for one in found["gradual"].found:
        assert one.gaps[0] < 1e-14
        assert one.gaps[3] > 1e-3


@pytest.mark.parametrize("update", ["simultaneous", "same segment"])
def test_neurons_that_are_updated_at_once_stay_tied(found, update):
    assert max(found[update].gaps(3)) < 1e-13


def test_all_of_them_learn(found):
    assert all(one.losses[-1] < one.losses[0] for kind in found.values() for one in kind.found)


def test_a_gradual_layer_is_a_triangular_system():
    weights, x = draw(6, 6), draw(5, 6, seed=1)
    lower = torch.tril(weights, -1)
    one = torch.eye(6).double()
    wanted = torch.linalg.solve(one - lower, one + weights - lower) @ x.T
    torch.testing.assert_close(through(weights, x, (1,) * 6), wanted.T)
    torch.testing.assert_close(through(weights, x, (6,)), x @ (one + weights).T)


def test_equation_3_is_the_slope_of_the_layer():
    weights, change, x = draw(6, 6), draw(6, 6, seed=2), draw(5, 6, seed=1)
    for sizes in ((1,) * 6, (2, 1, 3), (6,)):
        step = 1e-6
        ahead, behind = (through(weights + sign * step * change, x, sizes) for sign in (1, -1))
        moved = first_order(weights, change, x, sizes)
        torch.testing.assert_close(moved, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-6)


def test_equation_3_is_the_papers_for_one_input_and_a_gradient_step():
    """The sum over squares, with the sign of descent."""
    weights, x, slope = draw(4, 4), draw(1, 4, seed=1), draw(4, seed=2)
    y = through(weights, x, (1,) * 4)[0]
    read = [torch.cat([y[:i], x[0, i:]]) for i in range(4)]
    change = -0.1 * torch.stack([slope[i] * read[i] for i in range(4)])
    wanted = torch.zeros(4).double()
    for i in range(4):
        wanted[i] = -0.1 * slope[i] * read[i].square().sum() + weights[i, :i] @ wanted[:i]
    torch.testing.assert_close(first_order(weights, change, x, (1,) * 4)[0], wanted)


def test_a_small_step_parts_them_as_far_as_is_predicted():
    (gradual, *_) = drained(measure(TiedNeurons(steps=1, lr=1e-4, seeds=3)))
    for one in gradual.found:
        assert one.gaps[1] == pytest.approx(one.predicted, rel=0.01)


def test_a_seed_gives_the_same_numbers_alone_and_among_others(found):
    alone = {kind.update: kind for kind in drained(measure(TiedNeurons(steps=3, lr=0.1, seeds=1, first_seed=2)))}
    for update in UPDATES:
        assert alone[update].found[0] == found[update].found[2]


def test_the_words_say_what_was_found(found):
    text = gunn_text(SIZES, list(found.values()))
    assert "a neuron a segment: the neurons part on every seed" in text
    assert text.count("stay one, to the last digits") == 2
    assert shown_steps(TiedNeurons(steps=40)) == [0, 1, 3, 10, 30, 40]
    parted = [[one["parted"] for one in kind["seeds"]] for kind in gunn_json(SIZES, list(found.values()))["updates"]]
    assert parted == [[True] * 4, [False] * 4, [False] * 4]


def test_a_rate_that_is_far_too_high_is_a_divergence():
    with pytest.raises(DivergedError, match="not finite"):
        drained(measure(TiedNeurons(lr=1e80, seeds=1)))


@pytest.mark.parametrize(("sizes", "match"), [({"neurons": 3}, "neurons is 3"), ({"lr": 0.0}, "lr is 0")])
def test_sizes_that_mean_nothing_are_refused(sizes, match):
    with pytest.raises(UsageError, match=match):
        TiedNeurons(**sizes)


def test_the_figure_says_what_to_type_for_the_same_bytes(found, tmp_path):
    draw_gunn(tmp_path / "one.svg", SIZES, list(found.values()))
    content = (tmp_path / "one.svg").read_bytes()
    root = ElementTree.fromstring(re.sub(rb' xmlns="[^"]*"', b"", content))
    assert len([one for one in root.iter() if one.tag in ("circle", "polygon", "rect")]) > 3 * 2 * 4
    command = re.search(r"Command: ticket (.*?)\. Seeds: 0, 1, 2, 3\.", root.find("desc").text)[1].split()
    result = ticket(*command, "-q", "--svg", tmp_path / "again.svg")
    assert result.code == 0, result
    assert (tmp_path / "again.svg").read_bytes() == content


def test_the_command_prints_what_the_experiment_finds():
    result = ticket("theory", "gunn", "--steps", 2, "--seeds", 2)
    assert result.code == 0, result
    assert "theory gunn: about" in result.err
    assert "2 of 2" in result.out
    assert ticket("theory", "gunn", "--neurons", 3).code == 2
