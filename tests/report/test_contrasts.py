"""Questions that a recipe stated: what they combine, how replicates are paired, and which verdicts follow."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.report.sweep import report, rounds, transferred, unit
from ticketcli.errors import UsageError
from ticketcli.report.intervals import holm
from ticketcli.store.codec import write_mask
from ticketcli.store.manifest import Artifact, FileRecord
from ticketcli.store.mask import Mask

SEEDS = range(8)
STEPS = """
schema: 1
for_each: {seed: [0, 1, 2, 3, 4, 5, 6, 7]}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  t: {stage: transfer, ticket: dense, data: digits, seed: $seed, for_each: {arm: {with/1: 0.1, with/2: 0.2, without/1: 0.3, without/2: 0.4, dense: 0.5}}, lr: $arm}
  u: {stage: transfer, ticket: dense, data: digits, seed: $seed, for_each: {arm: {with: 1.1, without: 1.2, dense: 1.3}}, lr: $arm}
report:
  contrasts:
"""
QUESTION = "of: t, metric: test.top1, plus: with/*, less: without/*"
GATE = "    wide: {of: t, metric: test.top1, plus: dense, less: without/*, role: gate, spreads: 5}\n"
NOISE = np.random.default_rng(0).normal(0, 0.01, (len(SEEDS), 8))


def told(step, **arms):
    """Units of a step: arm -> its accuracy for each seed; `_` stands for the slash of a label."""
    return {
        f"{step}@arm={arm.replace('_', '-')},seed={seed}": transferred(value)
        for arm, values in arms.items()
        for seed, value in zip(SEEDS, values, strict=True)
    }


def study(effect=0.0, dense=0.9, without=0.5, noise=NOISE):
    """Every arm of step t, with a level of each seed's own that a paired difference does not see."""
    level = np.linspace(-0.2, 0.2, len(SEEDS))
    means = {"with_1": without + effect, "with_2": without + effect, "without_1": without, "without_2": without,
             "dense": dense}  # fmt: skip
    return told("t", **{arm: mean + level + noise[:, n] for n, (arm, mean) in enumerate(means.items())})


def asked(lines, units, **kwargs):
    """The first contrast that these lines state."""
    return all_asked(lines, units, **kwargs)[0]


def all_asked(lines, units, **kwargs):
    if not lines.lstrip("\n").startswith("    "):
        lines = f"    a: {{{lines}}}\n"
    return report(STEPS + lines, units, **kwargs).contrasts


def values(units, arms, seed):
    return np.mean([units[f"t@arm={arm},seed={seed}"]["task"].metrics["test"]["top1"] for arm in arms])


def test_a_contrast_is_the_mean_of_its_cells_less_the_mean_of_the_others_seed_by_seed():
    units = study(0.05)
    found = asked(QUESTION, units)
    wanted = [values(units, ["with-1", "with-2"], s) - values(units, ["without-1", "without-2"], s) for s in SEEDS]
    assert list(found.values) == [f"seed={seed}" for seed in SEEDS]
    assert list(found.values.values()) == pytest.approx(wanted)


def test_it_is_scipys_paired_t_test_on_the_means_of_a_seed():
    units = study(0.01)
    sides = [[values(units, arms, s) for s in SEEDS] for arms in (["with-1", "with-2"], ["without-1", "without-2"])]
    assert asked(QUESTION, units).summary.p == pytest.approx(stats.ttest_rel(*sides).pvalue)


def test_replicates_are_paired_by_their_seed_and_not_by_their_place():
    """Levels of the seeds differ by 20 times the noise: the wrong pairs would drown the effect."""
    units = study(0.05)
    shuffled = dict(sorted(units.items(), key=lambda item: hash(item[0][::-1])))
    assert asked(QUESTION, shuffled) == asked(QUESTION, units)
    assert asked(QUESTION, units).summary.sd < 0.02


def test_a_replicate_that_lacks_a_cell_is_left_out_and_there_is_no_verdict_yet():
    units = study(0.05)
    del units["t@arm=with-2,seed=3"]
    found = asked(f"{QUESTION}, role: primary", units)
    assert (found.summary.n, found.planned, found.lacking) == (7, 8, ("seed=3",))
    assert (found.verdict, found.why) == ("unfinished", "7 of 8 replicates are complete")


def test_an_arm_that_is_not_there_at_all_leaves_nothing_to_say():
    found = asked(f"{QUESTION}, role: primary", {})
    assert (found.summary.n, found.verdict) == (0, "unfinished")


@pytest.mark.parametrize(
    ("effect", "verdict"), [(0.05, "supported"), (-0.05, "contradicted"), (0.0, "equivalent"), (0.012, "inconclusive")]
)
def test_the_verdict_follows_the_effect(effect, verdict):
    noise = NOISE if verdict != "inconclusive" else 3 * NOISE
    found = asked(f"{QUESTION}, role: primary, margin: 0.02", study(effect, noise=noise))
    assert found.verdict == verdict


def test_an_effect_that_is_certain_but_smaller_than_the_margin_is_told_so():
    found = asked(f"{QUESTION}, role: primary, margin: 0.2", study(0.05))
    assert (found.verdict, found.why) == ("supported", "smaller than the margin")


def test_a_margin_may_be_a_share_of_another_contrast():
    lines = f"    a: {{{QUESTION}, margin: 0.1, margin_of: wide}}\n" + GATE
    found, wide = all_asked(lines, study())
    assert found.margin == pytest.approx(0.1 * wide.summary.mean)
    assert found.p_equivalent < 0.05
    assert all_asked(lines, study(dense=0.3))[0].margin is None


@pytest.mark.parametrize(("dense", "gate", "verdict"), [(0.9, "passed", "supported"), (0.51, "failed", "inconclusive")])
def test_without_its_gate_a_question_has_no_answer(dense, gate, verdict):
    found, wide = all_asked(f"    a: {{{QUESTION}, role: primary, needs: wide}}\n" + GATE, study(0.05, dense=dense))
    assert (wide.verdict, found.verdict) == (gate, verdict)
    assert ("'wide' not passed" in found.why) == (gate == "failed")


def test_a_gate_is_passed_above_so_many_spreads_and_not_below():
    """Mean over sd of these differences is 5.4."""
    gaps = np.array([0.10, 0.12, 0.08, 0.11, 0.09, 0.10, 0.13, 0.07])
    units = told("t", dense=0.5 + gaps, without_1=[0.5] * 8, without_2=[0.5] * 8)
    assert gaps.mean() / gaps.std(ddof=1) == pytest.approx(5.0, abs=0.5)
    ratio = gaps.mean() / gaps.std(ddof=1)
    for spreads, verdict in ((ratio - 0.01, "passed"), (ratio + 0.01, "failed")):
        assert asked(GATE.replace("5}", f"{spreads:.4f}}}"), units).verdict == verdict


def test_a_gate_without_spreads_asks_for_an_interval_above_zero():
    line = f"{QUESTION}, role: gate"
    assert [asked(line, study(effect)).verdict for effect in (0.05, 0.0, -0.05)] == ["passed", "failed", "failed"]


def test_secondary_questions_are_corrected_together_and_the_primary_is_not():
    lines = "".join(
        f"    {name}: {{of: t, metric: test.top1, plus: {plus}, less: {less}, role: {role}}}\n"
        for name, plus, less, role in (
            ("p", "with/*", "without/*", "primary"),
            ("x", "with/1", "without/1", "secondary"),
            ("y", "with/2", "without/2", "secondary"),
            ("z", "with/1", "with/2", "descriptive"),
        )
    )
    p, x, y, z = all_asked(lines, study(0.01))
    assert [x.p_holm, y.p_holm] == holm([x.summary.p, y.summary.p])
    assert p.p_holm is z.p_holm is None
    assert (p.p, x.p, z.verdict) == (p.summary.p, x.p_holm, "")


def test_of_secondary_questions_without_an_effect_one_in_twenty_studies_answers_any():
    """The family-wise rate, through recipe, cells and verdicts."""
    lines = "".join(
        f"    {name}: {{of: t, metric: test.top1, plus: {arm}, less: dense, role: secondary}}\n"
        for name, arm in (("x", "with/1"), ("y", "with/2"), ("z", "without/1"), ("w", "without/2"))
    )
    draws = np.random.default_rng(1).normal(0, 0.01, (200, len(SEEDS), 8))
    found = [all_asked(lines, study(0.0, dense=0.5, noise=noise)) for noise in draws]
    wrong = [any(one.verdict != "inconclusive" for one in family) for family in found]
    bare = [any(one.summary.p < 0.05 for one in family) for family in found]
    assert sum(wrong) / len(found) <= 0.08
    assert sum(bare) > sum(wrong)


TWO = f"""
    pixels: {{{QUESTION}}}
    images: {{of: u, metric: test.top1, plus: with, less: without}}
    wide_pixels: {{of: t, metric: test.top1, plus: dense, less: without/*}}
    wide_images: {{of: u, metric: test.top1, plus: dense, less: without}}
    both: {{difference: [pixels, images]}}
    shares: {{difference: [pixels, images], per: [wide_pixels, wide_images]}}
    share: {{{QUESTION}, per: wide_pixels}}
"""


def both_targets():
    return study(0.05) | told("u", **{"with": [0.6] * 8, "without": np.linspace(0.5, 0.6, 8), "dense": [0.8] * 8})


def test_two_contrasts_are_compared_seed_by_seed():
    pixels, images, *_, both, _, _ = all_asked(TWO, both_targets())
    assert both.values == pytest.approx({seed: pixels.values[seed] - images.values[seed] for seed in pixels.values})


def test_contrasts_of_different_measures_are_compared_in_units_of_what_there_is_to_gain():
    pixels, images, wide, wider, _, shares, share = all_asked(TWO, both_targets())
    assert shares.units == pytest.approx((wide.summary.mean, wider.summary.mean))
    assert share.summary.mean == pytest.approx(pixels.summary.mean / wide.summary.mean)
    assert shares.summary.mean == pytest.approx(
        pixels.summary.mean / wide.summary.mean - images.summary.mean / wider.summary.mean
    )


def shares_of(effects, units, dense=0.0):
    """Both targets, so that the effects and the units are these, seed by seed."""
    found = {}
    for step, effect, unit_, arms in (("t", effects[0], units[0], True), ("u", effects[1], units[1], False)):
        low = 0.3 - np.asarray(unit_)
        names = ("with_1", "with_2", "without_1", "without_2") if arms else ("with", "without")
        found |= told(step, dense=[0.3] * 8, **{
            arm: low + (np.asarray(effect) if arm.startswith("with_") or arm == "with" else 0.0) for arm in names
        })  # fmt: skip
    return found


def test_units_that_are_known_roughly_do_not_make_equal_shares_look_different():
    """Effects of three tenths of units that are five of their spreads: were the units taken for known, it were 1 in 3."""
    lines = TWO.replace("wide_images]}", "wide_images], role: secondary}", 1)
    draw, wrong = np.random.default_rng(2), []
    for _ in range(100):
        units = draw.normal(0.1, 0.02, (2, 8))
        effects = 0.3 * 0.1 + draw.normal(0, 0.001, (2, 8))
        wrong.append(all_asked(lines, shares_of(effects, units))[5].summary.p < 0.05)
    assert np.mean(wrong) <= 0.1


def test_a_margin_that_is_known_roughly_calls_no_more_effects_of_its_size_equivalent():
    """A tenth of what is two of its spreads: were the margin taken for known, it were 1 in 6."""
    lines = f"    a: {{{QUESTION}, role: primary, margin: 0.5, margin_of: wide}}\n" + GATE.replace(", spreads: 5", "")
    draw, wrong = np.random.default_rng(3), []
    for _ in range(100):
        units = draw.normal(0.1, 0.05, (2, 8))
        effects = 0.5 * 0.1 + draw.normal(0, 0.001, (2, 8))
        found = all_asked(lines, shares_of(effects, units))[0].p_equivalent
        wrong.append(found is not None and found < 0.05)
    assert np.mean(wrong) <= 0.1


def test_a_margin_of_nothing_is_told():
    found, _ = all_asked(f"    a: {{{QUESTION}, role: primary, margin: 0.1, margin_of: wide}}\n" + GATE.replace(
        "role: gate, spreads: 5", "role: descriptive"), study(0.0, dense=0.3, noise=NOISE))  # fmt: skip
    assert (found.margin, found.verdict, found.why) == (
        None,
        "inconclusive",
        "'wide' not above 0, so there is no margin",
    )


@pytest.mark.parametrize(
    ("n", "verdict", "why"), [(4, "unfinished", "4 of 8 replicates are complete"), (8, "supported", "")]
)
def test_a_recipe_cut_to_some_of_its_replicates_has_no_verdict(n, verdict, why):
    """Else each part of a run has an answer of its own, and one of several looks finds what is not there."""
    text = STEPS.replace("[0, 1, 2, 3, 4, 5, 6, 7]", str(list(range(n)))).replace("report:", "report:\n  replicates: 8")
    found, gate = report(text + f"    a: {{{QUESTION}, role: primary}}\n" + GATE, study(0.05)).contrasts
    assert (found.verdict, found.why, found.planned) == (verdict, why, 8)
    assert gate.verdict == ("unfinished" if n == 4 else "passed")
    assert not found.lacking


def test_a_gate_that_is_not_finished_leaves_its_question_open():
    units = study(0.05, dense=0.9)
    del units["t@arm=dense,seed=3"]
    found, gate = all_asked(f"    a: {{{QUESTION}, role: primary, needs: wide}}\n" + GATE, units)
    assert (gate.verdict, found.verdict, found.why) == ("unfinished", "unfinished", "'wide' unfinished")


def test_secondary_questions_without_an_answer_yet_count_among_those_that_are_corrected():
    lines = "".join(
        f"    {name}: {{of: t, metric: test.top1, plus: {arm}, less: without/1, role: secondary}}\n"
        for name, arm in (("x", "with/1"), ("y", "dense"))
    )
    units = study(0.01)
    for seed in SEEDS:
        del units[f"t@arm=dense,seed={seed}"]
    x, y = all_asked(lines, units)
    assert x.p_holm == pytest.approx(2 * x.summary.p)
    assert y.p_holm is None


def test_replicates_is_a_number():
    with pytest.raises(UsageError, match="replicates"):
        report(STEPS.replace("report:", "report:\n  replicates: few") + f"    a: {{{QUESTION}}}\n", {})


def test_nothing_is_counted_in_units_of_nothing():
    units = study(0.05, dense=0.4) | both_targets() | study(0.05, dense=0.4)
    share = all_asked(TWO, units)[-1]
    assert not share.lacking
    assert (dict(share.values), share.why) == ({}, "'wide_pixels' not above 0, so nothing can be counted in it")


def test_what_cannot_be_counted_is_inconclusive_and_not_unfinished():
    lines = f"    a: {{{QUESTION}, per: wide, role: secondary}}\n" + GATE
    found = all_asked(lines, study(0.05, dense=0.4))[0]
    assert (found.verdict, found.why) == ("inconclusive", "'wide' not above 0, so nothing can be counted in it")


def test_replicates_that_are_the_same_runs_count_once_and_shared_runs_are_told():
    text = """
schema: 1
for_each: {seed: {x: 7, y: 7, z: 8}}
steps:
  once: {stage: pretrain, data: digits, seed: 9}
  dense: {stage: pretrain, data: digits, seed: $seed}
  t: {stage: transfer, data: digits, ticket: $arm, for_each: {arm: [once, dense]}, seed: 0}
report: {contrasts: {a: {of: t, metric: test.top1, plus: dense, less: once}}}
"""
    units = {f"t@arm=dense,seed={seed}": transferred(0.5 + n / 10) for n, seed in enumerate("xyz")}
    (found,) = report(text, units | {"t@arm=once": transferred(0.3)}).contrasts
    assert list(found.values) == ["seed=x", "seed=z"]
    assert found.leans_on_one


PRUNED = """
schema: 1
for_each: {seed: [0, 1]}
defaults: {prune: {rounds: 3, lambda: 0, encoder: dense, seed: $seed}}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  ours: {stage: prune}
  plain: {stage: prune, rewind: none}
  order: {stage: prune, seed: 99}
report:
  contrasts:
    healed: {of: [ours, plain], metric: healed.top1, plus: ours/2, less: plain/2}
    masks: {of: [ours, plain, order], metric: mask.distance, plus: ours/* ~ plain/*, less: order/* ~ plain/*}
"""


def test_rounds_of_prunings_are_cells_too():
    units = {
        f"{arm}@seed={seed}": rounds(1.0, 0.8, level + seed / 10)
        for arm, level in (("ours", 0.7), ("plain", 0.5))
        for seed in (0, 1)
    }
    assert report(PRUNED, units).contrasts[0].values == pytest.approx({"seed=0": 0.2, "seed=1": 0.2})


def pruned(folder, step, *living):
    """A pruning whose round 1, 2, 3 leaves these weights of four alive."""
    made = {}
    (folder / step).mkdir(parents=True)
    for number, alive in enumerate(living, 1):
        path = folder / step / f"{number}.mask.safetensors"
        write_mask(path, Mask({"w": [place in alive for place in range(4)]}), {"round": number})
        file = FileRecord(path=path.name, size=1, mtime_ns=0, sha256="", content="")
        output = Artifact(name=str(number), kind="ticket", files={"mask": file}, about={})
        made[f"round-{number:02d}"] = unit({"sparsity": 0.5}).model_copy(update={"outputs": (output,)})
    return made


def test_masks_of_two_arms_are_compared_with_masks_of_two_data_orders(tmp_path):
    units = {}
    for seed in (0, 1):
        units[f"ours@seed={seed}"] = pruned(tmp_path, f"ours@seed={seed}", {0, 1}, {0}, {0})
        units[f"plain@seed={seed}"] = pruned(tmp_path, f"plain@seed={seed}", {2, 3}, {0}, {1})
        units[f"order@seed={seed}"] = pruned(tmp_path, f"order@seed={seed}", {2, 3}, {0}, {1 + seed})
    found = report(PRUNED, units, run=tmp_path).contrasts[1]
    assert found.values == pytest.approx({"seed=0": 2 / 3, "seed=1": 2 / 3 - 1 / 3})


def test_masks_of_rounds_that_are_not_done_leave_a_replicate_incomplete(tmp_path):
    units = {
        f"{arm}@seed={seed}": pruned(tmp_path, f"{arm}@seed={seed}", {0, 1}, {0}, *([{0}] if seed else []))
        for arm in ("ours", "plain", "order")
        for seed in (0, 1)
    }
    assert report(PRUNED, units, run=tmp_path).contrasts[1].lacking == ("seed=0",)


WANTED = """\
What the recipe asks

contrast  in            n  difference    sd     95 % interval       p    Holm   flips  visible  margin  p within
wide      top-1 points  8      +39.47  0.89  +38.73 to +40.21
a         top-1 points  8       +5.19  1.22    +4.17 to +6.22  <0.001          0.0078     1.41    3.95      0.99
x         top-1 points  8       +5.02  1.49    +3.78 to +6.27  <0.001  <0.001  0.0078     1.72
z         top-1 points  8       -0.23  1.14    -1.19 to +0.72

wide (gate): passed, 44.5 standard deviations, 5 asked.
a (primary) "is it better?": supported.
x (secondary): supported.
z: are the rounds alike?
"""


def test_the_answers_read_like_this():
    lines = f"""
    a: {{what: "is it better?", {QUESTION}, role: primary, margin: 0.1, margin_of: wide, needs: wide}}
    z: {{what: "are the rounds alike?", of: t, metric: test.top1, plus: with/1, less: with/2}}
    x: {{of: t, metric: test.top1, plus: with/1, less: without/1, role: secondary}}
"""
    text = report(STEPS + lines + GATE, study(0.05)).as_text(Path("run"), 140)
    assert text.split("\n\nDifferences are paired")[0] + "\n" == WANTED


def test_answers_are_on_the_page_and_in_json():
    made = report(STEPS + f"    a: {{{QUESTION}, role: primary}}\n" + GATE, study(0.05))
    assert "## What the recipe asks\n\n| contrast | in |" in made.as_markdown("t", "")
    assert "\n- a (primary): supported.\n" in made.as_markdown("t", "")
    found = json.loads(json.dumps(made.as_json(), allow_nan=False))["contrasts"]
    assert [(one["name"], one["verdict"], one["summary"]["n"]) for one in found] == [
        ("a", "supported", 8),
        ("wide", "passed", 8),
    ]
