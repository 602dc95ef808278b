import random

import pytest

from ticketcli.pairing import Interval, Paired, interval, pair


class FakeClock:
    """Time passes only when somebody works; the machine may become slower or noisy on the way."""

    def __init__(self, drift=0.0, noise=0.0):
        self.now, self.drift, self.draw, self.noise = 0.0, drift, random.Random(0), noise
        self.log = []

    def __call__(self):
        return self.now

    def work(self, name, seconds):
        def go():
            self.log.append(name)
            self.now += seconds * (1 + self.drift * self.now) * (1 + self.noise * self.draw.random())

        return go


def timed(ours=1.0, peer=2.0, seconds=0.0, least=3, **how):
    clock = FakeClock(**how)
    return pair(clock.work("A", ours), clock.work("B", peer), seconds=seconds, clock=clock, least=least), clock


def test_the_ratio_is_ours_over_the_peers():
    found, _ = timed(1.0, 4.0)
    assert (found.ours, found.peer, found.ratio.median) == (1.0, 4.0, 0.25)
    assert found.ratio.inverse.median == 4


def test_turns_are_a_b_b_a_and_then_the_quicker_alone():
    _, clock = timed()
    turns = "".join(clock.log).removeprefix("AB")[2:]  # a warm-up each; who is quicker
    assert turns == "ABBAAAAA" * 3
    _, clock = timed(3.0, 1.0)
    assert "".join(clock.log)[4:] == "ABBABBBB" * 3


def test_a_machine_that_slows_down_evenly_does_not_change_the_ratio():
    found, _ = timed(1.0, 1.0, drift=0.05, least=10)
    assert found.ratio.low < 1 < found.ratio.high
    assert found.ratio.median == pytest.approx(1, abs=0.05)


def test_the_budget_is_kept_and_more_of_it_gives_more_pairs():
    few, clock = timed(seconds=1.0)
    assert few.ratio.n == 6
    spent = clock.now
    many, clock = timed(seconds=10 * spent)
    assert many.ratio.n > 40
    assert clock.now <= 11 * spent


def test_never_more_than_a_hundred_pairs():
    assert timed(seconds=1e9)[0].ratio.n == 100


def test_what_takes_no_time_to_speak_of_is_called_many_times():
    clock = FakeClock()
    found = pair(clock.work("A", 1e-4), clock.work("B", 1.0), seconds=0, clock=clock)
    assert found.ours == pytest.approx(1e-4)
    assert clock.log.count("A") > 200 * 6
    assert clock.log.count("B") < 10


def test_a_quiet_machine_is_not_called_noisy_and_a_noisy_one_is():
    assert not timed()[0].noisy
    assert timed(noise=0.5)[0].noisy


@pytest.mark.parametrize(("low", "high", "noisy"), [(0.98, 1.02, False), (0.96, 1.0, True), (1.0, 1.04, True)])
def test_a_control_off_by_more_than_three_percent_is_noise(low, high, noisy):
    one = Interval(1, 1, 1, 6)
    assert Paired(1, 1, one, Interval(1, low, high, 6)).noisy is noisy


def test_garbage_is_collected_again_afterwards_even_after_an_error():
    import gc

    with pytest.raises(ZeroDivisionError):
        pair(lambda: 1 / 0, lambda: None, seconds=0)
    assert gc.isenabled()


@pytest.mark.parametrize(("n", "outside"), [(1, 0), (5, 0), (6, 0), (9, 1), (20, 5), (100, 39)])
def test_the_interval_is_that_of_the_sign_test(n, outside):
    """Known values: with 6 values all, with 20 the 6th and the 15th, with 100 the 40th and the 61st."""
    found = interval([float(value) for value in random.Random(1).sample(range(n), n)])
    assert (found.low, found.high, found.n) == (outside, n - 1 - outside, n)


def test_the_interval_holds_the_true_median_as_often_as_it_says():
    draw = random.Random(5)
    tries = [interval([draw.expovariate(1) for _ in range(15)]) for _ in range(2000)]
    held = sum(one.low <= 0.6931 <= one.high for one in tries) / len(tries)
    assert 0.95 <= held < 0.99
