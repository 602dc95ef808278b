import json

import numpy as np
import pytest
import torch

from tests.annotations.small_set import SIZES, changed, document, write
from tests.data.files import noise, save, sources
from ticketcli.data.sets import load_splits
from ticketcli.errors import CorruptError, InputMissing, UsageError
from ticketcli.events import Note


def load(root, name=None, told=None, **settings):
    where = sources(root, **({} if told is None else {"tell": told.append}))
    return load_splits(name or f"coco:{root}", sources=where, **settings)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def many(root, part, n, folder="images", **changes):
    """A part of n images in files, image k with one object of each class."""
    content = {"categories": document()["categories"], "images": [], "annotations": []}
    for number in range(n):
        name = f"{part}-{number}.png"
        save(root / folder / name, noise(20, 30, number))
        content["images"].append({"id": number, "file_name": name, "height": 20, "width": 30})
        for label, category in enumerate((2, 13, 90)):
            content["annotations"].append(
                {"id": 3 * number + label, "image_id": number, "category_id": category, "bbox": [label, 2, 3, 4]}
            )
    content |= changes
    (root / f"instances_{part}.json").write_text(json.dumps(content))
    return root


def names(images):
    return [picture.file_name for picture in images.pictures]


def test_val_serves_as_the_test_part_and_validation_is_cut_off_train(tmp_path):
    splits = load(many(many(tmp_path, "train", 20), "val", 5))
    assert splits.counts() == {"train": 18, "validation": 2, "test": 5} | {"files": splits.files, "skipped": 0}
    assert all(name.startswith("val") for name in names(splits.test))
    assert sorted(names(splits.train) + names(splits.validation)) == sorted(f"train-{k}.png" for k in range(20))
    assert (
        names(splits.validation) == names(load(tmp_path).validation) != names(load(tmp_path, split_seed=1).validation)
    )


def test_with_a_test_part_val_is_for_validation(tmp_path):
    for part, n in (("train", 5), ("val", 3), ("test", 4)):
        many(tmp_path, part, n)
    splits = load(tmp_path)
    assert [len(part.pictures) for part in (splits.train, splits.validation, splits.test)] == [5, 3, 4]
    assert all(name.startswith("val") for name in names(splits.validation))


def test_a_heap_is_cut(tmp_path):
    splits = load(many(tmp_path, "default", 20))
    assert [len(part.pictures) for part in (splits.train, splits.validation, splits.test)] == [16, 2, 2]


def test_pixels_and_pictures_stay_together_when_images_are_taken(tmp_path):
    splits = load(many(many(tmp_path, "train", 9), "val", 2))
    chosen = splits.train.take(torch.tensor([4, 0, 4]))
    for index, picture in enumerate(chosen.pictures):
        number = int(picture.file_name.partition("-")[2].partition(".")[0])
        assert np.array_equal(chosen.originals.read(index, 800).numpy(), noise(20, 30, number))
        assert picture.instances[0].id == 3 * number


def test_large_jpegs_come_at_full_scale(tmp_path):
    content = changed("images", 0, "file_name", to="007.jpg") | {"annotations": []}
    content["images"][0] |= {"height": 400, "width": 600}
    write(tmp_path, content)
    save(tmp_path / "images" / "007.jpg", noise(400, 600, 1))
    splits = load(tmp_path)
    part = next(part for part in (splits.train, splits.validation, splits.test) if part.pictures[0].id == 7)
    assert part.originals.read(0, 2**30).shape == (400, 600, 3)


def test_the_usual_side_is_the_middle_of_the_shorter_sides(tmp_path):
    write(tmp_path, document())
    assert load(tmp_path).train.size == sorted(min(size) for size in SIZES.values())[1] == 40
    assert load(tmp_path, image_size=64).train.size == 64


def test_classes_keep_their_objects_and_all_pictures(tmp_path):
    splits = load(many(many(tmp_path, "train", 9), "val", 2), classes=(2, 0))
    assert splits.train.class_names == ("brush", "cup")
    assert splits.train.category_ids == (90, 2)
    assert len(splits.train.pictures) + len(splits.validation.pictures) == 9
    for picture in (*splits.train.pictures, *splits.test.pictures):
        assert [(one.label, one.box[0]) for one in picture.instances] == [(1, 0.0), (0, 2.0)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"classes": (3,)}, "no class 3"), ({"classes": (1, 1)}, "listed twice"), ({"classes": ()}, "there are none"),
        ({"per_class": 2}, "of no one class"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_of_outlined_objects(tmp_path, settings, words):
    with pytest.raises(UsageError, match=words):
        load(many(many(tmp_path, "train", 9), "val", 2), **settings)


def test_broken_entries_of_all_parts_end_it_with_the_first_named(tmp_path):
    write(tmp_path, changed("annotations", 0, "bbox", to=[0, 0, 0, 0]))
    write(tmp_path, changed("annotations", 1, "category_id", to=77), "instances_val.json", images=False)
    with pytest.raises(CorruptError, match="2 broken entries: ") as caught:
        load(tmp_path)
    assert "instances_train.json annotations[0].bbox: 0 x 0 pixels (annotation 1, image 7)" in caught.value.what
    assert "instances_val.json annotations[1].category_id" in caught.value.what
    assert f"ticket data check {tmp_path}" in caught.value.hint
    assert "--skip-bad" in caught.value.hint


def test_notes_end_nothing(tmp_path):
    write(tmp_path, changed("annotations", 0, "iscrowd", to=1))
    assert load(tmp_path).skipped == ()


def test_broken_entries_are_left_out_and_listed_when_that_is_asked(tmp_path, cache):
    many(tmp_path, "train", 9)
    many(tmp_path, "val", 2)
    content = json.loads((tmp_path / "instances_train.json").read_text())
    content["annotations"][4]["bbox"] = [0, 0, 0, 0]
    content["images"][7]["height"] = 21
    (tmp_path / "instances_train.json").write_text(json.dumps(content))
    (tmp_path / "images" / "train-2.png").unlink()
    told = []
    splits = load(tmp_path, broken="skip", told=told)
    pictures = {picture.id: picture for picture in (*splits.train.pictures, *splits.validation.pictures)}
    assert sorted(pictures) == [0, 1, 3, 4, 5, 6, 8]
    assert [one.id for one in pictures[1].instances] == [3, 5]
    assert len(splits.skipped) == splits.counts()["skipped"] == 3
    assert any("annotations[4].bbox" in line for line in splits.skipped)
    said = "\n".join(str(event) for event in told if isinstance(event, Note))
    assert all(words in said for words in ("annotations[4].bbox", "train-2.png is not there", "images[7].file_name"))


def test_an_image_whose_middle_is_damaged_is_found_when_broken_ones_are_left_out(tmp_path, cache):
    many(many(tmp_path, "train", 9), "val", 2)
    path = tmp_path / "images" / "train-3.png"
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :: 3] = bytes(len(data[len(data) // 2 :: 3]))
    path.write_bytes(bytes(data[:-12]) + b"\0\0\0\0IEND\xaeB`\x82")
    splits = load(tmp_path, broken="skip")
    assert splits.skipped == ("images/train-3.png: cannot be decoded",)
    assert len(splits.train.pictures) + len(splits.validation.pictures) == 8
    assert 3 not in {picture.id for picture in (*splits.train.pictures, *splits.validation.pictures)}


def test_nothing_left_to_train_on_is_said(tmp_path, cache):
    write(tmp_path, document(), images=False)
    with pytest.raises(CorruptError, match="no training image is left"):
        load(tmp_path, broken="skip")


def test_what_a_result_rests_on_hangs_on_the_annotations_too(tmp_path):
    before = load(many(many(tmp_path, "train", 9), "val", 2)).files
    content = json.loads((tmp_path / "instances_val.json").read_text())
    content["annotations"].pop()
    (tmp_path / "instances_val.json").write_text(json.dumps(content))
    from ticketcli.data import sets

    sets._whole.cache_clear()
    sets._splits.cache_clear()
    assert len(before) == 16
    assert load(tmp_path).files != before


def test_coco_itself_lies_in_the_data_folder_as_it_unpacks(tmp_path):
    for part, n in (("train", 60), ("val", 4)):
        many(tmp_path / "coco", part, n, folder=f"{part}2017")
        (tmp_path / "coco" / "annotations").mkdir(exist_ok=True)
        (tmp_path / "coco" / f"instances_{part}.json").rename(
            tmp_path / "coco" / "annotations" / f"instances_{part}2017.json"
        )
    told = []
    splits = load(tmp_path, "coco", told)
    assert splits.train.size == 800
    assert [len(part.pictures) for part in (splits.train, splits.validation, splits.test)] == [59, 1, 4]
    assert any("118,287 + 5,000 were published" in str(event) for event in told)


def test_where_coco_is_expected_and_had_from_is_said(tmp_path):
    with pytest.raises(InputMissing, match="'coco' is not here") as caught:
        load(tmp_path, "coco")
    assert str(tmp_path / "coco") in caught.value.where
    for words in ("instances_train2017.json", "val2017/", "--data-dir", "cocodataset.org"):
        assert words in caught.value.hint


def test_a_folder_that_is_not_there_or_has_no_training_part(tmp_path):
    with pytest.raises(InputMissing, match="no such folder"):
        load(tmp_path, "coco:x")
    with pytest.raises(InputMissing, match="no training part"):
        load(many(tmp_path, "val", 2))


def test_without_its_path_or_its_colon_other_names_stay_unknown(tmp_path):
    for name in ("maps", "folder", "digits:x"):
        with pytest.raises(UsageError, match="unknown image set"):
            load(tmp_path, name)
