import numpy as np
import pytest
from scipy.io import savemat

from tests.data.files import folder, noise, save, sources
from ticketcli.data.sets import load_splits
from ticketcli.errors import CorruptError, InputMissing, MismatchError

WNIDS = ("n02084071", "n01440764", "n02121808")  # sorted: 1, 0, 2
KIT = "ILSVRC2012_devkit_t12"
TRUTH = [1, 3, 2, 2, 1, 3]  # the kit's numbers of the validation images, in the order of WNIDS


def load(root, **settings):
    return load_splits("imagenet", image_size=32, sources=sources(root), **settings)


def meta(root):
    """meta.mat as the development kit has it: leaves first, then a class that is only a parent."""
    kinds = [(name, object) for name in ("ILSVRC2012_ID", "WNID", "words", "num_children")]
    rows = [(np.uint16(n), wnid, "words", np.uint8(0)) for n, wnid in enumerate(WNIDS, 1)] + [(4, "n00001740", "x", 3)]
    (root / KIT / "data").mkdir(parents=True)
    savemat(root / KIT / "data" / "meta.mat", {"synsets": np.array(rows, dtype=kinds)[:, None]})
    (root / KIT / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text("\n".join(map(str, TRUTH)) + "\n")


def flat(root):
    folder(root, parts=("train",), classes=WNIDS, each=4)
    for number in range(1, 7):
        save(root / "val" / f"ILSVRC2012_val_{number:08d}.JPEG", noise(40, 40, number))
    meta(root)
    return root


@pytest.mark.parametrize("place", ["imagenet", "ILSVRC2012", ""])
def test_classes_are_in_torchvisions_order_and_the_official_validation_is_the_test_part(tmp_path, place):
    folder(tmp_path / place, parts=("train", "val"), classes=WNIDS, each=4)
    splits = load(tmp_path)
    assert splits.train.class_names == tuple(sorted(WNIDS))
    assert splits.test.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert splits.test.originals.name(0).startswith("val/n01440764/")
    assert splits.counts()["validation"] == 3  # 2 %, and one of each class at least
    assert splits.counts()["train"] == 9


def test_torchvision_agrees_on_the_order(tmp_path):
    from torchvision.datasets import ImageFolder

    root = folder(tmp_path, parts=("train", "val"), classes=WNIDS, each=4)
    theirs = ImageFolder(root / "val")
    test = load(root).test
    assert list(test.class_names) == theirs.classes
    assert [(str(root / test.originals.name(k)), int(label)) for k, label in enumerate(test.labels)] == theirs.samples


def test_flat_validation_images_are_sorted_by_the_development_kit(tmp_path):
    splits = load(flat(tmp_path))
    wanted = [sorted(WNIDS).index(WNIDS[number - 1]) for number in TRUTH]
    assert splits.test.labels.tolist() == wanted


def test_the_number_in_a_name_counts_not_its_place_in_the_list(tmp_path):
    root = flat(tmp_path)
    (root / "val" / "ILSVRC2012_val_00000002.JPEG").unlink()
    wanted = [sorted(WNIDS).index(WNIDS[number - 1]) for number in (TRUTH[0], *TRUTH[2:])]
    assert load(root).test.labels.tolist() == wanted


def test_flat_images_without_the_development_kit_are_missing_it(tmp_path):
    root = flat(tmp_path)
    (root / KIT / "data" / "meta.mat").unlink()
    with pytest.raises(InputMissing, match="the development kit is missing") as caught:
        load(root)
    assert caught.value.where.endswith("meta.mat")


@pytest.mark.parametrize("content", [b"", b"MATLAB", b"\0" * 200])
def test_a_damaged_development_kit_is_named(tmp_path, content):
    root = flat(tmp_path)
    (root / KIT / "data" / "meta.mat").write_bytes(content)
    with pytest.raises(CorruptError, match="not a readable list of classes"):
        load(root)


def test_an_image_that_the_kit_does_not_know_is_refused(tmp_path):
    root = flat(tmp_path)
    save(root / "val" / "ILSVRC2012_val_00000007.JPEG", noise(40, 40, 0))
    with pytest.raises(MismatchError, match=r"knows no validation image val/ILSVRC2012_val_00000007\.JPEG"):
        load(root)


def test_a_class_that_is_not_trained_on_is_refused(tmp_path):
    root = flat(tmp_path)
    (root / "train" / WNIDS[2]).rename(root / "elsewhere")
    with pytest.raises(MismatchError, match=rf"class 3 \({WNIDS[2]}\) is not in train/"):
        load(root)


def test_a_missing_set_says_what_is_expected_and_who_has_it(tmp_path):
    with pytest.raises(InputMissing, match="'imagenet' is not here") as caught:
        load(tmp_path)
    assert "train/WNID/" in caught.value.hint
    assert "image-net.org" in caught.value.hint
    assert "--download" not in caught.value.hint
