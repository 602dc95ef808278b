import gzip
import struct

import numpy as np
import pytest
import torch

from tests.data.files import sources
from ticketcli.data.images import ImageSet
from ticketcli.data.mnist import CLOTHES, FASHION
from ticketcli.data.sets import load_splits
from ticketcli.errors import CorruptError, InputMissing

TRAIN, TEST = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)


def idx(values):
    head = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.astype(np.uint8).tobytes()


def images(n, seed):
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28), dtype=np.uint8)


def write(folder, *, packed=False):
    folder.mkdir(parents=True)
    for (images_name, labels_name), n in ((TRAIN, 40), (TEST, 20)):
        for name, values in ((images_name, images(n, n)), (labels_name, np.arange(n) % 10)):
            path = folder / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(idx(values)) if packed else idx(values))
    return folder


@pytest.mark.parametrize("place", ["MNIST/raw", "mnist/MNIST/raw", "mnist"])
@pytest.mark.parametrize("packed", [True, False])
def test_mnist_is_found_and_padded_to_32_pixels_of_one_channel(tmp_path, place, packed):
    write(tmp_path / place, packed=packed)
    test = load_splits("mnist", sources=sources(tmp_path)).test
    assert isinstance(test, ImageSet)
    assert test.images.shape == (20, 32, 32, 1)
    assert np.array_equal(test.images[:, 2:30, 2:30, 0].numpy(), images(20, 20))
    assert int(test.images.sum()) == int(images(20, 20).sum())
    assert test.labels.tolist() == [number % 10 for number in range(20)]


def test_a_tenth_of_each_class_is_cut_off_for_validation(tmp_path):
    write(tmp_path / "mnist")
    splits = load_splits("mnist", sources=sources(tmp_path))
    assert torch.bincount(splits.validation.labels).tolist() == [1] * 10
    assert torch.bincount(splits.train.labels).tolist() == [3] * 10


def test_fashion_mnist_has_names_and_lies_where_torchvision_or_debian_puts_it(tmp_path):
    write(tmp_path / "FashionMNIST" / "raw", packed=True)
    splits = load_splits("fashion-mnist", sources=sources(tmp_path))
    assert splits.train.class_names == CLOTHES
    assert FASHION.folders[-1] == "/usr/share/datasets/fashion-mnist"


def test_other_counts_than_were_published_are_said(tmp_path):
    write(tmp_path / "mnist")
    heard = []
    load_splits("mnist", sources=sources(tmp_path, tell=heard.append))
    assert "mnist has 40 + 20 images here; 60,000 + 10,000 were published" in heard[0].text


def spoil(content, kind):
    return {
        "magic": b"\x00\x00\x0d\x03" + content[4:],
        "short": content[:-1],
        "long": content + b"\0",
        "empty": b"",
        "head": content[:9],
        "huge": content[:4] + b"\xff" * 12 + content[16:],
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("magic", "begins with 00000d03"),
        ("short", "the header says 40 x 28 x 28"),
        ("long", "the header says"),
        ("empty", "begins with nothing"),
        ("head", "not an IDX file"),
        ("huge", "the header says"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, kind, message):
    path = write(tmp_path / "mnist") / TRAIN[0]
    path.write_bytes(spoil(path.read_bytes(), kind))
    with pytest.raises(CorruptError, match=message) as caught:
        load_splits("mnist", sources=sources(tmp_path))
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-9], lambda raw: raw[:40] + bytes(40) + raw[80:], lambda raw: b"no"]
)
def test_a_damaged_gzip_is_named(tmp_path, damage):
    path = write(tmp_path / "mnist", packed=True) / f"{TEST[0]}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptError, match="cannot be read") as caught:
        load_splits("mnist", sources=sources(tmp_path))
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (TRAIN[1], np.arange(39), "40 images and 39 labels"),
        (TRAIN[1], np.full(40, 10), "a label is 10"),
        (TRAIN[0], np.zeros((40, 27, 28)), "images of 27x28"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(tmp_path, name, values, message):
    (write(tmp_path / "mnist") / name).write_bytes(idx(values))
    with pytest.raises(CorruptError, match=message):
        load_splits("mnist", sources=sources(tmp_path))


def test_what_is_missing_is_named_with_the_ways_to_get_it(tmp_path):
    with pytest.raises(InputMissing, match="the image set 'mnist' is not here") as caught:
        load_splits("mnist", sources=sources(tmp_path))
    assert str(tmp_path / "MNIST" / "raw") in caught.value.where
    assert "train-images-idx3-ubyte" in caught.value.hint
    assert "--data-dir" in caught.value.hint
    assert "--download" in caught.value.hint


def test_an_incomplete_set_names_the_missing_file(tmp_path):
    (write(tmp_path / "mnist") / TEST[1]).unlink()
    with pytest.raises(InputMissing, match="'mnist' is incomplete") as caught:
        load_splits("mnist", sources=sources(tmp_path))
    assert caught.value.hint.startswith(f"expected {TEST[1]};")
    assert caught.value.where == str(tmp_path / "mnist")
