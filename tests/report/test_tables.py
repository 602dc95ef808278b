"""Pairing, twins, missing replicates, interpolation: the figures are written down, so the answers are known."""

import pytest
from scipy import stats

from tests.report.sweep import rounds, table, transferred, unit

ARMS = """
schema: 1
for_each: {seed: [0, 1, 2]}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  t: {stage: transfer, ticket: dense, data: digits, seed: $seed, for_each: {arm: {a: 0.1, b: 0.2, c: 0.3}}, lr: $arm}
report: {table: t, against: a, compare: [b, a]}
"""
A, B = {0: 0.5, 1: 0.6, 2: 0.9}, {0: 0.61, 1: 0.72, 2: 0.98}


def arms(**measured):
    return {
        f"t@arm={arm},seed={seed}": transferred(top1)
        for arm, by_seed in measured.items()
        for seed, top1 in by_seed.items()
    }


def against(made, index=1, metric="test.top1"):
    return made.against[metric][index]


def test_a_difference_is_paired_by_seed_and_is_scipys_paired_t_test():
    found = against(table(ARMS, arms(a=A, b=B))).summary
    oracle = stats.ttest_rel(list(B.values()), list(A.values()))
    interval = oracle.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(oracle.pvalue)


def test_the_order_in_which_replicates_come_is_nothing_to_a_pair():
    shuffled = {seed: B[seed] for seed in (2, 0, 1)}
    assert against(table(ARMS, arms(a=A, b=shuffled))) == against(table(ARMS, arms(a=A, b=B)))


def test_only_replicates_that_both_rows_have_are_paired_and_n_says_so():
    made = table(ARMS, arms(a={1: 0.6, 2: 0.9}, b={0: 0.61, 1: 0.72}))
    assert against(made).summary.n == 1
    assert against(made).summary.mean == pytest.approx(0.12)
    assert [row.summary("test.top1").n for row in made.rows] == [2, 2, 0]


def test_the_baseline_is_not_compared_with_itself():
    assert against(table(ARMS, arms(a=A, b=B)), index=0) is None


def test_p_is_adjusted_for_the_rows_that_were_tested():
    made = table(ARMS, arms(a=A, b=B, c={0: 0.4, 1: 0.6, 2: 0.7}))
    ps = [against(made, index).summary.p for index in (1, 2)]
    assert against(made, 1).p_holm == pytest.approx(min(2 * ps[0], 1))
    assert against(made, 2).p_holm == pytest.approx(max(ps[1], 2 * ps[0]))


def test_the_rows_of_compare_are_set_against_each_other():
    (found,) = table(ARMS, arms(a=A, b=B)).comparisons
    assert (found.first.key, found.second.key) == ({"arm": "b"}, {"arm": "a"})
    assert found.difference.summary.mean == pytest.approx((0.11 + 0.12 + 0.08) / 3)


def test_several_row_variables_make_a_row_each_and_are_compared_where_the_others_agree():
    text = ARMS.replace("{arm: {a: 0.1, b: 0.2, c: 0.3}}", "{arm: {a: 0.1, b: 0.2}, task: [32, 64]}").replace(
        "lr: $arm", "lr: $arm, batch: $task"
    )
    units = {
        f"t@arm={arm},task={task},seed={seed}": transferred(0.5 + (arm == "b") * task / 1000 + seed / 50)
        for arm in "ab"
        for task in (32, 64)
        for seed in (0, 1)
    }
    made = table(text, units)
    assert [tuple(row.key.values()) for row in made.rows] == [("a", 32), ("a", 64), ("b", 32), ("b", 64)]
    assert [round(one.summary.mean, 6) if one else None for one in made.against["test.top1"]] == [
        None,
        None,
        0.032,
        0.064,
    ]
    assert len(made.comparisons) == 2


def test_a_row_without_replicates_is_there_and_the_missing_are_listed():
    made = table(ARMS, arms(a=A), lacking={f"t@arm=b,seed={seed}": "missing, not made yet" for seed in (0, 1, 2)})
    assert [len(row.observations) for row in made.rows] == [3, 0, 0]
    assert set(made.missing) == {f"t@arm=b,seed={seed}" for seed in (0, 1, 2)}


def test_a_twins_row_does_not_vanish():
    made = table(ARMS.replace("b: 0.2", "b: 0.1"), arms(a=A))
    assert [row.mean("test.top1") for row in made.rows[:2]] == [pytest.approx(2 / 3)] * 2
    assert made.twins["t@arm=b,seed=0"] == "t@arm=a,seed=0"


def test_replicates_that_are_one_and_the_same_run_count_once():
    """An axis that names one seed twice makes no second replicate."""
    text = """
schema: 1
steps:
  dense: {stage: pretrain, data: digits}
  t:
    stage: transfer
    for_each: {arm: {a: 0.1, b: 0.2}, seed: {x: 7, y: 7}}
    ticket: dense
    data: digits
    lr: $arm
    seed: $seed
report: {table: t, against: a}
"""
    made = table(text, {f"t@arm={arm},seed=x": transferred(0.5) for arm in "ab"})
    assert [len(row.observations) for row in made.rows] == [2, 2]
    assert [row.summary("test.top1").n for row in made.rows] == [1, 1]
    assert against(made).summary.n == 1


def test_a_run_is_not_paired_with_itself():
    made = table(ARMS.replace("b: 0.2", "b: 0.1"), arms(a=A))
    assert against(made) is None


def test_a_baseline_that_does_not_depend_on_the_seed_fits_every_seed_and_is_told():
    text = """
schema: 1
for_each: {seed: [0, 1, 2]}
steps:
  once: {stage: pretrain, data: digits, seed: 9}
  dense: {stage: pretrain, data: digits, seed: $seed}
  t: {stage: transfer, data: digits, ticket: $arm, for_each: {arm: [once, dense]}}
report: {table: t, against: once}
"""
    units = {f"t@arm=dense,seed={seed}": transferred(top1) for seed, top1 in A.items()} | {
        "t@arm=once": transferred(0.4)
    }
    made = table(text, units)
    assert [row.summary("test.top1").n for row in made.rows] == [1, 3]
    assert against(made).summary.mean == pytest.approx(2 / 3 - 0.4)
    assert against(made).leans_on_one


CURVE = """
schema: 1
for_each: {seed: [0, 1]}
defaults: {prune: {rounds: 3, lambda: 0, encoder: dense, seed: $seed}}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  ours: {stage: prune}
  flat: {stage: prune, rewind: none}
report: {table: [ours, flat], metric: healed.top1}
"""


def test_a_rounds_mask_is_healed_by_the_unit_after_it():
    made = table(CURVE, {"ours@seed=0": rounds(0.9, 0.8, 0.7, 0.6)})
    found = {row.point: (row.mean("sparsity"), row.mean("healed.top1")) for row in made.rows}
    assert found == {0: (0.0, 0.9), 1: (0.2, 0.8), 2: (0.36, 0.7), 3: (0.488, 0.6)}


def test_a_pruning_under_way_shows_the_rounds_that_are_done():
    made = table(CURVE, {"ours@seed=0": rounds(0.9, 0.8), "ours@seed=1": rounds(0.7)})
    assert {row.point: row.summary("healed.top1").n for row in made.rows} == {0: 2, 1: 1, 2: 0}


def test_units_that_are_no_rounds_are_rows_of_their_own_and_unknown_ones_do_no_harm():
    gradual = {
        "gmp": unit({"sparsity": 0.8, "network_sparsity": 0.7, "healed_before": {"top1": 0.5}}),
        "strange": unit({"seconds": 3}),
    }
    made = table(CURVE, {"ours@seed=0": gradual})
    assert [(row.point, row.mean("healed.top1")) for row in made.rows] == [("gmp", 0.5)]


def interpolated(sparsity, **steps):
    return table(CURVE.replace("healed.top1}", f"healed.top1, at: {sparsity}, against: flat}}"), steps)


def test_values_between_rounds_are_linear_in_sparsity():
    made = interpolated(0.24, **{"ours@seed=0": rounds(0.9, 0.8, 0.7)})
    row = made.rows[0]
    assert row.mean("healed.top1") == pytest.approx(0.8 - 0.1 * 0.04 / 0.16)
    assert row.interpolated
    assert row.point == 0.24


def test_a_round_at_the_sparsity_asked_for_is_not_called_interpolated():
    row = interpolated(0.36, **{"ours@seed=0": rounds(0.9, 0.8, 0.7)}).rows[0]
    assert row.mean("healed.top1") == 0.7
    assert not row.interpolated


def test_there_is_no_value_outside_of_what_was_pruned_nor_where_a_neighbour_lacks_it():
    assert interpolated(0.9, **{"ours@seed=0": rounds(0.9, 0.8, 0.7, 0.6)}).rows[0].mean("healed.top1") is None
    assert interpolated(0.3, **{"ours@seed=0": rounds(0.9, 0.8)}).rows[0].mean("healed.top1") is None


def test_interpolation_is_of_each_replicate_and_paired_with_the_same_sparsity():
    made = interpolated(
        "[0.1, 0.28]",
        **{"ours@seed=0": rounds(1.0, 0.8, 0.6), "ours@seed=1": rounds(0.9, 0.7, 0.5)},
        **{"flat@seed=0": rounds(0.8, 0.6, 0.4), "flat@seed=1": rounds(0.8, 0.6, 0.5)},
    )
    assert [(row.key["step"], row.point) for row in made.rows] == [
        ("ours", 0.1),
        ("ours", 0.28),
        ("flat", 0.1),
        ("flat", 0.28),
    ]
    assert made.rows[1].values("healed.top1") == pytest.approx([0.7, 0.6])
    assert made.against["healed.top1"][1].summary.mean == pytest.approx((0.2 + 0.05) / 2)


TASKS = """
schema: 1
for_each: {seed: [0, 1], arm: {a: 0.1, b: 0.2}}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  sem: {stage: transfer, ticket: dense, data: scenes, task: semantic, seed: $seed, lr: $arm}
  box: {stage: transfer, ticket: dense, data: scenes, task: segmentation, seed: $seed, lr: $arm}
report: {table: [sem, box], rows: arm, columns: step, against: a}
"""


def tasks(a, b):
    made = {}
    for arm, gain in (("a", 0.0), ("b", 0.1)):
        for seed in (0, 1):
            test = {"miou": a + gain, "n": 9}
            made[f"sem@seed={seed},arm={arm}"] = {
                "task": unit({"test": test, "sparsity": 0.5, "network_sparsity": 0.3})
            }
            test = {"box": {"ap": b + gain + seed / 50}, "mask": {"ap": b / 2}, "n": 9}
            made[f"box@seed={seed},arm={arm}"] = {
                "task": unit({"test": test, "sparsity": 0.5, "network_sparsity": 0.1})
            }
    return made


def test_tasks_stand_side_by_side_each_with_its_own_measures():
    made = table(TASKS, tasks(0.6, 0.4))
    assert [measure.head for measure in made.measures] == ["mIoU", "box AP", "mask AP"]
    assert [row.key for row in made.rows] == [{"arm": "a"}, {"arm": "b"}]
    assert [row.mean("box/test.box.ap") for row in made.rows] == pytest.approx([0.41, 0.51])
    assert [row.summary("sem/test.miou").n for row in made.rows] == [2, 2]
    assert [row.mean("sparsity") for row in made.rows] == [0.5, 0.5]


def test_side_by_side_a_difference_is_of_pairs_of_one_task():
    found = against(table(TASKS, tasks(0.6, 0.4)), metric="box/test.box.ap").summary
    assert (found.n, found.mean) == (2, pytest.approx(0.1))


def test_columns_of_one_measure_are_told_apart_by_their_task():
    made = table(TASKS.replace("segmentation", "semantic, epochs: 9it"), {
        name: {"task": unit({"test": {"miou": 0.5}})} for name in tasks(0, 0)
    })  # fmt: skip
    assert [measure.head for measure in made.measures] == ["sem mIoU", "box mIoU"]


TICKETS = """
schema: 1
for_each: {seed: [0, 1]}
defaults: {prune: {rounds: 3, lambda: 0, encoder: dense, seed: $seed}}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  ours: {stage: prune}
  flat: {stage: prune, rewind: none}
  t: {stage: transfer, data: digits, ticket: $arm, seed: $seed,
      for_each: {arm: [dense, ours/1, ours/3, ours/2, flat/1, flat/2]}}
report: {table: t, rows: arm, at: [0.3, 0.36], against: dense, compare: [ours, flat]}
"""


def transferred_at(sparsity, top1):
    return {"task": unit({"test": {"top1": top1, "n": 100}, "sparsity": sparsity, "network_sparsity": sparsity / 2})}


def on_a_line(slope, seed=0, start=0.9):
    """Tickets whose accuracy is a straight line over their sparsity."""
    places = {"dense": 0.0, "ours-1": 0.2, "ours-2": 0.36, "ours-3": 0.488}
    return {f"t@arm={arm},seed={seed}": transferred_at(at, start - slope * at) for arm, at in places.items()}


def by_row(made, metric="test.top1"):
    return {(row.key["arm"], row.point): row.mean(metric) for row in made.rows}


def test_tickets_of_several_rounds_are_interpolated_along_the_line_that_they_are_on():
    made = table(TICKETS, on_a_line(0.5))
    found = by_row(made)
    assert found["ours", 0.3] == pytest.approx(0.9 - 0.5 * 0.3)
    assert found["ours", 0.36] == pytest.approx(0.9 - 0.5 * 0.36)
    assert [row.interpolated for row in made.rows if row.key["arm"] == "ours"] == [True, False]
    assert by_row(made, "network_sparsity")["ours", 0.3] == pytest.approx(0.15)
    assert by_row(made, "test.n")["ours", 0.3] == 100


def test_only_the_two_tickets_around_a_sparsity_count_and_in_no_order_of_the_recipe():
    bent = on_a_line(0.5) | {"t@arm=ours-3,seed=0": transferred_at(0.488, 0.1)}
    assert by_row(table(TICKETS, bent))["ours", 0.3] == pytest.approx(0.75)
    without = {name: done for name, done in bent.items() if "ours-2" not in name}
    chord = 0.8 + (0.1 - 0.8) * (0.3 - 0.2) / (0.488 - 0.2)
    assert by_row(table(TICKETS, without))["ours", 0.3] == pytest.approx(chord)


def test_each_replicate_is_interpolated_on_its_own():
    made = table(TICKETS, on_a_line(0.5) | on_a_line(1.0, seed=1))
    row = next(row for row in made.rows if (row.key["arm"], row.point) == ("ours", 0.3))
    assert row.values("test.top1") == pytest.approx([0.75, 0.6])
    half = {name: done for name, done in on_a_line(1.0, seed=1).items() if "ours-1" not in name}
    row = next(row for row in table(TICKETS, on_a_line(0.5) | half).rows if row.key["arm"] == "ours")
    assert row.values("test.top1") == pytest.approx([0.75])


def test_the_dense_network_has_one_row_and_is_compared_with_at_every_sparsity():
    made = table(TICKETS, on_a_line(0.5) | on_a_line(1.0, seed=1))
    assert [(row.key["arm"], row.point) for row in made.rows] == [
        ("dense", ""), ("ours", 0.3), ("ours", 0.36), ("flat", 0.3), ("flat", 0.36),
    ]  # fmt: skip
    found = made.against["test.top1"]
    assert found[0] is None
    assert found[1].summary.mean == pytest.approx(-(0.15 + 0.3) / 2)
    assert found[1].summary.n == 2


def test_two_arms_are_compared_at_each_sparsity():
    flat = {f"t@arm=flat-{number},seed=0": transferred_at(at, 0.8 - at) for number, at in enumerate((0.2, 0.36), 1)}
    told = table(TICKETS, on_a_line(0.5) | flat).comparisons
    assert [one.difference.summary.mean for one in told] == pytest.approx([0.1 + 0.5 * 0.3, 0.1 + 0.5 * 0.36])


def test_there_is_no_value_beyond_the_tickets_that_were_transferred():
    made = table(TICKETS.replace("[0.3, 0.36]", "[0.1, 0.6]"), on_a_line(0.5))
    assert [by_row(made)["ours", at] for at in (0.1, 0.6)] == [None, None]


def test_tickets_of_other_tasks_are_on_other_lines():
    text = TICKETS.replace("data: digits, ticket", "data: $set, ticket").replace(
        "for_each: {arm", "for_each: {set: [digits, mnist], arm"
    )
    units = {}
    for kind, slope in (("digits", 0.5), ("mnist", 1.0)):
        units |= {name.replace("t@", f"t@set={kind},"): done for name, done in on_a_line(slope).items()}
    made = table(text.replace("rows: arm", "rows: arm, columns: set"), units)
    row = next(row for row in made.rows if (row.key["arm"], row.point) == ("ours", 0.3))
    names = [measure.name for measure in made.measures]
    assert [row.mean(name) for name in names] == pytest.approx([0.75, 0.6])
    both = table(text.replace("rows: arm", "rows: [set, arm]"), units)
    assert {row.key["set"]: row.mean("test.top1") for row in both.rows if row.point == 0.3 and row.observations} == {
        "digits": pytest.approx(0.75),
        "mnist": pytest.approx(0.6),
    }
