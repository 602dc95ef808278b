import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketcli.errors import MismatchError
from ticketcli.metrics.confusion import Confusion

NAMES = ("background", "inside", "border")


def counted(predicted, wanted):
    confusion = Confusion(3)
    confusion.update(torch.tensor(predicted), torch.tensor(wanted, dtype=torch.uint8))
    return confusion


def test_a_known_answer():
    found = counted([[0, 0, 1], [1, 1, 0]], [[0, 1, 1], [1, 0, 255]]).measures(NAMES)
    assert found == {
        "miou": (1 / 3 + 2 / 4) / 2,
        "iou": {"background": 1 / 3, "inside": 2 / 4, "border": None},
        "pixel_accuracy": 3 / 5,
        "n": 5,
    }


def test_rows_are_the_truth_and_columns_what_was_said():
    assert counted([2, 2, 0], [1, 1, 0]).counts.tolist() == [[1, 0, 0], [0, 0, 2], [0, 0, 0]]


def test_a_class_that_is_said_but_not_there_counts_zero_and_one_in_neither_nothing():
    found = counted([0, 0, 0, 2], [0, 0, 0, 0]).measures(NAMES)
    assert found["iou"] == {"background": 3 / 4, "inside": None, "border": 0}
    assert found["miou"] == 3 / 8


def test_what_is_said_of_ignored_pixels_does_not_matter():
    assert counted([0, 77], [0, 255]).measures(NAMES)["pixel_accuracy"] == 1


def test_without_a_judged_pixel_there_is_no_measure():
    found = counted([0, 1], [255, 255]).measures(NAMES)
    assert found == {"miou": None, "iou": dict.fromkeys(NAMES), "pixel_accuracy": None, "n": 0}


@given(st.integers(0, 99), st.integers(1, 7))
def test_counts_do_not_depend_on_the_batches(seed, batch):
    draw = torch.Generator().manual_seed(seed)
    predicted = torch.randint(3, (7, 4, 5), generator=draw)
    wanted = torch.randint(4, (7, 4, 5), generator=draw)
    wanted[wanted == 3] = 255
    whole, parts = Confusion(3), Confusion(3)
    whole.update(predicted, wanted)
    for part in zip(predicted.split(batch), wanted.split(batch), strict=True):
        parts.update(*part)
    assert torch.equal(whole.counts, parts.counts)
    assert int(whole.counts.sum()) == int((wanted != 255).sum())


def test_labels_without_a_class_are_refused():
    with pytest.raises(MismatchError, match="predicted labels are 0 to 3, but there are 3 classes"):
        counted([0, 3], [0, 0])
    with pytest.raises(MismatchError, match="true labels are 0 to 9"):
        counted([0, 0], [0, 9])
    with pytest.raises(MismatchError, match="shapes"):
        counted([0, 0], [0])


def test_255_classes_are_the_most():
    with pytest.raises(ValueError, match="256 classes"):
        Confusion(256)
