import pytest
import torch

from tests.data.outlined import outlined
from tests.stages.coloured import coloured, wanted
from ticketcli.errors import UsageError
from ticketcli.stages.sought import matched

CPU = torch.device("cpu")
LEFT, RIGHT, LOW = (2, 4, 12, 14), (24, 10, 44, 34), (4, 24, 16, 36)


def rows(found, batch=8):
    return [
        (row, image)
        for first, part in found.numbered()
        for shown in found.batches(part, batch, CPU)
        for images, some in found.rows(first, shown)
        for row, image in zip(some, images, strict=True)
    ]


def test_a_row_is_an_image_and_a_class_with_all_its_boxes(tmp_path):
    images = coloured(tmp_path, [(0, LEFT), (1, RIGHT), (0, LOW)], [(1, LEFT)])
    found = [(row.image, row.label, row.boxes.tolist()) for row, _ in rows(wanted(images))]
    assert found == [(0, 0, [list(LEFT), list(LOW)]), (0, 1, [list(RIGHT)]), (1, 1, [list(LEFT)])]


def test_a_rows_mask_covers_the_objects_of_its_class_alone(tmp_path):
    images = coloured(tmp_path, [(0, LEFT), (1, RIGHT), (0, LOW)])
    (red, _), (green, _) = rows(wanted(images))
    assert red.mask.sum() == 10 * 10 + 12 * 12
    assert green.mask.sum() == 20 * 24
    assert not (red.mask & green.mask).any()


def test_a_crowd_is_no_object(tmp_path):
    images = coloured(tmp_path, [(0, LEFT), (1, RIGHT)], crowds=[(0, 1)])
    assert [(row.image, row.label) for row, _ in rows(wanted(images))] == [(0, 0)]


def test_images_come_without_what_was_filled_up_around_them(tmp_path):
    images = outlined(tmp_path)  # of five sizes, in batches of one padded size
    for row, image in rows(wanted(images, side=30)):
        assert image.shape[1:] == row.mask.shape
        assert image.shape[1:] != (32, 32)
        assert row.boxes[:, 2:].max() <= max(row.mask.shape) + 1e-3


def test_several_classes_of_a_set_may_be_one_of_the_networks(tmp_path):
    images = coloured(tmp_path, [(0, LEFT), (1, RIGHT)])
    ((row, _),) = rows(wanted(images, labels={0: 1, 1: 1}))
    assert row.label == 1
    assert len(row.boxes) == 2


def test_what_the_network_does_not_know_makes_no_row(tmp_path):
    images = coloured(tmp_path, [(0, LEFT), (1, RIGHT)])
    assert [row.label for row, _ in rows(wanted(images, labels={1: 0}))] == [0]


def test_images_are_numbered_through_all_parts_and_can_be_looked_at_again(tmp_path):
    first = coloured(tmp_path / "a", [(0, LEFT)], [(1, RIGHT)])
    second = coloured(tmp_path / "b", [(0, LOW), (1, RIGHT)])
    found = wanted(first, second)
    each = rows(found)
    assert [(row.image, row.label) for row, _ in each] == [(0, 0), (1, 1), (2, 0), (2, 1)]
    for row, image in each:
        again, same = found.row(row.image, row.label, CPU)
        assert torch.equal(again[0], image)
        assert torch.equal(same.boxes, row.boxes)
    assert found.picture(2).file_name == "0.png"


def test_many_rows_of_a_batch_come_in_parts(tmp_path):
    images = coloured(tmp_path, *[[(0, LEFT), (1, RIGHT)]] * 10)
    found = wanted(images)
    (shown,) = found.batches(images, 10, CPU)
    assert [len(some) for _, some in found.rows(0, shown)] == [16, 4]


def test_classes_are_matched_by_name_and_by_the_names_that_are_given():
    assert matched(("car", "cat", "dog"), ("cat", "automobile"), {}) == {1: 0}
    assert matched(("car", "cat", "dog"), ("cat", "automobile"), {"car": "automobile"}) == {0: 1, 1: 0}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({}, "the network knows none of the set's classes; it knows automobile, ship, the set has car, boat"),
        ({"cars": "ship"}, "the set has no class 'cars'"),
        ({"car": "auto"}, "the network has no class 'auto'"),
    ],
)
def test_what_cannot_be_matched_is_refused(names, words):
    with pytest.raises(UsageError, match=words):
        matched(("car", "boat"), ("automobile", "ship"), names)
