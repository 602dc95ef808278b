import numpy as np
import pytest
from scipy.io import savemat

from tests.data.files import sources
from ticketcli.data.sets import load_splits
from ticketcli.errors import CorruptError, InputMissing


def pixels(n, seed):
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3, n), dtype=np.uint8)


def write(folder, **changed):
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (part, n) in enumerate((("train", 60), ("test", 20))):
        values = {"X": pixels(n, seed), "y": (np.arange(n) % 10 + 1).astype(np.uint8)[:, None]}
        savemat(folder / f"{part}_32x32.mat", values | changed, do_compression=True)
    return folder


@pytest.mark.parametrize("place", ["svhn", "SVHN", ""])
def test_images_come_upright_and_the_label_10_is_the_digit_0(tmp_path, place):
    write(tmp_path / place)
    test = load_splits("svhn", sources=sources(tmp_path)).test
    assert test.images.shape == (20, 32, 32, 3)
    assert np.array_equal(test.images[7].numpy(), pixels(20, 1)[..., 7])
    assert test.labels.tolist() == [(k % 10 + 1) % 10 for k in range(20)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"X": pixels(3, 0).astype(np.float64)}, "X is float64"),
        ({"X": pixels(3, 0)[:31]}, "31 x 32 x 3 x 3"),
        ({"y": np.ones((5, 1))}, "60 images and 5 labels"),
        ({"y": np.zeros((60, 1))}, "a label is not in 1 .. 10"),
    ],
)
def test_another_content_is_refused(tmp_path, changed, message):
    write(tmp_path, **changed)
    with pytest.raises(CorruptError, match=message):
        load_splits("svhn", sources=sources(tmp_path))


@pytest.mark.parametrize(
    "damage", [lambda raw: b"", lambda raw: raw[:300], lambda raw: b"hello", lambda raw: raw[:128]]
)
def test_a_damaged_file_is_named(tmp_path, damage):
    path = write(tmp_path) / "train_32x32.mat"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptError, match="not a readable MATLAB file") as caught:
        load_splits("svhn", sources=sources(tmp_path))
    assert caught.value.where == str(path)


def test_a_missing_set_names_its_files(tmp_path):
    with pytest.raises(InputMissing, match="'svhn' is not here") as caught:
        load_splits("svhn", sources=sources(tmp_path))
    assert "train_32x32.mat, test_32x32.mat" in caught.value.hint
