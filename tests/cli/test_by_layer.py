"""A criterion by layer from the command line: flags, what is printed of it, the page."""

import json

import pytest

from tests.cli.command_line import ticket, write
from tests.cli.test_page import Page
from ticketcli.store.run_folder import Run

RECIPE = """
schema: 1
defaults: {pretrain: {batch: 16, epochs: 2ep, milestones: [], lr: 0.05}}
steps:
  dense: {stage: pretrain, data: {name: digits, classes: [0, 1, 2], per_class: 20}}
  refit: {stage: prune, encoder: dense, loss: cls, batch: 16, finetune: 1it, heal: 0ep, recalibrate_bn: 32,
          criterion: lobs_refit, compensate: true, calibrate: 40, positions: 9, rounds: 2, prunable: weights,
          sparsities: {fc: 0.2, layer1.0.conv1: [0.5, 0.8], conv1: 0.3}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layers")
    made = ticket("run", write(folder / "r.yaml", RECIPE), "--run", folder / "run", "-q")
    assert made.code == 0, made
    return Run(folder / "run")


def test_a_checkpoint_is_shown_with_what_each_layer_lost_in_the_networks_order(run):
    for output in ("2", "2-compensated"):
        shown = ticket("inspect", f"refit/{output}", "--run", run.root).out
        rows = [
            line.split()[:3] for line in shown.partition("layer by layer")[2].splitlines() if " lobs_refit " in line
        ]
        assert [(name, share) for name, _, share in rows] == [
            ("conv1", "30.09%"), ("layer1.0.conv1", "79.99%"), ("fc", "20.05%"),
        ]  # fmt: skip
        assert "output on 40 images" in shown
        assert "at most by" in shown
    assert "layer by layer" not in ticket("inspect", "dense/dense", "--run", run.root).out


def test_a_step_is_shown_with_what_compensation_is_worth_and_where_layers_are(run):
    shown = ticket("inspect", "refit", "--run", run.root).out
    assert "comp. recal." in shown
    assert "by layer: ticket inspect STEP/OUTPUT" in shown


def test_the_two_outputs_of_a_round_share_a_mask_and_one_has_its_own_values(run):
    made = run.manifest("refit").artifacts()
    ticket_, beside = made["1"].files, made["1-compensated"].files
    assert ticket_["mask"] == beside["mask"]
    assert ticket_["values"].path.startswith("../dense/")
    assert beside["values"].path == "round-01-compensated.safetensors"
    assert ticket("verify", "--run", run.root).code == 0


def test_the_page_has_a_section_with_a_table_and_a_figure(run, tmp_path):
    assert ticket("report", run.root, "--page", tmp_path).code == 0
    page = Page((tmp_path / "report.html").read_text())
    assert "What each layer lost" in page.text
    assert "masked alone" in page.text
    assert any(given["id"].startswith("sensitivities-refit") for given in page.named("figure"))


def test_more_memory_leaves_everything_fresh(run):
    recipe = run.root.parent / "more.yaml"
    write(recipe, RECIPE.replace("calibrate: 40", "calibrate: 40, calib_memory: 5GB"))
    shown = ticket("run", recipe, "--run", run.root, "--dry-run")
    assert shown.code == 0, shown
    assert "refit" in shown.out + shown.err
    assert "stale" not in shown.out + shown.err


def test_the_flags_have_short_names_and_tables_need_no_braces(run):
    made = ticket(
        "prune", "--run", run.root, "--name", "flags", "--encoder", "dense", "--loss", "cls", "--finetune", "0ep", "--heal",
        "0ep", "--rounds", "1", "--criterion", "sparsegpt", "--sparsities", "layer1.0.conv1: 0.5, fc.weight: 0.1",
        "--prunable", "weights", "--calib", "20", "--positions", "4", "--json", "-q",
    )  # fmt: skip
    assert made.code == 0, made
    metrics = json.loads(made.out)["units"]["round-01"]
    assert metrics["output"]["images"] == 20
    assert set(metrics["layers"]) == {"layer1.0.conv1", "fc"}


def test_a_layer_that_is_not_there_is_refused_before_anything_is_moved(run):
    before = run.manifest("refit")
    recipe = run.root.parent / "wrong.yaml"
    write(recipe, RECIPE.replace("layer1.0.conv1: [", "layer1.0.conv9: ["))
    refused = ticket("run", recipe, "--run", run.root, "-q")
    assert refused.code == 2
    assert "no layer 'layer1.0.conv9' to prune" in refused.err
    assert "did you mean 'layer1.0.conv" in refused.err
    assert run.manifest("refit") == before
