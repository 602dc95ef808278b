"""`ticket data`, and --skip-bad."""

import json

import numpy as np
import pytest

from tests.annotations.small_set import changed, document, write
from tests.cli.command_line import ticket
from tests.cli.test_start import HEAVY, start
from tests.data.files import sources
from tests.data.test_maps import maps, spoil
from ticketcli.data.outlines import bitmap
from ticketcli.data.sets import load_splits


def test_a_good_set_is_counted_and_nothing_is_broken(tmp_path):
    write(tmp_path, document())
    result = ticket("data", "check", tmp_path)
    assert result.code == 0, result
    assert result.out.splitlines()[:2] == [
        "part   images  empty  objects  small  medium  large  crowd  classes",
        "train       3      1        4      4       0      0      1   3 of 3",
    ]
    assert "nothing is broken" in result.out


def test_all_that_is_wrong_is_told_at_once_and_the_exit_code_is_6(tmp_path):
    content = changed("annotations", 0, "bbox", to=[50, 0, 30, 5])
    content["annotations"][1]["category_id"] = 4
    write(tmp_path, content)
    (tmp_path / "images" / "012.png").unlink()
    result = ticket("data", "check", tmp_path, "--quiet")
    assert result.code == 6
    assert result.err == ""
    for line in (
        "  files that are not there: 1",
        "    images[2].file_name: 012.png is not there (image 12)",
        "  annotations of unknown categories: 1",
        "  boxes that reach out of their image: 1",
    ):
        assert line in result.out.splitlines()
    assert "3 faults of 3 kinds\na stage stops at them, unless --skip-bad" in result.out


def test_as_json_every_fault_is_there_with_its_ids(tmp_path):
    content = document()
    for entry in content["annotations"]:
        entry["bbox"] = [0, 0, 0, 0]
    write(tmp_path, content)
    result = ticket("data", "check", tmp_path, "--json")
    assert result.code == 6
    found = json.loads(result.out)
    assert found["broken"] == len(found["parts"]["train"]["faults"]) == 5
    assert found["parts"]["train"]["faults"][0] == {
        "kind": "empty-box", "note": False, "where": "annotations[0].bbox", "what": "0 x 0 pixels",
        "image": 7, "annotation": 1,
    }  # fmt: skip


def test_all_places_are_named_when_that_is_asked(tmp_path):
    content = document()
    for entry in content["annotations"]:
        entry["bbox"] = [0, 0, 0, 0]
    write(tmp_path, content)
    few, every = (ticket("data", "check", tmp_path, *flags).out for flags in ((), ("--all",)))
    assert few.count("0 x 0 pixels") == 3
    assert "    and 2 more" in few.splitlines()
    assert "--all names every place" in few
    assert every.count("0 x 0 pixels") == 5
    assert "more" not in every


def test_notes_alone_break_nothing(tmp_path):
    write(tmp_path, changed("annotations", 0, "iscrowd", to=1))
    result = ticket("data", "check", tmp_path)
    assert result.code == 0
    assert "note: crowd regions drawn as polygons: 1" in result.out
    assert "nothing is broken, 1 note" in result.out


def test_one_file_is_checked_with_the_images_that_are_named(tmp_path):
    path = write(tmp_path / "a", document(), "mine.json", images=False)
    write(tmp_path / "b", document())
    assert ticket("data", "check", path).code == 6
    assert ticket("data", "check", path, "--images", tmp_path / "b" / "images").code == 0


@pytest.mark.parametrize("content", ["{", '{"images": []}'])
def test_what_is_no_file_of_annotations_ends_with_code_6(tmp_path, content):
    result = ticket("data", "check", write(tmp_path, content))
    assert result.code == 6
    assert str(tmp_path / "instances_train.json") in result.err


def test_a_folder_is_looked_for_here_and_in_the_data_folder(tmp_path, monkeypatch):
    write(tmp_path / "sets" / "cups", document())
    monkeypatch.chdir(tmp_path)
    assert ticket("data", "check", "cups").code == 5
    assert ticket("data", "check", "cups", "--data-dir", "sets").code == 0
    assert ticket("data", "check", "sets/cups").code == 0


def test_paths_that_lead_nowhere(tmp_path):
    assert ticket("data", "check", tmp_path / "x").code == 5
    assert ticket("data", "check", tmp_path).code == 5
    path = write(tmp_path, document())
    assert ticket("data", "check", path, "--images", tmp_path / "x").code == 5
    assert ticket("data", "check", tmp_path, "--images", tmp_path).code == 2


def test_label_images_are_checked_too(tmp_path):
    assert ticket("data", "check", maps(tmp_path)).code == 0
    result = ticket("data", "check", spoil(tmp_path, "cut off"))
    assert result.code == 6
    assert "train/images/03.jpg: cut off" in result.out


def test_names_of_files_and_classes_cannot_speak_to_the_terminal(tmp_path):
    content = changed("images", 0, "file_name", to="\x1b[31mred[/bold].png")
    content["categories"][0]["name"] = "\x1b]0;title\x07"
    result = ticket("data", "check", write(tmp_path, content))
    assert result.code == 6
    assert "\x1b" not in result.out
    assert "red[/bold].png" in result.out


def test_checking_loads_no_torch(tmp_path):
    write(tmp_path, document())
    assert "nothing is broken" in start(HEAVY, "data", "check", tmp_path)
    assert start((*HEAVY, "numpy"), "data", "--help")


# ---------------------------------------------------------------------- writing


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "scenes"
    result = ticket("data", "write", "scenes", "--to", folder, "--images", "6", "--image-size", "40", "--json")
    assert result.code == 0, result
    assert json.loads(result.out) == {"folder": str(folder), "images": {"train": 6, "val": 100, "test": 200}}
    return folder


def test_what_is_written_is_whole(written):
    assert ticket("data", "check", written).code == 0
    assert sorted(path.name for path in written.iterdir()) == [
        "images", "instances_test.json", "instances_train.json", "instances_val.json",
    ]  # fmt: skip
    assert len(list((written / "images").iterdir())) == 306


def test_what_is_written_is_read_back_equal(written):
    before = load_splits("scenes", images=6, image_size=40)
    after = load_splits(f"coco:{written}", sources=sources(written))
    for one, other in ((before.train, after.train), (before.validation, after.validation), (before.test, after.test)):
        assert (one.class_names, one.category_ids) == (other.class_names, other.category_ids)
        assert len(one.pictures) == len(other.pictures)
        for index in range(0, len(one.pictures), 7):
            mine, read = one.pictures[index], other.pictures[index]
            assert (mine.id, mine.height, mine.width) == (read.id, read.height, read.width)
            assert mine.instances == read.instances
            assert np.array_equal(one.originals.read(index, 40), other.originals.read(index, 40))
            drawn = [[bitmap(one.segmentation, 40, 40) for one in picture.instances] for picture in (mine, read)]
            assert np.array_equal(*drawn)


def test_a_set_is_never_written_over_another(written):
    result = ticket("data", "write", "scenes", "--to", written, "--images", "6")
    assert result.code == 2
    assert "there is a set already" in result.err


def test_a_set_without_outlines_cannot_be_written(tmp_path):
    result = ticket("data", "write", "digits", "--to", tmp_path / "x")
    assert result.code == 2
    assert "nothing is outlined" in result.err
    assert not (tmp_path / "x").exists()


def test_a_set_of_files_can_be_written_again(written, tmp_path):
    result = ticket("data", "write", f"coco:{written}", "--to", tmp_path / "again")
    assert result.code == 0, result
    for part in ("train", "val", "test"):
        name = f"instances_{part}.json"
        assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes()


# ---------------------------------------------------------------------- --skip-bad


def test_skip_bad_is_short_for_data_broken_skip(tmp_path, monkeypatch):
    from ticketcli.cli import stage_command

    seen = []
    monkeypatch.setattr(stage_command, "_run", lambda spec, values, **settings: seen.append((spec.name, values)))
    for flags in (("--skip-bad",), ("--data.broken", "skip"), ("--data.broken", "refuse", "--skip-bad")):
        assert ticket("transfer", "--data", "coco:a", *flags).code == 0
    assert [values["data"]["broken"] for _, values in seen] == ["skip", "skip", "refuse"]
    assert seen[0] == ("transfer", {"data": {"name": "coco:a", "broken": "skip"}})
    assert ticket("transfer", "--data", "coco:a").code == 0
    assert seen[-1] == ("transfer", {"data": "coco:a"})


def test_stages_without_images_of_their_own_have_no_such_flag():
    assert "--skip-bad" not in ticket("rewind", "--help").out
    assert "--skip-bad" in ticket("pretrain", "--help").out
