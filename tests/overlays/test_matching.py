from tests.overlays.objects import seen, there
from ticketcli.overlays.matching import match


def test_the_same_box_of_the_same_class_is_right_and_what_nobody_found_is_missed():
    found = match(there(((0, 0, 10, 10), 0), ((20, 20, 10, 10), 1)), seen(((0, 0, 10, 10), 0, 0.9)))
    assert (found.right, found.wrong, found.missed) == ((0,), (), (1,))
    assert str(found) == "right 1, wrong 0, missed 1"
    assert found.f1 == 2 / 3


def test_another_class_in_the_right_place_is_wrong():
    found = match(there(((0, 0, 10, 10), 0)), seen(((0, 0, 10, 10), 1, 0.9)))
    assert (found.right, found.wrong, found.missed) == ((), (0,), (0,))


def test_an_overlap_of_one_half_is_enough_and_less_is_not():
    picture = there(((0, 0, 10, 10), 0))
    assert match(picture, seen(((0, 0, 5, 10), 0, 0.9))).right == (0,)
    assert match(picture, seen(((0, 0, 4.9, 10), 0, 0.9))).wrong == (0,)


def test_the_surer_of_two_takes_the_object_and_the_other_is_wrong():
    found = match(there(((0, 0, 10, 10), 0)), seen(((0, 0, 10, 10), 0, 0.6), ((0, 0, 10, 8), 0, 0.8)))
    assert (found.right, found.wrong) == ((1,), (0,))


def test_each_takes_the_object_that_it_overlaps_most():
    found = match(there(((0, 0, 10, 10), 0), ((2, 0, 10, 10), 0)), seen(((2, 0, 10, 10), 0, 0.9)))
    assert found.missed == (0,)


def test_what_is_less_sure_than_one_half_was_not_found():
    found = match(there(((0, 0, 10, 10), 0)), seen(((0, 0, 10, 10), 0, 0.49)))
    assert (found.right, found.wrong, found.missed) == ((), (), (0,))
    assert match(there(), seen(((0, 0, 10, 10), 0, 0.5))).wrong == (0,)


def test_in_a_crowd_nothing_is_wrong_and_a_crowd_is_never_missed():
    picture = there(((0, 0, 30, 30), 0, "crowd"))
    found = match(picture, seen(((1, 1, 5, 5), 0, 0.9), ((9, 9, 5, 5), 0, 0.8), ((9, 9, 5, 5), 1, 0.7)))
    assert (found.ignored, found.wrong, found.missed) == ((0, 1), (2,), ())


def test_an_object_beside_the_crowd_is_still_found():
    picture = there(((0, 0, 30, 30), 0, "crowd"), ((2, 2, 8, 8), 0))
    assert match(picture, seen(((2, 2, 8, 8), 0, 0.9))).right == (0,)


def test_where_nothing_is_and_nothing_was_found_the_score_is_one():
    assert match(there(), seen()).f1 == 1
    assert match(there(((0, 0, 9, 9), 0)), seen()).f1 == 0


def test_boxes_without_area_match_nothing():
    found = match(there(((5, 5, 0, 0), 0)), seen(((5, 5, 0, 0), 0, 0.9)))
    assert (found.right, found.wrong, found.missed) == ((), (0,), (0,))
