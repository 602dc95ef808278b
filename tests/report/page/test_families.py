"""Which rows of a table are one curve, how the arms are called, and what a page says of few replicates."""

from pathlib import Path

import pytest

from tests.report.sweep import CONFIGS, report, transferred, unit
from ticketcli.recipe.recipe import parse_recipe
from ticketcli.report.page.results import results, rounds
from ticketcli.report.page.section import Drawn, Names, Words, slug
from ticketcli.report.page.subject import Subject
from ticketcli.report.survey import Survey
from ticketcli.store.run_folder import Run

SWEEP = """
schema: 1
for_each: {seed: [0, 1]}
defaults: {prune: {encoder: dense, lambda: 0, rounds: 3, seed: $seed}}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  ours: {stage: prune}
  shuffled: {stage: prune, criterion: random, finetune: 0ep}
  t: {stage: transfer, ticket: $arm, data: digits, seed: $seed, lr: $rate,
      for_each: {arm: [dense, ours/1, ours/3, shuffled/3], rate: [0.1, 0.2]}}
report: {table: t, over: seed, labels: {ours/3: the ticket, shuffled/3: by chance}}
"""
SPARSE = {"dense": 0.0, "ours-1": 0.2, "ours-3": 0.488, "shuffled-3": 0.488}


def subject(text, units):
    recipe = parse_recipe(text, CONFIGS, where="r")
    return Subject("r", Run(Path("nowhere")), recipe, Survey(Run(Path("nowhere")), units, {}, ()), report(text, units))


def measured(arms=tuple(SPARSE), seeds=(0, 1)):
    found = {}
    for arm in arms:
        for rate in (0.1, 0.2):
            for seed in seeds:
                (task,) = transferred(0.5 + rate + SPARSE[arm] / 10 + seed / 50).values()
                metrics = {**task.metrics, "sparsity": SPARSE[arm]}
                found[f"t@arm={arm},rate={rate},seed={seed}"] = {"task": unit(metrics)}
    return found


def chart(section):
    (figure,) = section.figures
    return figure.drawing


def test_rounds_of_one_pruning_are_a_curve_and_other_settings_are_others():
    drawn = chart(results(subject(SWEEP, measured()), Names()))
    assert [[round(point.x, 3) for point in curve.points] for curve in drawn.curves] == [
        [0.8, 0.512], [0.8, 0.512], [0.512], [0.512],
    ]  # fmt: skip
    assert len(drawn.levels) == 2
    assert [curve.is_control for curve in drawn.curves] == [False, False, True, True]
    assert len({curve.look for curve in drawn.curves}) == 4


@pytest.mark.parametrize(("share", "wanted"), [(0.0, True), (0.5, False)])
def test_the_dense_networks_share_is_shown_where_tickets_come_near_it(share, wanted):
    units = measured()
    for done in units.values():
        done["task"].metrics["sparsity"] = share + (1 - share) * done["task"].metrics["sparsity"]
    assert (1.0 in chart(results(subject(SWEEP, units), Names())).reach) is wanted


def test_an_arm_is_called_by_the_words_of_its_last_ticket():
    assert [arm.name for arm in subject(SWEEP, {}).arms] == ["the ticket", "by chance"]


def test_a_point_is_the_mean_of_its_replicates_with_their_interval():
    section = results(subject(SWEEP, measured()), Names())
    point = chart(section).curves[0].points[0]
    assert point.y == pytest.approx(sum(point.replicates) / 2)
    assert len(point.replicates) == 2
    assert point.low < min(point.replicates) < max(point.replicates) < point.high
    assert dict(section.figures[0].facts)["n"] == "2"


def test_one_replicate_has_no_interval_and_that_is_said():
    section = results(subject(SWEEP, measured(seeds=(0,))), Names())
    assert chart(section).curves[0].points[0].low is None
    assert "no interval" in dict(section.figures[0].facts)["Interval"]


def test_a_share_leaves_0_to_1_in_no_figure():
    found = measured()
    for name, units in found.items():
        units["task"] = unit(
            {**units["task"].metrics, "test": {"top1": 0.99 if name.endswith("seed=0") else 0.02, "n": 9}}
        )
    point = chart(results(subject(SWEEP, found), Names())).curves[0].points[0]
    assert (point.low, point.high) == (0.0, 1.0)


@pytest.mark.parametrize(("arms", "words"), [((), "nothing was measured yet"), (("dense",), "no ticket was measured")])
def test_without_tickets_there_are_words_and_no_figure(arms, words):
    blocks = results(subject(SWEEP, measured(arms)), Names()).blocks
    assert not [block for block in blocks if isinstance(block, Drawn)]
    assert any(words in block.text for block in blocks if isinstance(block, Words))


def test_a_ticket_and_the_same_one_healed_are_no_curve():
    text = SWEEP.replace("shuffled/3]", "ours/healed]").replace("shuffled/3:", "ours/healed:")
    found = measured(("dense", "ours-1", "ours-3")) | {
        name.replace("shuffled-3", "ours-healed"): units for name, units in measured(("shuffled-3",)).items()
    }
    drawn = chart(results(subject(text, found), Names()))
    assert all(len({point.x for point in curve.points}) == len(curve.points) for curve in drawn.curves)


def test_a_run_that_prunes_nothing_has_no_rounds():
    text = "schema: 1\nsteps: {dense: {stage: pretrain, data: digits}}"
    assert rounds(subject(text, {}), Names()) is None


def test_names_of_figures_are_fit_for_files_and_never_taken_twice():
    names = Names()
    taken = [names.take("A/b: <c>"), names.take("a-b-c"), names.under("run").take("a b c"), names.take("\u00fc" * 9)]
    assert taken == ["a-b-c", "a-b-c-2", "run-a-b-c", "figure"]
    assert len(slug("x" * 500)) <= 60


COMPACT = """
schema: 1
for_each: {seed: [0]}
defaults: {prune: {encoder: dense, lambda: 0, rounds: 3, seed: $seed}}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  weights: {stage: prune}
  channels: {stage: prune, granularity: channel, criterion: l1}
  small: {stage: compact, ticket: channels/3}
  t: {stage: transfer, ticket: $arm, data: digits, seed: $seed, for_each: {arm: [dense, weights/3, small]}}
report: {table: t, over: seed}
"""


def of_size(parameters, sparsity, network_sparsity):
    (task,) = transferred(0.5).values()
    sizes = {"parameters": parameters, "sparsity": sparsity, "network_sparsity": network_sparsity}
    return {"task": unit({**task.metrics, **sizes})}


def test_networks_of_other_sizes_stand_where_their_weights_are_and_not_at_all_of_their_own():
    units = {
        "t@arm=dense,seed=0": of_size(1000, 0.0, 0.0),
        "t@arm=weights-3,seed=0": of_size(1000, 0.5, 0.4),
        "t@arm=small,seed=0": of_size(250, 0.0, 0.0),
    }
    section = results(subject(COMPACT, units), Names())
    drawn = chart(section)
    assert {curve.name: [point.x for point in curve.points] for curve in drawn.curves} == {
        "weights/3": [0.6], "small": [0.25],
    }  # fmt: skip
    assert "largest network" in drawn.x.label
    assert "heads too" in section.figures[0].caption
