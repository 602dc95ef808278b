"""SCOP's selections on the page: from what prunes have written down."""

from tests.report.page.test_families import subject
from tests.report.sweep import unit
from ticketcli.report.page.controls import controls
from ticketcli.report.page.section import Names, Shown

TEXT = """
schema: 1
for_each: {seed: [0, 1]}
defaults: {prune: {encoder: dense, loss: cls, rounds: 2, seed: $seed, granularity: channel, channel_fraction: 0.2}}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  scop: {stage: prune, criterion: scop, selection: 10it}
  gaussian: {stage: prune, criterion: scop, selection: 10it, knockoff: gaussian, knockoff_at: bn1}
  l1: {stage: prune, criterion: l1}
"""


def selected(kind, median):
    knockoff = {"kind": kind, "mean_gap": 0.25, "covariance_gap": 1.5, "off_diagonal_gap": 0.5,
                "diagonal_correlation": -0.125, "mmd_full": 0.0, "mmd_partial": 0.0625}  # fmt: skip
    betas = {"layer1.0.conv1": [0.0, 0.25, median, 0.75, 1.0]}
    return unit({"sparsity": 0.2, "selection": {
        "steps": 1000, "at_one": 0.5, "at_zero": 0.125, "loss_first": 2.0, "loss_last": 0.5, "betas": betas,
        "knockoff": knockoff,
    }})  # fmt: skip


UNITS = {
    "scop@seed=0": {"round-01": selected("permute", 0.5), "round-02": selected("permute", 0.6)},
    "scop@seed=1": {"round-01": selected("permute", 0.5)},
    "gaussian@seed=0": {"round-01": selected("gaussian", 0.9)},
    "l1@seed=0": {"round-01": unit({"sparsity": 0.2})},
}


def figures(units):
    return {figure.name: figure for figure in controls(subject(TEXT, units), Names()).figures}


def test_a_run_that_selected_by_no_controls_has_no_such_section():
    assert controls(subject(TEXT, {"l1@seed=0": UNITS["l1@seed=0"]}), Names()) is None


def test_each_arm_has_a_line_with_what_its_controls_lack_and_where_gates_ended():
    table = controls(subject(TEXT, UNITS), Names()).blocks[0]
    assert isinstance(table, Shown)
    assert table.grid.rows == (
        ("scop", "permute", "0.25", "1.5", "0.5", "-0.125", "0", "0.0625", "1,000", "50.0%", "12.5%", "2.00 to 0.50"),
        ("gaussian", "gaussian", "0.25", "1.5", "0.5", "-0.125", "0", "0.0625", "1,000", "50.0%", "12.5%",
         "2.00 to 0.50"),
    )  # fmt: skip


def test_what_is_further_off_than_the_scale_has_the_darkest_shade_and_its_own_number():
    drawing = figures(UNITS)["controls-gaps"].drawing
    assert drawing.values[0] == (0.25, 1.0, 0.5, 0.125, 0.0, 0.0625)
    assert drawing.texts[0] == ("0.25", "1.50", "0.50", "-0.12", "0.00", "0.06")


def test_gates_are_those_of_the_last_round_of_the_first_replicate():
    drawing = figures(UNITS)["gates-scop-round-02-replicate-0"].drawing
    assert drawing.values == ((0.0, 0.25, 0.6, 0.75, 1.0),)
