import pytest
import torch

from tests.data.files import folder, noise, save, sources
from ticketcli.data.sets import load_splits
from ticketcli.data.table import natural_augment
from ticketcli.errors import CorruptError, InputMissing, MismatchError, UsageError


def load(root, kind="folder", **settings):
    return load_splits(
        f"{kind}:{root}", image_size=16, sources=sources(root, **settings.pop("process", {})), **settings
    )


def names(images):
    return [images.originals.name(k) for k in range(len(images.labels))]


def counts(splits):
    return tuple(splits.counts()[part] for part in ("train", "validation", "test"))


def test_val_serves_as_the_test_part_where_there_is_no_other(tmp_path):
    splits = load(folder(tmp_path, each=10))
    assert counts(splits) == (18, 2, 20)
    assert all(name.startswith("val/") for name in names(splits.test))
    assert all(name.startswith("train/") for name in names(splits.validation) + names(splits.train))
    assert not set(names(splits.train)) & set(names(splits.validation))


def test_with_test_beside_it_val_is_for_validation(tmp_path):
    splits = load(folder(tmp_path, parts=("train", "val", "test"), each=5))
    assert counts(splits) == (10, 10, 10)
    assert all(name.startswith("val/") for name in names(splits.validation))


@pytest.mark.parametrize("parts", [("",), ("train",)])
def test_a_heap_is_cut_80_10_10_in_every_class(tmp_path, parts):
    splits = load(folder(tmp_path, parts=parts, each=20))
    assert counts(splits) == (32, 4, 4)
    for part in (splits.train, splits.validation, splits.test):
        assert len(set(torch.bincount(part.labels).tolist())) == 1
    everything = names(splits.train) + names(splits.validation) + names(splits.test)
    assert len(everything) == len(set(everything)) == 40


def test_the_cut_hangs_on_the_split_seed_and_not_on_the_stages(tmp_path):
    folder(tmp_path, each=20)
    first = names(load(tmp_path).validation)
    assert first == names(load(tmp_path, seed=1).validation)
    assert first != names(load(tmp_path, split_seed=1).validation)


def test_the_share_of_validation_can_be_asked_for(tmp_path):
    assert counts(load(folder(tmp_path, each=20), validation=0.25)) == (30, 10, 40)


@pytest.mark.parametrize(
    ("settings", "where"), [({"validation": 0.5}, "data.validation"), ({"split_seed": 1}, "data.split_seed")]
)
def test_a_set_with_validation_images_of_its_own_is_not_cut(tmp_path, settings, where):
    folder(tmp_path, parts=("train", "val", "test"), each=3)
    for name in (f"folder:{tmp_path}", "digits"):
        with pytest.raises(UsageError, match="validation images of its own") as caught:
            load_splits(name, sources=sources(tmp_path), **settings)
        assert caught.value.where == where


def test_files_that_are_no_images_and_hidden_ones_do_not_count(tmp_path):
    folder(tmp_path, each=3)
    for name in ("notes.txt", "._000.jpg", ".hidden/000.jpg"):
        (tmp_path / "train" / "cat" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "train" / "cat" / name).write_text("x")
    (tmp_path / "train" / ".git").mkdir()
    (tmp_path / "train" / "readme.md").write_text("x")
    assert sum(counts(load(tmp_path))) == 12


def test_images_may_lie_deeper_and_behind_links_that_turn_in_circles(tmp_path):
    folder(tmp_path, each=3)
    save(tmp_path / "train" / "cat" / "black" / "x.PNG", noise(20, 20, 0))
    (tmp_path / "train" / "cat" / "loop").symlink_to(tmp_path / "train" / "cat")
    (tmp_path / "elsewhere").mkdir()
    save(tmp_path / "elsewhere" / "y.png", noise(20, 20, 1))
    (tmp_path / "train" / "cat" / "link").symlink_to(tmp_path / "elsewhere")
    splits = load(tmp_path)
    assert sum(counts(splits)) == 14
    assert {"train/cat/black/x.PNG", "train/cat/link/y.png"} <= set(names(splits.train) + names(splits.validation))


def test_relative_paths_lie_under_the_data_folder(tmp_path):
    folder(tmp_path / "pets", each=2)
    assert sum(counts(load_splits("folder:pets", sources=sources(tmp_path)))) == 8


def test_the_digest_of_the_list_follows_names_and_sizes(tmp_path):
    first = load(folder(tmp_path / "a", each=3)).files
    assert first == load(folder(tmp_path / "b", each=3)).files
    (folder(tmp_path / "c", each=3) / "train" / "cat" / "000.png").rename(tmp_path / "c" / "train" / "cat" / "009.png")
    assert first != load(tmp_path / "c").files
    assert len(first) == 16


def spoiled(root, kind):
    if kind == "stranger":
        save(root / "val" / "bird" / "0.png", noise(9, 9, 0))
    elif kind == "empty":
        (root / "train" / "eel").mkdir()
    elif kind == "flat":
        for name in ("train", "val"):
            (root / name).rename(root.parent / name)
        save(root / "0.png", noise(9, 9, 0))
    elif kind == "no train":
        (root / "train").rename(root.parent / "train")
    return root


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("stranger", MismatchError, "'val' has a class 'bird'"),
        ("empty", InputMissing, "the class 'eel' has no images"),
        ("flat", InputMissing, "there are no class folders"),
        ("no train", InputMissing, "there is val/ but no train/"),
    ],
)
def test_a_folder_that_cannot_be_meant_is_refused(tmp_path, kind, error, message):
    root = spoiled(folder(tmp_path / "set", each=2), kind)
    with pytest.raises(error, match=message):
        load(root)


def test_a_missing_folder_says_where_relative_paths_lie(tmp_path):
    with pytest.raises(InputMissing, match="no such folder") as caught:
        load_splits("folder:nowhere", sources=sources(tmp_path))
    assert caught.value.where == str(tmp_path / "nowhere")
    assert "--data-dir" in caught.value.hint


@pytest.mark.parametrize("name", ["folder", "folder:", "images", "mnist:here", "folders:here"])
def test_a_path_belongs_to_the_sets_that_take_one(name):
    with pytest.raises(UsageError, match="unknown image set"):
        load_splits(name)


def test_images_without_classes_have_no_labels_and_no_test_part(tmp_path):
    for k in range(20):
        save(tmp_path / f"{k % 3}" / f"{k}.png", noise(20, 20, k))
    splits = load(tmp_path, "images", per_class=10)
    assert counts(splits) == (10, 2, 0)
    assert not splits.train.labelled
    assert splits.train.class_names == ()
    assert not splits.train.labels.any()


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputMissing, match="there are no images"):
        load(tmp_path, "images")


def test_large_images_are_cropped_and_resized_small_ones_moved():
    assert natural_augment("folder:x", 224) == natural_augment("imagenet", 64) == "resized-crop"
    assert natural_augment("folder:x", 64) == natural_augment("images:x", 64) == "crop-flip"


# ---------------------------------------------------------------------- broken files


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ticketcli" / "broken"


def broken_folder(root, broken=("train/dog/001.jpg", "val/cat/002.jpg")):
    folder(root, each=6)
    for name in broken:
        assert (root / name).is_file()
        (root / name).write_bytes((root / name).read_bytes()[:100])
    return root


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_files_are_left_out_when_that_is_asked(tmp_path, cache, workers):
    splits = load(broken_folder(tmp_path / "set"), broken="skip", process={"workers": workers})
    assert splits.skipped == ("train/dog/001.jpg", "val/cat/002.jpg")
    assert counts(splits) == (9, 2, 11)
    assert splits.counts()["skipped"] == 2
    assert not set(splits.skipped) & set(names(splits.train) + names(splits.validation) + names(splits.test))
    assert all(part.in_memory() is not None for part in (splits.train, splits.validation, splits.test))


def test_all_files_are_tried_once_and_again_when_one_of_them_changes(tmp_path, cache):
    root, heard = broken_folder(tmp_path / "set"), []

    def again():
        from ticketcli.data import sets

        sets._whole.cache_clear()
        sets._splits.cache_clear()
        heard.clear()
        skipped = load(root, broken="skip", process={"tell": heard.append}).skipped
        return len(skipped), any("to find the broken ones" in getattr(event, "text", "") for event in heard)

    assert again() == (2, True)
    assert again() == (2, False)
    save(root / "train" / "dog" / "001.jpg", noise(30, 30, 0))
    assert again() == (1, True)
    for memory in cache.iterdir():
        memory.write_text('{"broken": 7}')
    assert again() == (1, True)


def test_a_cache_that_cannot_be_written_is_said_and_nothing_more(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    heard = []
    splits = load(broken_folder(tmp_path / "set"), broken="skip", process={"tell": heard.append})
    assert len(splits.skipped) == 2
    assert any("cannot be remembered" in getattr(event, "text", "") for event in heard)


def test_a_class_that_is_broken_altogether_is_refused(tmp_path, cache):
    root = broken_folder(tmp_path / "set")
    for path in (root / "train" / "cat").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(CorruptError, match="all training images of class 'cat' are broken"):
        load(root, broken="skip")
