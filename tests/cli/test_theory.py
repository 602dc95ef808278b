import json

import pytest

from tests.cli.command_line import ticket
from ticketcli.cli import theory
from ticketcli.theory.limits import RULES

SMALL = ("theory", "lcnn", "--width", 24, "--length", 6, "--seeds", 2, "--p", "0.05,0.1")
WIDE = ("theory", "orcnn", "--width", 200, "--seeds", 2, "--p", "0.3,0.5")


def test_the_rules_of_the_command_are_those_of_the_experiment():
    assert theory._RULES == RULES


def test_theorem_3_1_prints_bounds_controls_and_slopes():
    result = ticket(*SMALL)
    assert result.code == 0, result
    for words in ("The theorem's rule: smallest sums", "any kernels", "smallest norms", "1x1 kernels", "of r_pool"):
        assert words in result.out
    assert "theory lcnn: about" in result.err


def test_theorem_3_2_prints_distances_controls_and_the_lemma():
    result = ticket(*WIDE)
    assert result.code == 0, result
    for words in ("distance", "untrained", "rescaled", "Lemma B.5 holds in 6 of 6 trainings"):
        assert words in result.out


def test_json_has_every_seed_and_the_same_numbers_each_time():
    once, again = (json.loads(ticket(*SMALL, "--json", "-q").out) for _ in range(2))
    assert once == again
    assert [(one["rule"], one["p"]) for one in once["damages"]] == [(rule, p) for rule in RULES for p in (0.05, 0.1)]
    assert {len(one["seeds"]) for one in once["damages"]} == {2}
    found = json.loads(ticket(*WIDE, "--json", "-q").out)
    assert [one["p"] for one in found["seeds"][1]["finetuned"]] == [0.3, 0.5]


def test_quiet_says_nothing_beside_the_result():
    assert ticket(*SMALL, "-q").err == ""


def test_one_rule_may_be_asked_for_alone():
    found = json.loads(ticket(*SMALL, "--rule", "l2", "--json", "-q").out)
    assert {one["rule"] for one in found["damages"]} == {"l2"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("lcnn", "--p", "1.5"), "between 0 and 1, got 1.5"),
        (("lcnn", "--p", "a"), "'a' is no list of numbers"),
        (("lcnn", "--s", "20"), "41 taps is wider than the 32 positions"),
        (("lcnn", "--rule", "l3"), "no rule 'l3'"),
        (("orcnn", "--seeds", "0"), "seeds is 0"),
        (("orcnn", "--svg", "figure.pdf"), "does not end in .svg"),
    ],
)
def test_bad_input_is_a_usage_error(flags, message):
    result = ticket("theory", *flags)
    assert result.code == 2, result
    assert message in result.err
    assert result.out == ""
