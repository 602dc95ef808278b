"""Pixel-level targets through the command line: transfer, evaluation beside another network, pictures, tables."""

import io
import json
import shutil
import sys

import pytest
from PIL import Image

from tests.cli.command_line import ticket
from ticketcli.data import scenes
from ticketcli.store.run_folder import Run
from ticketcli.tensors.files import read_checkpoint

TINY = ("--schedule", "tiny", "--batch", "4", "--channels", "8", "--data", "scenes", "--data.images", "8")
SHORT = ("--epochs", "2it", "--recalibrate-bn", "32")


def transfer(run, task, name, *flags, of="ours@seed=0"):
    return ticket("transfer", "--ticket", of, "--task", task, *TINY, *SHORT, "--name", name, *flags, "--run", run.root)


@pytest.fixture(scope="module", autouse=True)
def few_scenes():
    """Enough to see that all is measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scenes.COUNTS, "validation", 4)
        patch.setitem(scenes.COUNTS, "test", 8)
        yield


@pytest.fixture(scope="module")
def targets(finished, tmp_path_factory):
    """The finished run's ticket and its dense network as detectors, and the ticket as a semantic network."""
    folder = tmp_path_factory.mktemp("targets") / "run"
    shutil.copytree(finished.root, folder)
    run = Run(folder)
    for task, name, of in (
        ("segmentation", "masks", "ours@seed=0"),
        ("segmentation", "before", "dense@seed=0"),
        ("semantic", "pixels", "ours@seed=0"),
    ):
        result = transfer(run, task, name, of=of)
        assert result.code == 0, result
    return run


def measured(run, name, unit):
    return run.manifest(name).units[unit].metrics


def test_what_transfer_measures_evaluate_measures_again(targets):
    result = ticket("evaluate", "--of", "masks", "--batch", "3", "--name", "again", "--run", targets.root)
    assert result.code == 0, result
    found, before = measured(targets, "again", "metrics"), measured(targets, "masks", "task")["test"]
    for kind in ("box", "mask"):
        assert found[kind]["ap"] == pytest.approx(before[kind]["ap"], abs=1e-3)
    assert found["sparsity"] == measured(targets, "masks", "task")["sparsity"]
    results = json.loads((targets.step_folder("again") / "results.json").read_text())
    assert all({"image_id", "category_id", "bbox", "score"} <= set(one) for one in results)


@pytest.mark.parametrize("of", ["masks", "pixels"])
def test_pictures_are_files_of_the_step_and_are_verified(targets, of):
    beside = ("--beside", "before") if of == "masks" else ()
    name = f"look-{of}"
    result = ticket("evaluate", "--of", of, *beside, "--pictures", "7", "--name", name, "--run", targets.root)
    assert result.code == 0, result
    folder = targets.step_folder(name)
    (record,) = (output.files for output in targets.manifest(name).units["metrics"].outputs)
    assert {"pictures-1.png", "pictures-2.png"} <= set(record)
    for page in ("pictures-1.png", "pictures-2.png"):
        with Image.open(io.BytesIO((folder / page).read_bytes())) as image:
            assert image.width <= 1700
    assert ticket("verify", "--run", targets.root).code == 0
    content = bytearray((folder / "pictures-1.png").read_bytes())
    content[-20] ^= 1
    (folder / "pictures-1.png").write_bytes(bytes(content))
    assert ticket("verify", "--run", targets.root).code == 6
    content[-20] ^= 1
    (folder / "pictures-1.png").write_bytes(bytes(content))


@pytest.mark.parametrize(("of", "dense"), [("pixels", "dense@seed=0"), ("masks", "before")])
def test_the_backbone_of_a_pixel_level_network_is_compared_on_the_images_of_its_target(targets, of, dense):
    named = () if dense.startswith("dense") else ("--dense", dense)
    name = f"features-{of}"
    result = ticket("evaluate", "--of", of, "--features", "true", *named, "--name", name, "--run", targets.root)
    assert result.code == 0, result
    found = measured(targets, name, "metrics")
    assert found["features_of"] == {"dense": dense, "probe_images": 0}  # images of many objects have no class
    assert all(set(one) == {"r_map", "r_pool", "ratio"} for one in found["features"].values())
    assert found["features"]["layer4"]["r_map"] > 0
    assert f"features, beside {dense}" in result.out


def test_only_networks_of_one_target_stand_side_by_side(targets):
    result = ticket(
        "evaluate", "--of", "masks", "--beside", "pixels", "--pictures", "1", "--name", "x", "--run", targets.root
    )
    assert result.code == 2
    assert "another task" in result.err


def test_a_network_beside_it_that_nothing_would_show_is_refused(targets):
    wrong = ticket("evaluate", "--of", "masks", "--beside", "before", "--name", "x", "--run", targets.root)
    assert wrong.code == 2
    for words in ("beside is for pictures", "at: evaluate.beside", "ask for pictures, or leave it out"):
        assert words in wrong.err


def test_pixel_settings_are_refused_for_classifiers_and_the_other_way_round(targets):
    wrong = ticket(
        "evaluate", "--of", "target@arm=dense,seed=0", "--pictures", "1", "--name", "x", "--run", targets.root
    )
    assert (wrong.code, "pictures of a classifier are what a decoder rebuilds" in wrong.err) == (2, True)
    wrong = ticket("evaluate", "--of", "masks", "--decoder", "dec@seed=0", "--name", "x", "--run", targets.root)
    assert (wrong.code, "are for classifiers" in wrong.err) == (2, True)


def test_the_same_command_again_is_fresh_and_the_table_of_the_step_shows_its_measures(targets):
    again = transfer(targets, "segmentation", "masks")
    assert again.code == 0
    assert "masks: fresh" in again.err
    assert "box AP" in again.out
    assert "mask AP" in again.out


def test_images_of_several_objects_are_no_set_for_other_stages(copy):
    for stage, flags in (("pretrain", ()), ("train-decoder", ("--encoder", "dense@seed=0"))):
        result = ticket(stage, *flags, "--data", "scenes", "--name", "x", "--run", copy.root)
        assert result.code == 2, result
        assert "images of several objects" in result.err


def test_without_the_extra_a_detector_is_not_even_begun(copy, monkeypatch):
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    result = transfer(copy, "detection", "x")
    assert result.code == 5
    assert "ticketcli[coco]" in result.err
    assert not copy.step_folder("x").exists()


def test_one_backbone_serves_two_tasks_as_the_same_bytes(copy):
    bodies = []
    for task in ("semantic", "detection"):
        result = transfer(copy, task, task, "--freeze-backbone", "true", of="dense@seed=0")
        assert result.code == 0, result
        values = read_checkpoint(copy.step_folder(task) / "task.safetensors").tensors
        bodies.append({name: value for name, value in values.items() if name.startswith("backbone.body.")})
    assert bodies[0].keys() == bodies[1].keys()
    assert all(value.equal(bodies[1][name]) for name, value in bodies[0].items())


def test_a_set_of_other_classes_is_not_measured(targets):
    for name in ("masks", "pixels"):
        flags = ("--data.name", "scenes", "--data.classes", "0-4", "--name", "x", "--run", targets.root)
        result = ticket("evaluate", "--of", name, *flags)
        assert result.code == 2
        assert "not those that the network knows" in result.err


def test_a_finished_step_says_what_it_is_worth(targets):
    result = ticket("evaluate", "--of", "pixels", "--name", "worth", "--run", targets.root)
    assert "mIoU" in result.err
