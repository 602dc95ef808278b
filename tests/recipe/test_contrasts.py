"""What a recipe may ask of its results, and the words for what it may not."""

import pytest

from ticketcli.errors import UsageError, UsageErrors
from ticketcli.recipe.contrasts import expanded
from ticketcli.recipe.recipe import parse_recipe
from ticketcli.stage import STAGES

CONFIGS = {name: spec.config for name, spec in STAGES.items()}
STEPS = """
schema: 1
for_each: {seed: [0, 1]}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  ours: {stage: prune, encoder: dense, lambda: 0, rounds: 3}
  t: {stage: transfer, ticket: $arm, data: digits, for_each: {arm: [dense, ours/1, ours/3]}}
report:
  contrasts:
"""
GOOD = "    a: {of: t, metric: test.top1, plus: ours/*, less: dense}\n"


def parse(lines, **kwargs):
    return parse_recipe(STEPS + lines, CONFIGS, where="r", **kwargs)


def test_contrasts_stand_beside_tables_or_alone():
    assert parse(GOOD).contrasts["a"].plus == ("ours/*",)
    assert parse(GOOD).tables == {}
    both = parse(GOOD + "  tables:\n    t: {table: t}\n")
    assert (list(both.tables), list(both.contrasts)) == (["t"], ["a"])
    assert list(parse(GOOD + "  table: t\n").tables) == [""]


def test_a_question_does_not_decide_results():
    assert parse(GOOD).digest == parse(GOOD.replace("less: dense", "less: ours/1")).digest


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a: {of: u, metric: test.top1, plus: dense, less: dense}", "no step 'u'"),
        ("a: {of: t, metric: test.top1, plus: ours/2, less: dense}", "no cell 'ours/2'"),
        ("a: {of: t, metric: test.top1, plus: dense}", "a contrast has of, metric, plus and less"),
        ("a: {of: t, plus: ours/1, less: dense}", "a contrast has of, metric, plus and less"),
        ("a: {of: dense, metric: test.top1, plus: dense, less: dense}", "transfers or evaluates"),
        ("a: {of: [t, ours], metric: test.top1, plus: dense, less: dense}", "transfers or evaluates"),
        ("a: {of: ours, metric: mask.distance, plus: ours/1, less: ours/2}", "no pair of masks"),
        ("a: {of: t, metric: mask.distance, plus: ours/1 ~ dense, less: ours/3 ~ dense}", "of steps that prune"),
        ("a: {of: ours, metric: healed.psnr, plus: our/1, less: ours/2}", "no cell 'our/1'"),
        ("a: {difference: [b, c]}", "no contrast 'b'"),
        ("a: {difference: [a, a]}", "refers to another contrast itself"),
        ("a: {of: t, metric: test.top1, plus: ours/1, less: dense, needs: b}", "no contrast 'b'"),
        ("a: {of: t, metric: test.top1, plus: ours/1, less: dense, needs: a}", "'a' is no gate"),
        ("a: {of: t, metric: test.top1, plus: ours/1, less: dense, spreads: 5}", "for role: gate"),
        ("a: {of: t, metric: test.top1, plus: ours/1, less: dense, margin_of: a}", "margin_of is for a margin"),
        ("a: {of: t, metric: test.top1, plus: ours/1, less: dense, per: [a, a]}", "per names one contrast"),
        ("a: {of: t, metric: test.top1, pluss: ours/1, less: dense}", "unknown key 'pluss'"),
        ("a: 3", "not a mapping"),
    ],
)
def test_what_makes_no_question_is_refused(line, said):
    with pytest.raises((UsageError, UsageErrors), match=said):
        parse(f"    {line}\n")


def test_an_arm_that_an_override_took_away_is_no_mistake():
    assert parse(GOOD, overrides=["t.for_each.arm=[dense]"]).contrasts


def test_a_pattern_stands_for_all_that_it_fits_and_a_pair_for_equal_rounds():
    known = ["a/1", "a/2", "b/1", "b/2"]
    assert expanded(["a/*"], known) == ["a/1", "a/2"]
    assert expanded(["a/* ~ b/*"], known) == ["a/1 ~ b/1", "a/2 ~ b/2"]
    assert expanded(["c/1"], known) == ["c/1"]
