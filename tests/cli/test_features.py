"""`ticket evaluate --features` on the finished tiny run."""

import html
import json

import pytest

from tests.cli.command_line import ticket

FLAGS = ("--features", "true", "--probe-images", "40", "--name", "seen")
TAPS = ["layer1", "layer2", "layer3", "layer4"]


def features(run, of, *flags):
    result = ticket("evaluate", "--of", of, *FLAGS, *flags, "--run", run.root)
    assert result.code == 0, result
    return result, run.manifest("seen").units["metrics"].metrics


def test_a_ticket_with_statistics_of_the_network_before_its_mask_is_measured_with_a_word(copy):
    said = "ours@seed=0/3: BatchNorm's statistics are from before the mask; --recalibrate-bn 1024 renews them"
    assert said in features(copy, "ours@seed=0/3")[0].err
    for own in (("ours@seed=0/3", "--recalibrate-bn", "60"), ("ours@seed=0/healed",), ("dense@seed=0",)):
        assert "statistics are from before" not in features(copy, *own)[0].err
    # re-estimated when it was rewound, or not
    assert "statistics are from before" not in features(copy, "back_early@seed=0")[0].err
    assert "statistics are from before" in features(copy, "back@seed=0")[0].err


def test_a_ticket_is_compared_with_the_network_it_was_pruned_from(copy):
    result, found = features(copy, "ours@seed=0/3", "--recalibrate-bn", "60")
    assert found["features_of"] == {"dense": "dense@seed=0", "probe_images": 40}
    assert list(found["features"]) == TAPS
    for one in found["features"].values():
        assert 0 < one["r_map"] < 2
        assert one["ratio"] == pytest.approx(one["r_map"] / one["r_pool"])
        assert 0 < one["probe"]["top1"] <= 1
        assert one["probe"]["n"] == one["dense_probe"]["n"] == found["n"]
    for words in ("features, beside dense@seed=0; probes learnt from 40 training images", "layer4", "r_map / r_pool"):
        assert words in result.out


def test_a_dense_network_is_at_distance_0_from_itself(copy):
    _, found = features(copy, "dense@seed=0", "--probe-images", "0")
    assert {(one["r_map"], one["r_pool"], one["ratio"]) for one in found["features"].values()} == {(0.0, 0.0, None)}
    assert "probe" not in found["features"]["layer1"]


@pytest.mark.parametrize("of", ["back@seed=0", "target@arm=ours-3,seed=0", "imp@seed=0/healed"])
def test_the_origin_of_what_was_rewound_transferred_or_healed_is_found(copy, of):
    _, found = features(copy, of)
    assert found["features_of"]["dense"] == "dense@seed=0"
    assert found["features"]["layer4"]["r_map"] > 0


def test_another_network_may_be_named(copy):
    _, found = features(copy, "target@arm=ours-3,seed=0", "--dense", "target@arm=dense,seed=0")
    assert found["features_of"]["dense"] == "target@arm=dense,seed=0"
    _, itself = features(copy, "target@arm=dense,seed=0", "--dense", "target@arm=dense,seed=0", "--resume", "never")
    assert itself["features"]["layer4"]["r_map"] == 0.0


def test_recalibration_brings_a_ticket_nearer_that_was_not_finetuned(copy):
    _, literal = features(copy, "uniform@seed=0/3")
    _, recalibrated = features(copy, "uniform@seed=0/3", "--recalibrate-bn", "60")
    assert recalibrated["features"]["layer4"]["r_map"] != literal["features"]["layer4"]["r_map"]


def test_saying_what_is_the_default_leaves_the_step_fresh(copy):
    features(copy, "ours@seed=0/3")
    result, _ = features(copy, "ours@seed=0/3", "--dense", "dense@seed=0")
    assert "fresh" in result.err


def test_what_was_evaluated_without_features_stays_fresh(copy):
    assert ticket("evaluate", "--of", "ours@seed=0/3", "--name", "plain", "--run", copy.root).code == 0
    manifest = copy.manifest("plain")
    assert set(manifest.inputs["identities"]) == {"of"}
    assert "features" not in manifest.units["metrics"].metrics


def test_a_file_of_unknown_origin_needs_the_dense_network_named(copy):
    file = copy.step_folder("back@seed=0") / "ticket.safetensors"
    result = ticket("evaluate", "--of", file, *FLAGS, "--run", copy.root)
    assert result.code == 2, result
    assert "nothing says which dense network" in result.err
    assert "dense:" in result.err


def test_a_dense_network_without_features_is_refused(copy):
    result = ticket("evaluate", "--of", "ours@seed=0/3", "--dense", "dense@seed=0", "--run", copy.root)
    assert result.code == 2, result
    assert "dense is for features: true" in result.err


def test_features_are_numbers_that_tables_and_the_page_can_show(copy, tmp_path):
    recipe = json.loads((copy.root / "recipe.json").read_text())["text"]
    recipe = recipe.replace("worth: {stage: evaluate, of: ours/healed, decoder: dec}",
                            "worth: {stage: evaluate, of: ours/healed, features: true, probe_images: 40}")  # fmt: skip
    metrics = "[features.layer4.r_map, features.layer4.probe.top1]"
    head, _, _ = recipe.partition("report:")
    (tmp_path / "r.yaml").write_text(f"{head}report: {{table: worth, metric: {metrics}}}\n")
    result = ticket("run", tmp_path / "r.yaml", "--run", copy.root)
    assert result.code == 0, result
    assert "r map" in result.out
    assert ticket("report", copy.root, "--page", tmp_path / "out").code == 0
    assert "What is left of the dense network's features" in html.unescape((tmp_path / "out/report.html").read_text())
    assert (tmp_path / "out" / "figures" / "features-r-map.svg").is_file()
