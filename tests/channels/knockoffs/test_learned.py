from dataclasses import replace

import pytest
import torch

from tests.channels.knockoffs.draws import covariance, draw, rows
from ticketcli.channels.knockoffs.by_position import ByPosition
from ticketcli.channels.knockoffs.deep import DeepKnockoffs, DeepSettings
from ticketcli.channels.knockoffs.diagnostics import diagnose
from ticketcli.channels.knockoffs.gaussian import GaussianKnockoffs, Moments, MomentSums, positions
from ticketcli.channels.knockoffs.generator import GanKnockoffs, GanSettings
from ticketcli.channels.knockoffs.learning import learn
from ticketcli.errors import DivergedError, MismatchError, UsageError
from ticketcli.tensors.files import read_state, write_state
from ticketcli.tensors.seeds import generator

SMALL = GanSettings(side=8, block=4, width=8, judge_steps=2)


def gan(seed=0, **settings):
    return GanKnockoffs(2, GanSettings(**{**SMALL.__dict__, **settings}), seed=seed)


def deep(seed=0, **settings):
    sigma = covariance(4)
    moments = Moments(torch.ones(4, dtype=torch.float64), sigma, 100)
    return DeepKnockoffs(
        moments, GaussianKnockoffs(moments).correlations, DeepSettings(width=32, **settings), seed=seed
    )


def pictures(number):
    """Images of 8 x 8 with a common brightness, so that blocks tell about each other."""
    noise = torch.randn(8, 2, 8, 8, generator=draw(number))
    return 0.3 * noise + torch.randn(8, 1, 1, 1, generator=draw(number + 1000))


def table(number, n=64):
    return rows(n, covariance(4), mean=1.0, number=number)


MAKERS = {
    "gan": (gan, pictures),
    "released": (lambda seed=0: gan(seed, kind="released"), pictures),
    "deep": (deep, table),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_cut_and_resumed_training_is_a_straight_one_to_the_bit(kind, tmp_path):
    make, data = MAKERS[kind]
    straight, first, second = make(), make(), make(seed=9)
    list(learn(straight, (data(k) for k in range(5)), seed=1))
    list(learn(first, (data(k) for k in range(3)), seed=1))
    write_state(tmp_path / "state", first.state(), about={})
    second.load(read_state(tmp_path / "state")[0])
    steps = list(learn(second, (data(k) for k in range(3, 5)), seed=1))
    assert [step.done for step in steps] == [4, 5]
    x = data(7)
    assert torch.equal(second(x, draw(2)), straight(x, draw(2)))
    assert not torch.equal(second(x, draw(2)), first(x, draw(2)))


@pytest.mark.parametrize("kind", MAKERS)
def test_controls_have_the_shape_and_type_of_what_they_control(kind):
    make, data = MAKERS[kind]
    x = data(0)
    found = make()(x, draw())
    assert (found.shape, found.dtype) == (x.shape, x.dtype)
    assert not found.requires_grad
    assert torch.equal(found, make()(x, draw()))
    assert not torch.equal(found, make()(x, draw(1)))


def test_the_conditional_generator_sees_the_image_and_the_released_one_does_not():
    x = pictures(0)
    assert not torch.equal(gan()(x, draw()), gan()(-x, draw()))
    released = gan(kind="released")
    assert torch.equal(released(x, draw()), released(-x, draw()))
    assert float(released(100 * x, draw()).abs().max()) <= 1


def test_larger_images_have_their_controls_enlarged():
    found = gan()(torch.randn(2, 2, 16, 24, generator=draw()), draw(1))
    assert found.shape == (2, 2, 16, 24)
    assert torch.equal(found[:, :, ::2, ::3], found[:, :, 1::2, 2::3])


def test_the_generator_learns_after_every_few_batches():
    learner = gan()
    steps = list(learn(learner, (pictures(k) for k in range(4)), seed=0))
    assert ["generator" in step.losses for step in steps] == [False, True, False, True]


def measured(learner):
    """What each judge says of the generator's controls, on images that nobody learned from."""
    x = torch.cat([pictures(k) for k in range(40, 60)])
    control = learner(x, draw())
    critic = float(learner._networks["critic"](control).detach().mean())
    exchange = float(learner._told_exchanges(x, control, 0.0, draw(1)).detach())
    return {
        "critic": critic,
        "exchange": exchange,
        "information": float(learner._information(x, control, draw(2)).detach()),
    }


@pytest.mark.parametrize(
    ("judge", "weights", "sign"),
    [
        ("critic", {"mu": 100.0, "lam": 0.0}, 1),
        ("exchange", {"mu": 0.0, "lam": 0.0}, 1),
        ("information", {"mu": 0.0, "lam": 100.0}, -1),
    ],
)
def test_the_generator_pleases_its_critic_hides_exchanges_and_gives_nothing_away(judge, weights, sign):
    """The sign of each term of its loss: the judges learn first, and then stand still."""
    learner = gan(judge_steps=10_000, lr=3e-3, **weights)
    list(learn(learner, (pictures(k) for k in range(60)), seed=0))
    before = measured(learner)
    learner.settings = replace(learner.settings, judge_steps=1)
    for name in ("critic", "discriminator", "information"):
        learner._optimizers[name].param_groups[0]["lr"] = 0.0
    list(learn(learner, (pictures(k) for k in range(60, 100)), seed=0))
    assert sign * (measured(learner)[judge] - before[judge]) > 0.02


@pytest.mark.slow
def test_a_trained_generator_comes_nearer_to_the_data():
    """Statistical, at a fixed seed."""
    learner = gan(width=16, judge_steps=5, lr=2e-3)
    x = torch.cat([pictures(k) for k in range(2000, 2025)])
    before = diagnose(x, learner(x, draw()), draw())
    batches = (torch.cat([pictures(6 * k + j) for j in range(6)]) for k in range(300))
    list(learn(learner, batches, seed=0))
    after = diagnose(x, learner(x, draw()), draw())
    assert after.mmd_full < 0.9 * before.mmd_full
    assert after.mmd_partial < 0.9 * before.mmd_partial
    assert after.off_diagonal_gap < 0.9 * before.off_diagonal_gap


def test_the_information_bound_tells_copies_from_strangers():
    """MINE, learned by the judges on controls that do not change."""
    bounds = {}
    for name in ("copies", "strangers"):
        learner = gan(lam=0.0, judge_steps=10_000, lr=5e-3)
        bound = learner._networks["information"]
        for k in range(120):
            x = pictures(k)
            control = x if name == "copies" else pictures(k + 5000)
            learner._learn("information", -learner._information(x, control, draw(k)))
        x = torch.cat([pictures(k) for k in range(200, 220)])
        control = x if name == "copies" else torch.cat([pictures(k + 5000) for k in range(200, 220)])
        with torch.no_grad():
            bounds[name] = float(bound(x, control, torch.arange(len(x)).roll(3)).mean())
    assert bounds["copies"] > 0.3
    assert bounds["strangers"] < 0.1


def test_hints_are_not_graded():
    """Were they, giving everything away would make the loss vanish; so it is the loss of nothing."""
    learner = gan()
    x = pictures(0)
    assert float(learner._told_exchanges(x, pictures(1), 1.0, draw()).detach()) == 0
    assert float(learner._told_exchanges(x, pictures(1), 0.0, draw()).detach()) > 0.1


def test_whole_blocks_are_exchanged():
    learner, seen = gan(), []
    learner._networks["discriminator"].register_forward_pre_hook(lambda _, given: seen.append(given))
    learner._told_exchanges(torch.zeros(4, 2, 8, 8), torch.ones(4, 2, 8, 8), 0.0, draw())
    first, second, hints = seen[0]
    blocks = first.view(4, 2, 2, 4, 2, 4)
    assert torch.equal(blocks, blocks[:, :1, :, :1, :, :1].expand_as(blocks))
    assert torch.equal(first + second, torch.ones_like(first))
    assert 0 < float(first.mean()) < 1
    assert float(hints.abs().max()) == 0


def test_deep_knockoffs_come_near_to_what_they_are_trained_for():
    learner = deep(lr=5e-3)
    x = table(900, 500)
    before = diagnose(x, learner(x, draw()), draw())
    list(learn(learner, (table(k, 128) for k in range(150)), seed=0))
    after = diagnose(x, learner(x, draw()), draw())
    wanted = float(learner._target.mean())
    assert after.covariance_gap < 0.5 * before.covariance_gap
    assert after.off_diagonal_gap < 0.5 * before.off_diagonal_gap
    assert after.mmd_full < 0.3 * before.mmd_full
    assert after.diagonal_correlation == pytest.approx(wanted, abs=0.15)


def test_a_loss_that_is_no_number_stops_the_training():
    with pytest.raises(DivergedError, match="is not finite"):
        list(learn(gan(), [torch.full((4, 2, 8, 8), float("inf"))], seed=0))


def test_sizes_that_do_not_fit_are_errors():
    with pytest.raises(UsageError, match="do not fill images"):
        gan(block=3)
    with pytest.raises(UsageError, match="doubles three times"):
        gan(kind="released", side=12)
    with pytest.raises(MismatchError, match="made for 4 values, got 3"):
        deep()(torch.zeros(2, 3), draw())


def test_first_weights_follow_the_seed_and_the_global_generator_stays():
    state = torch.random.get_rng_state()
    x = pictures(0)
    assert torch.equal(gan(seed=4)(x, draw()), gan(seed=4)(x, draw()))
    assert not torch.equal(gan(seed=4)(x, draw()), gan(seed=5)(x, draw()))
    assert torch.equal(state, torch.random.get_rng_state())
    assert isinstance(generator(0, "x"), torch.Generator)


def test_a_value_that_stands_still_in_a_batch_does_not_end_the_training_of_deep_knockoffs():
    x = torch.randn(12, 6, generator=generator(0, "test rows"))
    x[:, 2] = 0.5
    sums = MomentSums(6)
    sums.add(torch.cat([x, x + 1e-9]))
    deep = DeepKnockoffs(sums.moments(), torch.zeros(6), DeepSettings(width=8), seed=0)
    steps = list(learn(deep, [x] * 3, seed=0))
    assert [step.done for step in steps] == [1, 2, 3]
    assert bool(deep(x, generator(0, "test draw")).isfinite().all())


def test_deep_knockoffs_of_maps_learn_from_some_positions_and_treat_each_alike():
    maps = torch.randn(4, 3, 5, 7, generator=generator(0, "test maps"))
    sums = MomentSums(3)
    sums.add(positions(maps))
    rows = DeepKnockoffs(sums.moments(), torch.zeros(3), DeepSettings(width=8), seed=0)
    deep = ByPosition(rows, most=16)
    (step,) = learn(deep, [maps], seed=0)
    assert (step.done, deep.steps) == (1, 1)
    found = deep(maps, generator(0, "test draw"))
    whole = rows(positions(maps), generator(0, "test draw"))
    assert found.shape == maps.shape
    assert torch.equal(positions(found), whole)
    other = ByPosition(DeepKnockoffs(sums.moments(), torch.zeros(3), DeepSettings(width=8), seed=1))
    other.load(deep.state())
    assert other.steps == 1
    assert torch.equal(other(maps, generator(0, "test draw")), found)
