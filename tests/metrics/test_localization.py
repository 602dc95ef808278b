import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ticketcli.metrics.localization import (
    THRESHOLDS,
    USUAL,
    Sightings,
    halves,
    judged,
    mask_overlap,
    overlap,
    point_of,
    points_at,
)

TRUTH = torch.tensor([[2.0, 2.0, 6.0, 6.0], [10.0, 0.0, 12.0, 8.0]])


def box(*corners):
    return torch.tensor([corners], dtype=torch.float64)


@pytest.mark.parametrize(
    ("found", "iou"),
    [((2, 2, 6, 6), 1), ((2, 2, 6, 4), 0.5), ((0, 0, 1, 1), 0), ((10, 0, 12, 4), 0.5), ((3, 3, 3, 3), 0),
     ((0, 0, 8, 8), 0.25)],
)  # fmt: skip
def test_the_best_true_box_counts_and_a_box_without_area_is_nowhere(found, iou):
    assert overlap(box(*found), TRUTH).tolist() == [iou]


def test_a_map_points_to_the_centre_of_its_greatest_pixel():
    map_ = torch.zeros(4, 6)
    map_[1, 4] = 0.5
    assert point_of(map_) == (4.5, 1.5)
    assert point_of(torch.zeros(4, 6)) is None


def test_of_equal_maxima_the_one_nearest_to_the_centre_is_pointed_to():
    x, y = point_of(torch.ones(5, 7))
    assert (x, y) == (3.5, 2.5)


@pytest.mark.parametrize(
    ("point", "tolerance", "hit"),
    [((4, 4), 0, True), ((6, 6), 0, True), ((7, 4), 0.9, False), ((7, 4), 1, True), ((7, 7), 1.4, False),
     ((7, 7), 1.5, True), (None, 100, False)],
)  # fmt: skip
def test_pointing_is_right_within_the_tolerance_of_a_box(point, tolerance, hit):
    assert points_at(point, TRUTH, tolerance) is hit


def test_the_region_of_a_map_is_compared_with_the_mask_at_every_threshold():
    map_ = torch.tensor([[1.0, 0.5, 0.1, 0.0]])
    mask = torch.tensor([[1, 1, 0, 0]])
    assert mask_overlap(map_, mask, (0.05, 0.2, 0.6)).tolist() == [2 / 3, 1.0, 0.5]
    assert mask_overlap(torch.zeros(1, 4), mask).tolist() == [0.0] * len(THRESHOLDS)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_the_halves_share_no_image_and_differ_by_one_image_at_most(numbers):
    images = np.asarray(numbers)
    half = halves(images)
    one, other = set(images[half].tolist()), set(images[~half].tolist())
    assert not one & other
    assert 0 <= len(other) - len(one) <= 1


def seen(overlaps, *, ious=None, pointed=None):
    overlaps = np.asarray(overlaps, dtype=np.float64)
    pointed = np.zeros(len(overlaps), dtype=bool) if pointed is None else np.asarray(pointed)
    return Sightings(overlaps, pointed, None if ious is None else np.asarray(ious, dtype=np.float64))


NONE_TAKEN = np.zeros(4, dtype=bool)
GRID = (0.1, USUAL, 0.2)


def test_each_half_is_judged_at_the_threshold_that_the_other_has_chosen():
    images = np.arange(4)  # the halves are 0, 2 and 1, 3
    overlaps = [[0.9, 0.0, 0.1], [0.1, 0.0, 0.9], [0.9, 0.0, 0.1], [0.1, 0.0, 0.9]]
    found = judged(seen(overlaps), images, NONE_TAKEN, GRID)
    assert found.thresholds["box"] == (0.2, 0.1)
    assert found.values["gt_error"].tolist() == [1, 1, 1, 1]  # what suits the one half is wrong for the other


def test_what_suits_all_images_is_found():
    found = judged(seen([[0.0, 0.4, 0.6]] * 4), np.arange(4), NONE_TAKEN, GRID)
    assert found.values["gt_error"].tolist() == [0, 0, 0, 0]
    assert found.estimates(0)["gt_error"].mean == 0


def test_among_thresholds_of_equal_error_the_one_with_the_better_boxes_is_chosen():
    assert judged(seen([[0.6, 0.8, 0.7]] * 4), np.arange(4), NONE_TAKEN, GRID).thresholds["box"] == (USUAL, USUAL)


def test_regions_choose_a_threshold_of_their_own():
    found = judged(seen([[0.9, 0, 0]] * 4, ious=[[0.1, 0.2, 0.3]] * 4), np.arange(4), NONE_TAKEN, GRID)
    assert found.thresholds == {"box": (0.1, 0.1), "mask": (0.2, 0.2)}
    assert found.values["iou"].tolist() == [0.3] * 4


def test_one_image_alone_is_judged_at_the_usual_threshold():
    found = judged(seen([[0.9, 0.2, 0.9]] * 2), np.array([5, 5]), NONE_TAKEN[:2], GRID)
    assert found.thresholds["box"] == (USUAL,)
    assert found.values["gt_error"].tolist() == [1, 1]


def test_a_threshold_that_is_given_is_chosen_by_nobody():
    found = judged(seen([[0.6]] * 4), np.arange(4), NONE_TAKEN, (0.33,))
    assert found.thresholds["box"] == (0.33,)


def test_top_1_counts_an_image_once_and_wants_the_class_and_its_box():
    images = np.array([0, 0, 1, 1, 2])
    overlaps = [[0.9], [0.0], [0.9], [0.0], [0.9]]
    taken = np.array([True, False, False, True, False])  # of image 1 the class whose box is wrong, of image 2 another
    found = judged(seen(overlaps), images, taken, (USUAL,))
    assert found.values["gt_error"].tolist() == [0, 1, 0, 1, 0]
    assert found.images["top1_error"].tolist() == [0, 1, 2]
    assert found.values["top1_error"].tolist() == [0, 1, 1]


def test_the_difference_of_two_networks_is_taken_row_by_row():
    images = np.arange(40)
    one = judged(seen([[0.9 if k % 2 else 0.1] for k in images]), images, np.zeros(40, dtype=bool), (USUAL,))
    other = judged(seen([[0.9 if k % 2 or k < 10 else 0.1] for k in images]), images, np.ones(40, dtype=bool), (USUAL,))
    less = one.less(other, 0)
    assert less["gt_error"].mean == pytest.approx(5 / 40)
    assert 0 < less["gt_error"].low < less["gt_error"].high < 0.3  # both have the same hard images, which cancel
    assert less["pointing"].mean == 0
