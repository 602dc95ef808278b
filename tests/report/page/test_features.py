"""What is left of the dense network's features: figures by tap, from evaluations that are written down."""

import pytest

from tests.report.page.test_families import subject
from tests.report.sweep import unit
from ticketcli.report.page.features import features
from ticketcli.report.page.section import Names, Words

TEXT = """
schema: 1
for_each: {seed: [0, 1]}
defaults: {prune: {encoder: dense, lambda: 0, rounds: 3, seed: $seed}}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  ours: {stage: prune}
  shuffled: {stage: prune, criterion: random, finetune: 0ep}
  seen: {stage: evaluate, of: $arm, features: true, for_each: {arm: [dense, ours/1, ours/3, shuffled/3]}}
report: {table: seen, labels: {ours/3: the ticket, shuffled/3: by chance}}
"""
TAPS = ("layer1", "layer2", "layer10")
FAR = {"dense": 0.0, "ours-1": 0.2, "ours-3": 0.4, "shuffled-3": 0.8}
SPARSE = {"dense": 0.0, "ours-1": 0.2, "ours-3": 0.488, "shuffled-3": 0.488}


def compared(far, *, seed, sparsity, probed=True, **more):
    taps = {}
    for depth, tap in enumerate(TAPS, 1):
        r_map = far * depth
        taps[tap] = {"r_map": r_map, "r_pool": r_map / 2, "ratio": 2.0 if r_map else None}
        if probed:
            taps[tap] |= {
                "probe": {"top1": 0.9 - far / depth, "n": 50},
                "dense_probe": {"top1": 0.9 + seed / 100, "n": 50},
            }
    of = {"dense": f"dense@seed={seed}", "probe_images": 40 * probed}
    metrics = {"features": dict(sorted(taps.items())), "features_of": of, "split": "test", "sparsity": sparsity}
    return {"metrics": unit({**metrics, "data": {"name": "digits", "classes": [0, 1]}, **more})}


def measured(arms=tuple(FAR), seeds=(0, 1), **more):
    return {
        f"seen@arm={arm},seed={seed}": compared(FAR[arm] + seed * FAR[arm] / 10, seed=seed, sparsity=SPARSE[arm], **more)
        for arm in arms for seed in seeds
    }  # fmt: skip


def section(units, text=TEXT):
    return features(subject(text, units), Names())


def shown(units, text=TEXT):
    return {figure.name: figure for figure in section(units, text).figures}


def curves(figure):
    return {curve.name: curve for curve in figure.drawing.curves}


def test_distances_their_ratio_and_probes_have_a_figure_each():
    assert list(shown(measured())) == ["features-r-map", "features-r-pool", "features-ratio", "features-probe-top1"]


def test_a_run_whose_evaluations_compare_no_features_has_no_such_section():
    assert section({}, TEXT.replace("features: true, ", "")) is None


def test_taps_come_in_the_order_of_the_network_and_are_named_on_the_axis():
    drawing = shown(measured())["features-r-map"].drawing
    assert [drawing.x.text(place) for place in drawing.x.ticks] == list(TAPS)
    assert [point.y for point in curves(shown(measured(seeds=(0,)))["features-r-map"])["by chance"].points] == (
        pytest.approx([0.8, 1.6, 2.4])
    )


def test_a_point_is_the_mean_of_the_seeds_with_its_interval():
    figure = shown(measured())["features-r-map"]
    point = curves(figure)["by chance"].points[0]
    assert point.replicates == pytest.approx((0.8, 0.88))
    assert point.y == pytest.approx(0.84)
    assert 0 < point.low < 0.8 < 0.88 < point.high
    assert dict(figure.facts)["n"] == "2"


def test_a_distance_is_never_shown_below_0_and_a_share_never_above_1():
    far = {"seen@arm=ours-3,seed=0": compared(0.0001, seed=0, sparsity=0.5),
           "seen@arm=ours-3,seed=1": compared(0.5, seed=1, sparsity=0.5)}  # fmt: skip
    found = shown(far)
    assert found["features-r-map"].drawing.curves[0].points[0].low == 0.0
    assert found["features-probe-top1"].drawing.curves[0].points[0].high == 1.0


def test_one_seed_has_no_interval_and_that_is_said():
    figure = shown(measured(seeds=(0,)))["features-ratio"]
    assert figure.drawing.curves[0].points[0].low is None
    assert "no interval" in dict(figure.facts)["Interval"]


def test_networks_are_called_and_look_as_the_arms_do_and_no_two_alike():
    drawn = shown(measured())["features-r-map"].drawing.curves
    assert [(curve.name, curve.is_control) for curve in drawn] == [
        ("ours/1", False), ("the ticket", False), ("by chance", True),
    ]  # fmt: skip
    assert [curve.look for curve in drawn[1:]] == [0, 1]  # the sparsest of an arm
    assert drawn[0].look not in (0, 1)


def test_the_dense_network_is_a_line_among_the_probes_and_counts_once_a_seed():
    (dense,) = (one for one in shown(measured())["features-probe-top1"].drawing.curves if one.is_bound)
    assert [point.replicates for point in dense.points] == [(0.9, 0.91)] * 3
    assert "dense network" not in curves(shown(measured())["features-r-map"])


def test_without_probes_there_are_words_in_place_of_the_figure():
    found = section(measured(probed=False))
    assert [figure.name for figure in found.figures] == ["features-r-map", "features-r-pool", "features-ratio"]
    (words,) = (block.text for block in found.blocks if isinstance(block, Words))
    assert "Linear probes, by tap: nothing was measured" in words


def test_what_was_asked_for_and_is_not_there_yet_is_said():
    (words,) = section({}).blocks
    assert words.is_absence
    assert "No features were compared yet" in words.text


def test_other_images_have_figures_of_their_own():
    found = measured(("ours-1",)) | measured(("shuffled-3",), data={"name": "scenes"}, split="validation")
    figures = section(found).figures
    assert len({figure.name for figure in figures}) == len(figures) == 8
    assert "On test images of digits (classes: [0, 1])." in figures[0].caption
    assert figures[4].title == "Feature maps, by tap: validation images of scenes"
    assert shown(measured())["features-r-map"].title == "Feature maps, by tap"


def test_of_too_many_networks_the_sparsest_of_each_arm_is_drawn_and_that_is_said():
    tickets = [f"ours/{number}" for number in range(1, 13)]
    text = TEXT.replace("[dense, ours/1, ours/3, shuffled/3]", f"[{', '.join(tickets)}, shuffled/3]").replace(
        "rounds: 3", "rounds: 12"
    )
    found = measured(("shuffled-3",))
    for number in range(1, 13):
        found[f"seen@arm=ours-{number},seed=0"] = compared(number / 100, seed=0, sparsity=number / 20)
    figure = shown(found, text)["features-r-map"]
    assert [(curve.name, curve.points[0].y) for curve in figure.drawing.curves] == [
        ("the ticket", 0.12), ("by chance", pytest.approx(0.84)),
    ]  # fmt: skip
    assert "Of 13 networks, the sparsest of each arm" in figure.caption


def test_the_numbers_are_those_of_the_points():
    figure = shown(measured(seeds=(0,)))["features-probe-top1"]
    assert figure.rows[-1] == ("dense network", "layer10", "1", "90.00%", "")
    assert ("the ticket", "layer1", "1", "50.00%", "") in figure.rows
