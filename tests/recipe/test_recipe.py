import pytest

from ticketcli.errors import InputMissing, TicketError, UsageError
from ticketcli.recipe.recipe import parse_recipe
from ticketcli.stage import STAGES

CONFIGS = {name: spec.config for name, spec in STAGES.items()}
CHAIN = """
schema: 1
steps:
  dense: {stage: pretrain, data: digits}
  dec: {stage: train-decoder, encoder: dense}
  ours: {stage: prune, encoder: dense, decoder: dec, rounds: 3}
  t: {stage: transfer, ticket: ours/2, data: {name: digits, classes: [5, 6]}}
"""
SWEEP = """
schema: 1
for_each: {seed: [0, 1]}
defaults:
  prune: {rounds: 2, seed: $seed}
steps:
  target:
    stage: transfer
    for_each: {arm: [dense, ours/2, flat/2]}
    ticket: $arm
    data: digits
  dense: {stage: pretrain, data: digits, seed: $seed}
  ours: {stage: prune, encoder: dense, lambda: 0}
  flat: {stage: prune, encoder: dense, lambda: 0, rewind: none}
report: {table: target, rows: arm, over: seed, compare: [ours/2, flat/2]}
"""


def parse(text, **kwargs):
    return parse_recipe(text, CONFIGS, where="r", **kwargs)


def messages(text, **kwargs):
    with pytest.raises(TicketError) as caught:
        parse(text, **kwargs)
    return str(caught.value)


def test_steps_come_after_what_they_refer_to():
    recipe = parse(SWEEP)
    seen = set()
    for step in recipe.steps:
        assert all(ref.step in seen for ref in step.refs.values())
        seen.add(step.name)


def test_a_reference_names_a_step_and_an_output():
    ref = parse(CHAIN)["t"].refs["ticket"]
    assert (ref.step, ref.output) == ("ours", "2")


def test_for_each_repeats_a_step_and_all_that_hang_on_it_with_matching_values():
    recipe = parse(SWEEP)
    assert {step.name for step in recipe.steps if step.group == "target"} == {
        f"target@arm={arm},seed={seed}" for arm in ("dense", "ours-2", "flat-2") for seed in (0, 1)
    }
    step = recipe["target@arm=ours-2,seed=1"]
    assert str(step.refs["ticket"]) == "ours@seed=1/2"
    assert recipe["ours@seed=1"].refs["encoder"].step == "dense@seed=1"


def test_equal_steps_run_once():
    twice = (
        CHAIN + "  again: {stage: prune, encoder: dense, decoder: dec, rounds: 3}\n"
        "  u: {stage: transfer, ticket: again/2, data: {name: digits, classes: [5, 6]}}\n"
    )
    recipe = parse(twice)
    assert [step.name for step in recipe.steps] == ["dense", "dec", "ours", "t"]
    assert recipe["again"].name == "ours"
    assert recipe["u"].name == "t"


def test_a_step_that_differs_only_in_its_input_is_another_step():
    assert len(parse(SWEEP).steps) == 2 + 4 + 6


def test_seed_zero_is_a_seed_and_differs_from_seed_one():
    """Peer defect 5."""
    seeds = [step.config.seed for step in parse(SWEEP).steps if step.group == "dense"]
    assert seeds == [0, 1]


def test_all_errors_are_shown_at_once_with_path_and_suggestion():
    text = CHAIN.replace("rounds: 3", "fractoin: 0.3, rounds: 0").replace("data: digits}", "data: digits, lr: fast}", 1)
    found = messages(text)
    assert "unknown key 'fractoin'" in found
    assert "at: steps.ours.fractoin" in found
    assert "did you mean 'fraction'?" in found
    assert "steps.ours.rounds" in found
    assert "steps.dense.lr" in found


def test_an_unknown_key_inside_data_is_named_too():
    found = messages(CHAIN.replace("classes: [5, 6]", "clases: [5, 6]"))
    assert "unknown key 'clases'" in found
    assert "did you mean 'classes'?" in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("stage: pretrain", "stage: pretrian"), "unknown stage 'pretrian'"),
        (("encoder: dense", "encoder: dens"), "no step 'dens'"),
        (("schema: 1", "schema: 2"), "schema is 2"),
        (("steps:", "step:"), "unknown key 'step'"),
        (("rounds: 3", "fraction: 1.0"), "fraction"),
        (("rounds: 3", "fraction: 0"), "fraction"),
        (("rounds: 3", "finetune: 10"), "not a duration"),
        (("rounds: 3", "rounds: true"), "rounds"),
        (("rounds: 3", "rounds: '3'"), "rounds"),
        (("rounds: 3", "lambda: -1"), "lambda"),
        (("rounds: 3", "lambda: .nan"), "lambda"),
        (("rounds: 3", "like: dense"), "like is for criterion: random only"),
        (("encoder: dense}", "encoder: t}"), "circle"),
        (("dec:", "'d c':"), "cannot be a step's name"),
        (("data: digits}", "data: digits, seed: $seed}"), "no for_each variable 'seed'"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(change, message):
    old, new = change
    assert old in CHAIN
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        parse(CHAIN.replace(old, new, 1))


def test_overrides_reach_steps_defaults_and_nested_keys():
    recipe = parse(CHAIN, overrides=["ours.rounds=5", "dense.data.classes=[0,1]", "ours.lambda=1e-1"])
    assert recipe["ours"].config.rounds == 5
    assert recipe["ours"].config.lambda_ == 0.1
    assert recipe["dense"].config.data.classes == (0, 1)
    assert parse(SWEEP, overrides=["defaults.prune.rounds=4", "for_each.seed=[7]"])["ours@seed=7"].config.rounds == 4


def test_drop_removes_a_key():
    assert parse(CHAIN, drops=["ours.rounds"])["ours"].config.rounds == 11
    assert "did you mean 'rounds'?" in messages(CHAIN, drops=["ours.round"])


@pytest.mark.parametrize("override", ["rounds", "=3", "our.rounds=3", "x=3"])
def test_an_override_of_nothing_is_refused(override):
    with pytest.raises(UsageError):
        parse(CHAIN, overrides=[override])


def test_an_empty_recipe_says_what_it_lacks():
    assert "a recipe is a mapping" in messages("")
    assert "no steps" in messages("schema: 1")


def test_a_repeated_value_in_for_each_is_refused():
    with pytest.raises(UsageError, match="a value twice"):
        parse(SWEEP.replace("arm: [dense,", "arm: [dense, dense,"))


def test_no_instance_that_fits_is_said_plainly():
    text = """
schema: 1
steps:
  dense: {stage: pretrain, data: digits, for_each: {w: [1, 2]}, seed: $w}
  dec: {stage: train-decoder, encoder: dense}
"""
    with pytest.raises(InputMissing, match="no instance of 'dense' fits") as caught:
        parse(text)
    assert "move w to for_each: at the top" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            ("encoder: dense, decoder: dec, rounds: 3", "encoder: dens, decoder: dek, round: 3"),
            ["no step 'dens'", "no step 'dek'", "unknown key 'round'"],
        ),
        (
            ("ticket: ours/2, data: {", "ticket: our/2, seed: $s, round: 3, data: {clases: [1], "),
            ["no step 'our'", "no for_each variable 's'", "unknown key 'round'", "unknown key 'clases'"],
        ),
        (
            ("encoder: dense}", "encoder: $x, data: {name: $y}, lr: fast}"),
            ["no for_each variable 'x'", "no for_each variable 'y'", "lr: "],
        ),
        (
            ("stage: pretrain, data: digits", "stage: pretrain, data: $d, epoch: 1ep"),
            ["no for_each variable 'd'", "unknown key 'epoch'"],  # and not that data is missing
        ),
        (
            ("stage: pretrain, data: digits", "stage: pretrian, data: digits, for_each: 3"),
            ["unknown stage 'pretrian'"],
        ),
        (
            ("schema: 1", "schema: 2\nabuot: x\ndefaults: {prun: {}}\nreport: 3"),
            ["unknown key 'abuot'", "schema is 2", "report is no mapping", "unknown stage 'prun'"],
        ),
        (
            ("schema: 1", "for_each: {a: [], b: 3}"),
            ["schema is None", "'a' needs a list of values", "'b' needs a list of values"],
        ),
    ],
)
def test_no_mistake_hides_another(change, found):
    with pytest.raises(UsageError) as caught:
        parse(CHAIN.replace(*change, 1))
    errors = getattr(caught.value, "errors", (caught.value,))
    assert len(errors) == len(found)
    for error, what in zip(sorted(errors, key=str), sorted(found), strict=True):
        assert error.what.startswith(what)


def test_bad_overrides_are_told_with_each_other_and_with_the_rest():
    said = messages(
        CHAIN.replace("rounds: 3", "rouns: 3"), overrides=["our.lr=1", "t.lr=0.5"], drops=["dense.lr", "x.y"]
    )
    for what in ("'our' is not in", "'lr' is not in", "'x' is not in", "unknown key 'rouns'"):
        assert what in said
    assert said.count("   at: ") == 4


def test_an_instance_that_does_not_fit_is_told_with_the_rest():
    text = """
schema: 1
steps:
  dense: {stage: pretrain, data: digits, for_each: {w: [1, 2]}, seed: $w}
  dec: {stage: train-decoder, encoder: dense, ht: 3}
  t: {stage: transfer, ticket: dense@w=3, dta: digits}
"""
    said = messages(text)
    for what in ("no instance of 'dense' fits", "unknown key 'ht'", "no 'dense' has w=3", "unknown key 'dta'"):
        assert what in said


def test_tables_are_told_with_the_steps_that_are_not_good():
    report = """report:
  tables:
    a: {table: targt, at: 3}
    b: {table: target, rows: amr, over: sed}
    c: {tble: target}
    d: {table: dense}
    e: {table: target, against: ours/3, compare: [ours/2, ours/2]}
    f: {table: ours, against: 3}
  contrasts:
    q: {of: targt, metric: top1, plus: ours/2, less: flat/2}
    r: {of: target, metric: top1, plus: ours/4, less: flt/2, needs: s}
  replicates: none
"""
    said = messages(SWEEP[: SWEEP.index("report:")].replace("rounds: 2", "round: 2, fraction: 3") + report)
    for what in (
        "unknown key 'round'", "fraction: ", "no step 'targt'", "a sparsity is a share", "not repeated over 'amr'",
        "not repeated over 'sed'", "unknown key 'tble'", "'dense' is a pretrain step", "compare has 1 values",
        "no row '3'", "no cell 'ours/4'", "no cell 'flt/2'", "no contrast 's'", "replicates is 'none'",
    ):  # fmt: skip
        assert what in said, what


def test_of_a_step_whose_repetitions_nobody_knows_tables_say_nothing():
    """What follows from a mistake is none."""
    text = SWEEP.replace("arm: [dense, ours/2, flat/2]", "arm: [dens, ours/2, flat/2]")
    assert messages(text).splitlines()[0] == "no step 'dens'"
    assert messages(text).count("   at: ") == 1
    text = SWEEP.replace("stage: transfer", "stage: tranfer")
    assert messages(text).count("   at: ") == 1


def test_what_hangs_on_a_step_that_is_not_good_is_not_blamed():
    text = SWEEP.replace(
        "{stage: pretrain, data: digits, seed: $seed}", "{stage: pretrain, data: digits, seed: x, keep: 3}"
    )
    assert {line for line in messages(text).splitlines() if "at:" in line} == {
        "   at: steps.dense.seed", "   at: steps.dense.keep",
    }  # fmt: skip
