import numpy as np
import pytest
import torch

from tests.data.files import noise, save, sources
from ticketcli.annotations.label_images import find_labelled
from ticketcli.data.images import Normalization
from ticketcli.data.sets import load_splits
from ticketcli.data.views import views_in_order
from ticketcli.errors import CorruptError, InputMissing, UsageError


def labels(height, width, number):
    found = np.random.default_rng(number).integers(0, 3, (height, width), dtype=np.uint8)
    found[0, 0] = 255
    return found


def maps(root, *, parts=("train", "val"), n=10, names="sky\nroad\ncar\n"):
    for part in parts:
        for k in range(n):
            size = (20 + k % 3, 30)
            save(root / part / "images" / f"{k:02d}.{'jpg' if k % 2 else 'png'}", noise(*size, k))
            save(root / part / "labels" / f"{k:02d}.png", labels(*size, k))
    if names:
        (root / "classes.txt").write_text(names)
    return root


def load(root, **settings):
    return load_splits(f"maps:{root}", sources=sources(root), **settings)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def shown(images):
    normalization = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    cpu = torch.device("cpu")
    return views_in_order(images, normalization, short_side=20, long_side=99, batch=2, masks=True, device=cpu)


def test_pictures_have_label_images_and_no_objects(tmp_path):
    splits = load(maps(tmp_path))
    assert [len(part.pictures) for part in (splits.train, splits.validation, splits.test)] == [9, 1, 10]
    picture = splits.test.pictures[1]
    assert (picture.file_name, picture.labels) == ("val/images/01.jpg", "val/labels/01.png")
    assert (picture.height, picture.width, picture.instances) == (21, 30, ())
    assert splits.train.class_names == ("sky", "road", "car")
    assert splits.train.size == 21


def test_the_label_image_of_each_image_is_the_one_that_is_shown(tmp_path):
    splits = load(maps(tmp_path))
    seen = 0
    for batch in shown(splits.test):
        for index, objects in zip(batch.indices, batch.objects, strict=True):
            if splits.test.pictures[index].height == 20:
                assert np.array_equal(objects.label_map.numpy(), labels(20, 30, index))
                seen += 1
    assert seen == 4


def test_without_names_classes_are_numbers_up_to_the_largest(tmp_path):
    assert load(maps(tmp_path, names="")).train.class_names == ("0", "1", "2")


def test_a_value_of_no_class_is_found_when_it_is_read(tmp_path):
    splits = load(maps(tmp_path, names="sky\nroad\n"))
    with pytest.raises(CorruptError, match="pixels of class 2"):
        list(shown(splits.test))


@pytest.mark.parametrize("names", ["a\n\nb\n", "a\na\n", "\n" * 3, "\n".join(map(str, range(256)))])
def test_a_list_of_names_that_is_none(tmp_path, names):
    with pytest.raises(CorruptError, match="not a list of names"):
        load(maps(tmp_path, names=names))


def spoil(root, how):
    train = root / "train"
    if how == "image without a label image":
        (train / "labels" / "03.png").unlink()
    elif how == "label image without an image":
        (train / "images" / "03.jpg").unlink()
    elif how == "2 images for one":
        save(train / "images" / "03.webp", noise(20, 30, 3))
    elif how == "20 x 30 pixels, its image 30 x 20":
        save(train / "labels" / "03.png", labels(30, 20, 3))
    elif how == "cut off":
        path = train / "images" / "03.jpg"
        path.write_bytes(path.read_bytes()[:-9])
    return root


FAULTS = {
    "image without a label image": "missing-file", "label image without an image": "missing-file",
    "2 images for one": "duplicate-file", "20 x 30 pixels, its image 30 x 20": "other-size",
    "cut off": "unreadable-file",
}  # fmt: skip


@pytest.mark.parametrize("how", FAULTS)
def test_what_is_wrong_with_a_pair_is_found_refused_or_left_out(tmp_path, cache, how):
    spoil(maps(tmp_path), how)
    found = find_labelled(tmp_path)["train"]
    assert [fault.kind for fault in found.faults] == [FAULTS[how]]
    assert how in found.faults[0].what
    assert len(found.pictures) == 9
    with pytest.raises(CorruptError, match="1 broken entry: train/ ") as caught:
        load(tmp_path)
    assert "--skip-bad" in caught.value.hint
    splits = load(tmp_path, broken="skip")
    assert len(splits.train.pictures) + len(splits.validation.pictures) == 9
    assert len(splits.skipped) == 1


def test_what_cannot_be_asked_of_label_images(tmp_path):
    for settings, words in (({"classes": (1,)}, "cannot be narrowed"), ({"per_class": 1}, "no one class")):
        with pytest.raises(UsageError, match=words):
            load(maps(tmp_path), **settings)


def test_a_folder_without_label_images_or_training_part(tmp_path):
    with pytest.raises(InputMissing, match="no such folder"):
        load(tmp_path / "x")
    with pytest.raises(InputMissing, match="no label images"):
        load(tmp_path)
    with pytest.raises(InputMissing, match="no train/"):
        load(maps(tmp_path, parts=("val",)))
