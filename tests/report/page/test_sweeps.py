"""Prunings along one setting: which arms are one curve, where its points stand, and what else is left of the page."""

import json
from pathlib import Path

import pytest

from tests.report.sweep import CONFIGS, report, unit
from ticketcli.recipe.recipe import parse_recipe
from ticketcli.report.page.layers import layers
from ticketcli.report.page.masks import Masks
from ticketcli.report.page.overlaps import overlaps
from ticketcli.report.page.results import rounds
from ticketcli.report.page.section import Drawn, Names
from ticketcli.report.page.subject import Subject
from ticketcli.report.page.sweeps import sweeps
from ticketcli.report.page.swept import in_sweeps, sweeps_of
from ticketcli.report.survey import Survey
from ticketcli.store.run_folder import Run

RECIPE = """
schema: 1
for_each: {seed: [0, 1], share: [0.5, 0.9], tolerated: [0.01, 0.1], after: [10it, 40it]}
defaults:
  prune: {encoder: dense, lambda: 0, prunable: weights, schedule: one-shot, finetune: 0ep, seed: $seed, rewind: none, split: test}
steps:
  dense: {stage: pretrain, arch: lenet300, data: mnist, seed: $seed}
  test: {stage: evaluate, of: dense}
  lobs: {stage: prune, criterion: lobs, compensate: true, sparsities: {fc1: $share}, heal: 0ep}
  random: {stage: prune, criterion: random, sparsities: {fc1: $share}, heal: 0ep}
  error: {stage: prune, criterion: lobs, epsilon: $tolerated, heal: 0ep}
  healed: {stage: prune, criterion: lobs, to_sparsity: 0.9, heal: $after}
  alone: {stage: prune, criterion: random, to_sparsity: 0.4, heal: 0ep}
  both: {stage: prune, criterion: random, to_sparsity: $share, lr: $share, heal: 0ep}
  rates: {stage: prune, criterion: random, to_sparsity: 0.4, lr: $share, heal: 10it}
"""
TOTALS = {"fc1.weight": 1000, "fc2.weight": 100}


class Counted(Masks):
    """Masks of which the counts are given: {step: living weights of fc1 and of fc2}."""

    def __init__(self, subject, kept):
        super().__init__(subject)
        self.kept = {
            (arm.number, replicate, 1): kept[step.name]
            for arm in subject.arms
            for replicate, step in arm.steps.items()
            if step.name in kept
        }

    @property
    def paths(self):
        return dict.fromkeys(self.kept, Path("nowhere"))

    def layers(self, place):
        return {name: (n, total) for (name, total), n in zip(TOTALS.items(), self.kept[place], strict=True)}

    matrices = layers


def subject(units, text=RECIPE):
    recipe = parse_recipe(text, CONFIGS, where="r")
    run = Run(Path("nowhere"))
    return Subject("r", run, recipe, Survey(run, units, {}, ()), report(text, units))


def pruned(top1, sparsity, healed=None):
    quality = {"top1": top1, "n": 100}
    found = {
        "round-01": unit({"sparsity": sparsity, "unhealed": {"literal": {"top1": top1 / 2}, "recalibrated": quality}})
    }
    if healed is not None:
        found["healed-01"] = unit({"sparsity": sparsity, "healed_before": {"top1": healed, "sparsity": sparsity}})
    return found


def measured():
    units, kept = {}, {}
    for seed in (0, 1):
        units[f"test@seed={seed}"] = {"metrics": unit({"top1": 0.97 + seed / 100, "n": 100, "correct": 97 + seed})}
        for share in (0.5, 0.9):
            for name, loss in (("lobs", 0.1), ("random", 0.5)):
                step = f"{name}@seed={seed},share={share}"
                units[step] = pruned(0.98 - loss * share - seed / 100, share * 10 / 11)
                kept[step] = (round(1000 * (1 - share)), 100)
        for tolerated in (0.01, 0.1):
            step = f"error@seed={seed},tolerated={tolerated}"
            units[step] = pruned(0.9, 0.5)
            kept[step] = (900 - round(4000 * tolerated), 60 + seed)
        for after in (10, 40):
            step = f"healed@seed={seed},after={after}it"
            units[step] = pruned(0.6 + seed / 100, 0.9, healed=0.9 + after / 1000)
            kept[step] = (100, 10)
    return units, kept


@pytest.fixture
def made():
    units, kept = measured()
    found = subject(units)
    return found, Counted(found, kept)


def figures(section):
    return {block.figure.name: block.figure for block in section.blocks if isinstance(block, Drawn)}


def test_arms_that_differ_in_one_setting_are_a_sweep_and_others_are_none(made):
    found = sweeps_of(made[0])
    assert [(one.name, one.kind, len(one.arms), one.number) for one in found] == [
        ("lobs", "share", 2, 0), ("random", "share", 2, 1), ("error", "epsilon", 2, 0), ("healed", "heal", 2, 0),
    ]  # fmt: skip
    left = [arm.name for arm in made[0].arms if arm.number not in in_sweeps(made[0])]
    assert left == ["alone", "both, 0.5", "both, 0.9", "rates, 0.5", "rates, 0.9"]


def test_a_point_stands_at_the_share_of_the_layers_in_which_something_fell(made):
    (drawn,) = [one for name, one in figures(sweeps(*made, Names())).items() if "fell" in name]
    assert [[point.x for point in curve.points] for curve in drawn.drawing.curves] == [[0.5, 0.9], [0.5, 0.9]]
    assert drawn.drawing.x.label == "share of fc1 that fell, %"
    assert drawn.title == "Top-1, not healed, by the share of fc1 that fell"


def test_a_point_is_the_mean_of_the_seeds_with_batchnorm_re_estimated(made):
    (drawn,) = [one for name, one in figures(sweeps(*made, Names())).items() if "fell" in name]
    lobs, random = drawn.drawing.curves
    assert lobs.points[1].y == pytest.approx(0.98 - 0.09 - 0.005)
    assert lobs.points[1].replicates == pytest.approx((0.89, 0.88))
    assert lobs.points[1].low < 0.88 < lobs.points[1].high
    assert (lobs.is_control, random.is_control) == (False, True)
    assert "On test images of mnist." in drawn.about


def test_the_dense_network_on_the_same_images_is_the_level(made):
    found = figures(sweeps(*made, Names()))
    levels = [one.drawing.levels for one in found.values() if one.drawing.levels]
    assert len(levels) == 2
    assert {(level.name, round(level.y, 6)) for one in levels for level in one} == {("dense", 0.975)}
    other = subject(measured()[0], RECIPE.replace("of: dense}", "of: dense, split: validation}"))
    again = figures(sweeps(other, Counted(other, measured()[1]), Names()))
    assert not any(one.drawing.levels for one in again.values())


def test_retraining_begins_at_what_was_pruned_and_goes_on_by_steps(made):
    (drawn,) = [one for name, one in figures(sweeps(*made, Names())).items() if "retraining" in name]
    (curve,) = drawn.drawing.curves
    assert [(point.x, round(point.y, 6)) for point in curve.points] == [(0, 0.605), (10, 0.91), (40, 0.94)]
    assert drawn.drawing.x.label == "steps of retraining"


def test_what_falls_by_the_tolerated_error_is_told_layer_by_layer(made):
    (drawn,) = [one for name, one in figures(sweeps(*made, Names())).items() if "error" in name]
    assert {curve.name: [(point.x, round(point.y, 6)) for point in curve.points] for curve in drawn.drawing.curves} == {
        "all layers": [(0.01, round((140 + 39.5) / 1100, 6)), (0.1, round((500 + 39.5) / 1100, 6))],
        "fc1": [(0.01, 0.14), (0.1, 0.5)],
        "fc2": [(0.01, 0.395), (0.1, 0.395)],
    }
    assert drawn.drawing.x.is_log


def test_a_sweep_is_no_round_no_overlap_and_one_picture_of_layers(made):
    found, masks = made
    assert rounds(found, Names()) is not None
    assert not [block for block in rounds(found, Names()).blocks if isinstance(block, Drawn)]
    assert overlaps(found, masks, Names()) is None
    names = [figure.title for figure in figures(layers(found, masks, Names())).values()]
    assert names == [f"Living weights by layer: {name}" for name in ("lobs", "random", "error")]


def test_a_run_without_such_prunings_has_no_such_section():
    text = (
        "schema: 1\nsteps: {dense: {stage: pretrain, data: digits}, ours: {stage: prune, encoder: dense, lambda: 0}}\n"
    )
    found = subject({}, text)
    assert sweeps(found, Masks(found), Names()) is None


def test_what_is_not_measured_yet_is_said():
    found = subject({})
    blocks = sweeps(found, Counted(found, {}), Names()).blocks
    assert all(block.is_absence for block in blocks)
    assert len(blocks) == 3


def test_every_figure_can_be_drawn(made):
    for figure in figures(sweeps(*made, Names())).values():
        inside, _, height = figure.drawing.draw()
        assert "nan" not in inside.lower()
        assert height > 200
        json.dumps(figure.rows)
