"""Real images, where they are at hand: unpacked into the form in which people have them."""

from pathlib import Path

import pytest
import torch

from tests.data.files import sources
from ticketcli.data.batches import Batches, in_order
from ticketcli.data.mnist import FASHION
from ticketcli.data.sets import load_splits

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
CPU = torch.device("cpu")


def check_statistics(splits):
    """The recorded normalisation is that of the training images (validation included)."""
    together = torch.cat([splits.train.images, splits.validation.images]).double() / 255
    assert abs(float(together.mean()) - splits.normalization.mean[0]) < 5e-5
    assert abs(float(together.std()) - splits.normalization.std[0]) < 5e-5


def test_the_real_mnist(unpacked):
    splits = load_splits("mnist", sources=sources(unpacked("mnist")))
    assert splits.counts() == {"train": 54001, "validation": 5999, "test": 10000}
    assert torch.bincount(splits.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert splits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    check_statistics(splits)


def test_the_real_fashion_mnist():
    if not Path(FASHION.folders[-1]).is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    splits = load_splits("fashion-mnist", sources=sources(Path("nowhere")))
    assert splits.counts() == {"train": 54000, "validation": 6000, "test": 10000}
    assert torch.bincount(splits.test.labels).tolist() == [1000] * 10
    check_statistics(splits)


def batch(images, augment, place):
    made = Batches(images, normalization=PLAIN.normalization, batch=64, seed=0, augment=augment, device=CPU)
    return made.at(*place)[0]


PLAIN = load_splits("digits")


@pytest.mark.slow
def test_tiny_imagenet_as_a_folder_in_memory_and_on_the_fly(unpacked):
    root = unpacked("tiny-imagenet")
    held = load_splits(f"folder:{root}", image_size=64, sources=sources(root, 2))
    assert {part: held.counts()[part] for part in ("train", "validation", "test")} == {
        "train": 18000, "validation": 2000, "test": 5000,
    }  # fmt: skip
    shown = torch.cat([labels for _, labels in in_order(held.test, held.normalization, 512, CPU)])
    assert torch.equal(shown, held.test.labels)
    large = load_splits(f"folder:{root}", image_size=224, sources=sources(root, 2)).train
    assert large.in_memory() is None
    few = load_splits(f"folder:{root}", image_size=224, per_class=1, sources=sources(root, 0)).train
    assert few.in_memory() is not None
    for augment in ("crop-flip", "resized-crop"):
        one, two = (batch(large, augment, (0, 1)) for _ in range(2))
        assert torch.equal(one, two)


@pytest.mark.slow
def test_cifar10_as_jpegs_is_read_whole(unpacked):
    root = unpacked("cifar10-jpeg")
    splits = load_splits(f"folder:{root}", image_size=32, sources=sources(root, 2))
    assert splits.counts()["train"] == 45000
    held = splits.train.in_memory()
    assert held.images.shape == (45000, 32, 32, 3)
    assert torch.bincount(held.labels).tolist() == [4500] * 10
