import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketcli.errors import TicketError, UsageError
from ticketcli.recipe.for_each import step_name
from ticketcli.recipe.recipe import parse_recipe
from ticketcli.stage import STAGES

CONFIGS = {name: spec.config for name, spec in STAGES.items()}
TASKS = """
schema: 1
for_each: {seed: [0, 1]}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  t:
    stage: transfer
    for_each:
      task:
        low: {name: digits, classes: [0, 1]}
        high: {name: digits, classes: [8, 9]}
    ticket: dense
    data: $task
"""


def parse(text, **kwargs):
    return parse_recipe(text, CONFIGS, where="r", **kwargs)


def names(recipe, group):
    return [step.name for step in recipe.instances[group]]


labels = st.lists(
    st.one_of(st.integers(0, 99), st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)),
    min_size=1,
    max_size=4,
    unique_by=str,
)


@given(st.dictionaries(st.sampled_from(["seed", "arm", "width", "x_1"]), labels, min_size=1))
def test_the_steps_are_the_product_of_the_axes_each_once_and_always_in_one_order(axes):
    text = f"schema: 1\nsteps: {{a: {{stage: pretrain, data: digits, for_each: {axes}}}}}"
    recipe = parse(text)
    made = names(recipe, "a")
    assert len(made) == math.prod(map(len, axes.values()))
    assert len(set(made)) == len(made)
    assert made == names(parse(text), "a")
    last = list(axes)[-1]
    assert [step.variables[last] for step in recipe.instances["a"]][: len(axes[last])] == list(axes[last])


def test_a_named_value_is_told_by_its_name_and_used_by_its_value():
    recipe = parse(TASKS)
    assert names(recipe, "t") == ["t@task=low,seed=0", "t@task=low,seed=1", "t@task=high,seed=0", "t@task=high,seed=1"]
    assert recipe["t@task=high,seed=0"].variables == {"task": "high", "seed": 0}
    assert recipe["t@task=high,seed=0"].config.data.classes == (8, 9)


def test_an_override_chooses_among_named_values():
    recipe = parse(TASKS, overrides=["t.for_each.task=[high]", "for_each.seed=[0]"])
    assert names(recipe, "t") == ["t@task=high,seed=0"]
    assert recipe["t@task=high,seed=0"].config.data.classes == (8, 9)
    with pytest.raises(UsageError, match="no value 'hihg'") as caught:
        parse(TASKS, overrides=["t.for_each.task=[hihg]"])
    assert "did you mean 'high'?" in str(caught.value)


def test_an_override_reaches_into_a_named_value():
    recipe = parse(TASKS, overrides=["t.for_each.task.low.per_class=5"])
    assert recipe["t@task=low,seed=0"].config.data.per_class == 5


@pytest.mark.parametrize("seeds", ["[0]", "[0, 1]", "[5, 0]"])
def test_an_override_replaces_an_axis(seeds):
    recipe = parse(TASKS, overrides=[f"for_each.seed={seeds}"])
    assert [step.config.seed for step in recipe.instances["dense"]] == [int(s) for s in seeds.strip("[]").split(",")]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("[a/b, a-b]", "two steps would share the folder"),
        ("[A, a]", "two steps would share the folder"),
        ("[a, A]", "two steps would share the folder"),
        ("[1, 1.0]", "a value twice"),
        ("[[1, 2], [3]]", "is a list or a mapping, and has no name"),
        ("[{name: digits}]", "is a list or a mapping, and has no name"),
        ("[]", "needs a list of values"),
        ("{}", "needs a list of values"),
        ("5", "needs a list of values"),
        ("[$seed]", "uses a variable"),
        ("[" + "x" * 250 + "]", "characters"),
    ],
)
def test_values_that_make_no_folders_of_their_own_are_refused(values, message):
    text = f"schema: 1\nsteps: {{a: {{stage: pretrain, data: digits, seed: 1, for_each: {{v: {values}}}}}}}"
    with pytest.raises(TicketError, match=message):
        parse(text)


def test_a_variable_has_a_name_that_can_be_used():
    with pytest.raises(TicketError, match="'my-seed' cannot be a variable's name"):
        parse("schema: 1\nfor_each: {my-seed: [0]}\nsteps: {a: {stage: pretrain, data: digits}}")


def test_a_mapping_inside_a_text_is_refused():
    with pytest.raises(TicketError, match="fits into no text"):
        parse(TASKS.replace("data: $task", "data: a$task"))


def test_a_shared_axis_may_decide_what_a_reference_names():
    """Each arm has producers of its own: one depends on the seed, the other on nothing."""
    recipe = parse("""
schema: 1
for_each: {seed: [0, 1], arm: [once, ours/2]}
steps:
  once: {stage: pretrain, data: digits}
  dense: {stage: pretrain, data: digits, seed: $seed}
  ours: {stage: prune, encoder: dense, lambda: 0, rounds: 2}
  t: {stage: transfer, ticket: $arm, data: digits}
""")
    assert names(recipe, "t") == ["t@arm=once", "t@arm=ours-2,seed=0", "t@arm=ours-2,seed=1"]
    assert str(recipe["t@arm=ours-2,seed=1"].refs["ticket"]) == "ours@seed=1/2"


def test_equal_steps_of_a_sweep_stay_among_its_instances():
    recipe = parse("""
schema: 1
steps:
  dense: {stage: pretrain, data: digits}
  t: {stage: transfer, ticket: dense, data: digits, for_each: {lr: {paper: 0.1, low: 0.01, again: 0.1}}, lr: $lr}
""")
    assert names(recipe, "t") == ["t@lr=paper", "t@lr=low", "t@lr=again"]
    assert recipe.aliases == {"t@lr=again": "t@lr=paper"}
    assert [step.name for step in recipe.steps] == ["dense", "t@lr=paper", "t@lr=low"]


def test_the_digest_is_of_what_is_run_and_not_of_words():
    plain = parse(TASKS).digest
    assert parse(TASKS + "about: words\nreport: {table: t, rows: task}\n").digest == plain
    assert parse(TASKS, overrides=["t.lr=0.2"]).digest != plain


def test_step_names_are_safe_as_folders():
    assert step_name("t", {"arm": "ours/11", "x": "a b;rm"}) == "t@arm=ours-11,x=a-b-rm"


PINNED = """
schema: 1
for_each: {seed: [0, 1]}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  ours: {stage: prune, encoder: dense, lambda: 0, rounds: 2, seed: $seed}
  t: {stage: transfer, ticket: $arm, data: scenes, task: semantic, for_each: {arm: [dense, ours/2]}}
  look: {stage: evaluate, of: "t@arm=%s", beside: t@arm=dense}
"""


def test_a_reference_may_pin_a_variable_and_follow_the_others():
    recipe = parse(PINNED % "ours-2")
    looks = [step for step in recipe.steps if step.group == "look"]
    assert [step.name for step in looks] == ["look@seed=0", "look@seed=1"]
    assert [str(step.refs["of"]) for step in looks] == ["t@arm=ours-2,seed=0", "t@arm=ours-2,seed=1"]
    assert [str(step.refs["beside"]) for step in looks] == ["t@arm=dense,seed=0", "t@arm=dense,seed=1"]


@pytest.mark.parametrize(
    ("pin", "words"), [("ours-3", "no 't' has arm=ours-3"), ("", "pins no variable"), ("dense,lr=1", "no 't' has lr=1")]
)
def test_what_cannot_be_pinned_is_refused(pin, words):
    with pytest.raises(UsageError, match=words):
        parse(PINNED % pin)
