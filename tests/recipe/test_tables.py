import pytest

from ticketcli.errors import TicketError, UsageError
from ticketcli.recipe.recipe import parse_recipe
from ticketcli.recipe.tables import curve_of, find_value, over_variables, row_variables, values_of
from ticketcli.stage import STAGES

CONFIGS = {name: spec.config for name, spec in STAGES.items()}
SWEEP = """
schema: 1
for_each: {seed: [0, 1]}
defaults:
  prune: {rounds: 2, seed: $seed, lambda: 0, encoder: dense}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  ours: {stage: prune}
  flat: {stage: prune, rewind: none}
  target:
    stage: transfer
    for_each: {task: {low: {name: digits, classes: [0, 1]}, high: {name: digits, classes: [8, 9]}}, arm: [dense, ours/2, flat/2]}
    ticket: $arm
    data: $task
"""


def parse(report, text=SWEEP, **kwargs):
    return parse_recipe(f"{text}report: {report}\n", CONFIGS, where="r", **kwargs)


def roles(recipe):
    """(row variables, replicate variables) of each table."""
    found = {}
    for name, config in recipe.tables.items():
        values = values_of(config, {group: [s.variables for s in recipe.instances[group]] for group in config.table})
        found[name] = row_variables(config, values), over_variables(config, values)
    return found


def test_rows_are_all_variables_but_the_seed_where_nothing_is_said():
    assert roles(parse("{table: target}")) == {"": (("task", "arm"), ("seed",))}
    assert roles(parse("{table: target, over: [seed, task]}")) == {"": (("arm",), ("seed", "task"))}
    assert roles(parse("{table: target, rows: [arm, task]}")) == {"": (("arm", "task"), ("seed",))}
    assert roles(parse("{table: target, over: []}")) == {"": (("task", "arm", "seed"), ())}


def test_several_steps_are_told_apart_by_step():
    assert roles(parse("{table: [ours, flat], against: flat}")) == {"": (("step",), ("seed",))}


def test_several_tables_have_names():
    found = parse("{tables: {transfer: {table: target}, curve: {table: ours, at: [0.2, 0.3]}}}")
    assert list(found.tables) == ["transfer", "curve"]
    assert found.tables["curve"].at == (0.2, 0.3)


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ("{table: tarjet}", "no step 'tarjet'"),
        ("{table: dense}", "is a pretrain step, which makes no results"),
        ("{table: [ours, target]}", "different stages"),
        ("{table: []}", "different stages, or none"),
        ("{table: [ours, ours]}", "a step twice"),
        ("{table: target, over: sed}", "not repeated over 'sed'"),
        ("{table: target, rows: arm}", "'task' makes neither rows nor replicates"),
        ("{table: target, rows: [task, arm, seed], over: seed}", "'seed' makes two of rows, replicates and columns"),
        ("{table: target, against: densse}", "no row 'densse'"),
        ("{table: target, compare: [dense]}", "compare has 1 values"),
        ("{table: target, compare: [dense, dense]}", "compare has 1 values"),
        ("{table: target, compare: [dense, low]}", "values of two variables"),
        ("{table: target, rows: task, over: [arm, seed], at: [0.5]}", "no row is the ticket of one"),
        ("{table: target, at: [0.5], against: ours/2}", "no row 'ours/2'"),
        ("{table: ours, at: [80]}", "a sparsity is a share"),
        ("{table: target, row: arm}", "unknown key 'row'"),
        ("{tables: {a: {table: targt}}}", "no step 'targt'"),
        ("{tables: {a: target}}", "not a mapping"),
        ("{tables: {}}", "no table in it"),
        ("{tables: {a: {table: target}}, table: target}", "tables: and other keys"),
    ],
)  # fmt: skip
def test_a_table_of_what_there_is_not_is_refused(report, message):
    with pytest.raises(TicketError, match=message):
        parse(report)


def test_a_row_that_an_override_took_away_is_no_mistake():
    report = "{table: target, against: dense, compare: [ours/2, flat/2]}"
    assert parse(report, overrides=["target.for_each.arm=[ours/2]"]).tables
    with pytest.raises(UsageError, match="no row"):
        parse(report, text=SWEEP.replace("[dense, ours/2, flat/2]", "[ours/2]"))


def test_a_value_of_two_variables_needs_the_variables_name():
    rows = {"a": ["x", 0], "b": ["x", "y"]}
    assert find_value("y", rows, where="r") == ("b", "y")
    assert find_value("0", rows, where="r") == ("a", 0)
    assert find_value("b=x", rows, where="r") == ("b", "x")
    with pytest.raises(UsageError, match="could be several rows") as caught:
        find_value("x", rows, where="r")
    assert "a=x or b=x" in str(caught.value)


def test_a_step_that_is_called_step_needs_another_variable():
    text = SWEEP.replace("for_each: {seed: [0, 1]}", "for_each: {step: [0, 1]}").replace("$seed", "$step")
    with pytest.raises(UsageError, match="tells the steps of a table apart"):
        parse("{table: [ours, flat]}", text=text)


def test_rows_are_named_without_their_round_where_tickets_are_interpolated():
    parse("{table: target, at: [0.5], against: dense, compare: [ours, flat]}")
    with pytest.raises(UsageError, match="no row 'ours'"):
        parse("{table: target, compare: [ours, flat]}")
    assert [curve_of(label) for label in ("ours/7", "ours/healed", "dense", 7, None, "a/b/12")] == [
        "ours", "ours/healed", "dense", 7, None, "a/b",
    ]  # fmt: skip
