"""`ticket explain` on the finished tiny run."""

import io
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.command_line import ticket
from tests.data.files import noise, save
from ticketcli.explain.gate_file import read_gates
from ticketcli.exports import explained_files
from ticketcli.naming import GATES
from ticketcli.tensors.files import read_checkpoint

DENSE, OURS = "dense@seed=0", "ours@seed=0/healed"


def explain(run, *words, to):
    return ticket("explain", *words, "--to", to, "--run", run.root)


def account(folder):
    return json.loads((folder / "explained.json").read_text())


def test_several_networks_look_at_the_same_images(finished, tmp_path):
    to = tmp_path / "out"
    result = explain(finished, DENSE, OURS, "--target", "gt", "--count", "3", to=to)
    assert result.code == 0, result
    found = account(to)
    assert [one["ref"] for one in found["checkpoints"]] == [DENSE, OURS]
    assert [len(one["truth"]) for one in found["images"]] == [1, 1, 1]
    assert len(found["rows"]) == 6
    assert len({tuple(row["scores"]) for row in found["rows"]}) == 6, "they are different images"
    for one, other in zip(found["rows"][:3], found["rows"][3:], strict=True):
        assert (one["image"], one["target"]) == (other["image"], other["target"])
        assert one["target"] == found["images"][one["image"]]["truth"][0]
        assert one["scores"] == sorted(one["scores"]), "no sweep of FR lowers the target"
        x0, y0, x1, y1 = one["box"]
        assert 0 <= x0 < x1 <= 32
        assert 0 <= y0 < y1 <= 32
        assert all(0 <= share <= 1 for share in one["open"].values())
    assert sorted(path.name for path in to.iterdir()) == sorted(found["files"])
    assert Image.open(io.BytesIO((to / "sheet-1.png").read_bytes())).width > 600
    for words in (DENSE, OURS, "mean of", "gates open", "sheet-1.png"):
        assert words in result.out, words


def test_a_sheet_says_once_which_letter_is_which_network(finished, tmp_path, monkeypatch):
    headings, drawn = [], explained_files.sheet
    monkeypatch.setattr(
        explained_files,
        "sheet",
        lambda *given, heading, **more: headings.append(heading) or drawn(*given, heading=heading, **more),
    )
    assert explain(finished, DENSE, OURS, "--count", "1", to=tmp_path / "out").code == 0
    assert headings == [f"fr, boxes and regions from 0.15 on; A: {DENSE}; B: {OURS}"]


def test_the_maps_are_those_that_the_boxes_and_regions_are_of(finished, tmp_path):
    to = tmp_path / "out"
    assert explain(finished, DENSE, "--count", "2", "--threshold", "0.3", to=to).code == 0
    maps = read_checkpoint(to / "maps.safetensors").tensors
    for place, row in enumerate(account(to)["rows"]):
        energy, region = maps[f"0/{place}/energy"], maps[f"0/{place}/region"]
        assert energy.max() == 1
        assert torch.equal(region, energy >= 0.3)
        assert row["region_share"] == pytest.approx(float(region.float().mean()))


def test_each_network_has_its_own_top_1_unless_a_class_is_named(finished, tmp_path):
    assert explain(finished, DENSE, OURS, "--count", "4", to=tmp_path / "own").code == 0
    assert all(row["target"] == row["taken"] for row in account(tmp_path / "own")["rows"])
    assert explain(finished, DENSE, OURS, "--count", "4", "--target", "2", to=tmp_path / "two").code == 0
    assert {row["target"] for row in account(tmp_path / "two")["rows"]} == {"2"}


def test_a_ticket_with_statistics_of_the_network_before_its_mask_is_looked_at_with_a_word(finished, tmp_path):
    found = explain(finished, OURS, "ours@seed=0/3", "--count", "1", to=tmp_path / "looked")
    assert found.code == 0, found
    assert "ours@seed=0/3: BatchNorm's statistics are from before the mask" in found.err
    assert f"{OURS}: BatchNorm" not in found.err


def test_a_neuron_may_be_the_target(finished, tmp_path):
    for name, neuron in (("unit", "layer2.0.relu:3:1:2"), ("channel", "layer3.0.relu:0")):
        result = explain(finished, DENSE, "--count", "1", "--target", neuron, to=tmp_path / name)
        assert result.code == 0, result
        assert account(tmp_path / name)["rows"][0]["target"] == neuron


@pytest.mark.parametrize("mode", ["fsp", "fsp-fr"])
def test_the_other_modes_write_the_same_kind_of_folder(finished, tmp_path, mode):
    result = explain(finished, DENSE, "--count", "1", "--mode", mode, "--guard", "none", to=tmp_path / "out")
    assert result.code == 0, result
    assert account(tmp_path / "out")["settings"]["mode"] == mode


def test_fsp_fr_is_asked_for_as_its_authors_ran_it(finished, tmp_path):
    flags = ("--mode", "fsp-fr", "--fsp-ratio", "1", "--ratio", "0.1", "--sweeps", "1", "--border", "--guard", "none",
             "--middle", "layer3.0.relu#2")  # fmt: skip
    result = explain(finished, DENSE, "--count", "1", *flags, to=tmp_path / "out")
    assert result.code == 0, result
    settings = account(tmp_path / "out")["settings"]
    assert (settings["fsp_ratio"], settings["ratio"], settings["middle"]) == (1, 0.1, "layer3.0.relu#2")
    other = explain(finished, DENSE, "--count", "1", *flags[:2], "--ratio", "0.1", *flags[6:], to=tmp_path / "other")
    assert other.code == 0, other
    assert not {"fsp_ratio"} & set(account(tmp_path / "other")["settings"])
    assert account(tmp_path / "other")["rows"][0]["scores"] != account(tmp_path / "out")["rows"][0]["scores"]


def test_on_images_with_outlined_objects_boxes_are_judged(finished, tmp_path):
    result = explain(finished, DENSE, "--images", "scenes", "--target", "gt", "--count", "3", to=tmp_path / "out")
    assert result.code == 0, result
    found = account(tmp_path / "out")
    assert len(found["rows"]) >= 3
    for row in found["rows"]:
        assert row["target"] in found["images"][row["image"]]["truth"]
        assert 0 <= row["iou"] <= 1


def test_files_and_folders_of_images_are_looked_at(finished, tmp_path):
    for number, size in enumerate(((40, 60), (32, 32), (50, 30))):
        save(tmp_path / "photos" / f"{number}.png", noise(*size, number))
    assert explain(finished, DENSE, "--images", tmp_path / "photos", to=tmp_path / "folder").code == 0
    names = [one["name"] for one in account(tmp_path / "folder")["images"]]
    assert names == ["0.png", "1.png", "2.png"]
    files = ("--images", tmp_path / "photos" / "2.png", "--images", tmp_path / "photos" / "0.png", "--side", "30")
    assert explain(finished, DENSE, *files, to=tmp_path / "files").code == 0
    sizes = [(one["height"], one["width"]) for one in account(tmp_path / "files")["images"]]
    assert sizes == [(50, 30), (30, 45)]


def test_how_many_images_are_looked_at_together_changes_no_byte(finished, tmp_path):
    for batch in ("1", "16"):
        flags = ("--count", "3", "--batch", batch, "--mode", "fsp")
        assert explain(finished, OURS, *flags, to=tmp_path / batch).code == 0
    one, other = (account(tmp_path / batch)["rows"] for batch in ("1", "16"))
    assert [row["box"] for row in one] == [row["box"] for row in other]
    np.testing.assert_allclose([row["scores"][-1] for row in one], [row["scores"][-1] for row in other], rtol=1e-4)


def test_gates_are_written_bit_by_bit_and_come_back(finished, tmp_path):
    to = tmp_path / "out"
    assert explain(finished, DENSE, OURS, "--images", "scenes", "--count", "3", "--gates", to=to).code == 0
    found = account(to)
    assert [name for name in found["files"] if name.endswith(GATES)] == [f"1-64x64{GATES}", f"2-64x64{GATES}"]
    saved = read_gates(to / f"1-64x64{GATES}")
    assert list(saved.images) == [one["name"] for one in found["images"]]
    assert list(saved.targets) == [row["target"] for row in found["rows"][:3]]
    assert set(saved.gates) == set(found["rows"][0]["open"])
    assert saved.about["network"] == DENSE


def test_one_json_object_is_what_the_file_holds(finished, tmp_path):
    result = explain(finished, DENSE, "--count", "1", "--json", to=tmp_path / "out")
    assert json.loads(result.out) == account(tmp_path / "out")


def test_nothing_is_replaced_and_what_fails_leaves_nothing(finished, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    result = explain(finished, DENSE, to=tmp_path / "there")
    assert (result.code, "refusing to replace" in result.err) == (2, True), result
    assert not list((tmp_path / "there").iterdir())

    def full(*arguments, **others):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(explained_files, "write_checkpoint", full)
    result = explain(finished, DENSE, "--count", "1", to=tmp_path / "new")
    assert result.code == 8, result
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((DENSE, "--target", "seven"), 2, "knows no class 'seven'"),
        ((DENSE, "--target", "nowhere.relu:0"), 2, "nowhere.relu"),
        ((DENSE, "--mode", "up"), 2, "--mode is 'up'"),
        ((DENSE, "--guard", "much"), 2, "--guard is 'much'"),
        ((DENSE, "--fsp-ratio", "1"), 2, "--fsp-ratio says nothing to --mode fr"),
        ((DENSE, "--mode", "fsp", "--middle", "relu"), 2, "--middle says nothing to --mode fsp"),
        ((DENSE, "--threshold", "1.5"), 2, "--threshold is 1.5"),
        ((DENSE, "--images", "images:photos", "--target", "gt"), 5, "no such folder"),
        ((DENSE, "--images", "scenes", "--target", "gt", "--count", "0"), 2, "count"),
        (("dec@seed=0",), 6, "this decoder is no network"),
        (("nothing",), 5, "neither a file nor a step"),
    ],
)
def test_what_cannot_be_explained_is_refused(finished, tmp_path, words, code, said):
    result = explain(finished, *words, to=tmp_path / "out")
    assert result.code == code, result
    assert said in result.err
    assert not (tmp_path / "out").exists()


def test_images_without_classes_have_no_ground_truth(finished, tmp_path):
    save(tmp_path / "a.png", noise(32, 32, 1))
    result = explain(finished, DENSE, "--images", tmp_path / "a.png", "--target", "gt", to=tmp_path / "out")
    assert result.code == 2, result
    assert "nobody says what is on these images" in result.err


def test_a_mask_without_values_is_refused(finished, tmp_path):
    mask = shutil.copy(finished.root / "ours@seed=0" / "round-01.mask.safetensors", tmp_path)
    result = explain(finished, mask, to=tmp_path / "out")
    assert result.code in (5, 6), result
