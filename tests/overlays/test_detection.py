from dataclasses import replace

import numpy as np
import pytest

from tests.overlays.objects import seen, there
from ticketcli.overlays.canvas import INK
from ticketcli.overlays.detection import (
    IGNORED,
    MISSED,
    RIGHT,
    TRUTH,
    WRONG,
    detection_row,
    draw_found,
    draw_truth,
    legend,
)
from ticketcli.overlays.matching import match

NAMES = ("cat", "dog")
BLACK = np.zeros((32, 32, 3), dtype=np.uint8)


def found_on(picture, found, image=BLACK, names=("cat",), side=320):
    return np.asarray(draw_found(image, picture, found, match(picture, found), names, side))


def holds(pixels, colour):
    return (pixels == colour).all(axis=2)


def test_what_is_right_is_blue_wrong_red_and_missed_yellow():
    picture = there(((2, 12, 8, 8), 0), ((22, 12, 8, 8), 0))
    pixels = found_on(picture, seen(((2, 12, 8, 8), 0, 0.9), ((12, 22, 8, 8), 0, 0.8)))
    assert pixels.shape == (320, 320, 3)
    assert pixels[160, 20].tolist() == list(RIGHT.colour)  # its left line
    assert pixels[160, 60].tolist() == [10, 38, 64]  # a quarter of blue on black
    lines = {style: holds(pixels, style.colour) for style in (RIGHT, WRONG, MISSED)}
    assert lines[RIGHT][:, :100].any()
    assert not lines[RIGHT][:, 100:].any()
    assert lines[WRONG][220:300, 120:200].any()
    assert not lines[WRONG][:, 220:].any()
    assert lines[MISSED][120:200, 220:300].any()
    assert not lines[MISSED][:, :220].any()


def test_the_three_lines_differ_in_their_pattern_too():
    left = [
        holds(found_on(picture, found)[130:172, 20:21], style.colour).mean()
        for picture, found, style in (
            (there(((2, 12, 8, 8), 0)), seen(((2, 12, 8, 8), 0, 0.9)), RIGHT),
            (there(), seen(((2, 12, 8, 8), 0, 0.9)), WRONG),
            (there(((2, 12, 8, 8), 0)), seen(), MISSED),
        )
    ]
    assert left == [1, 8 / 14, 3 / 6]


def test_what_is_less_sure_than_the_floor_is_not_drawn():
    assert (found_on(there(), seen(((2, 12, 8, 8), 0, 0.3))) == 0).all()


def test_detections_in_a_crowd_are_grey():
    pixels = found_on(there(((0, 0, 32, 32), 0, "crowd")), seen(((2, 12, 8, 8), 0, 0.9)))
    assert pixels[160, 20].tolist() == list(IGNORED.colour)


def test_the_truth_is_white():
    pixels = np.asarray(draw_truth(BLACK, there(((2, 12, 8, 8), 0)), ("cat",), 320))
    assert pixels[160, 20].tolist() == list(TRUTH.colour)
    assert pixels[160, 60].tolist() == [64, 64, 64]


def test_without_masks_only_boxes_are_drawn_on_either_side():
    picture = there(((2, 12, 8, 8), 0), ((22, 12, 8, 8), 0))
    row = detection_row(BLACK, picture, [seen(((2, 12, 8, 8), 0, 0.9), masks=False)], ("cat",), 320)
    for cell in row.cells:
        pixels = np.asarray(cell.image)
        assert (pixels[160, [60, 260]] == 0).all()
        assert (pixels[160, [20, 21]] > 0).any(axis=1).all()


def test_objects_of_which_only_a_box_is_known_are_drawn():
    picture = there(((2, 12, 8, 8), 0))
    bare = replace(picture, instances=(replace(picture.instances[0], segmentation=None),))
    assert (np.asarray(draw_truth(BLACK, bare, ("cat",), 320))[160, 20] == 255).all()


def words(pixels, style, box=(20, 100, 150, 119)):
    """Ink on a plate of the style's colour above the object's box."""
    x0, y0, x1, y1 = box
    plate = pixels[y0:y1, x0:x1]
    return holds(plate, style.colour).sum(axis=0).astype(bool).sum(), holds(plate, INK).sum()


def test_the_class_is_written_above_its_object_and_left_out_where_there_is_only_one():
    picture, found = there(((2, 12, 8, 8), 0)), seen(((2, 12, 8, 8), 0, 0.9))
    both, ink = words(found_on(picture, found, names=NAMES), RIGHT)
    score, _ = words(found_on(picture, found), RIGHT)
    assert both > score > 20
    assert ink > 0


def test_words_do_not_hide_a_crowded_image():
    objects = [((1 + 3 * (k % 10), 8 + 3 * (k // 10), 2, 2), 0) for k in range(60)]
    picture = there(*objects)
    few, many = there(*objects[:20]), picture
    written = [
        holds(found_on(one, seen(*((box, 0, 0.9) for box, _ in objects[: len(one.instances)]))), RIGHT.colour).sum() / n
        for one, n in ((few, 20), (many, 60))
    ]
    assert written[1] < written[0] / 2


def test_a_row_has_the_truth_and_each_network_and_says_what_each_made_of_it():
    picture = replace(there(((2, 12, 8, 8), 0), ((22, 12, 8, 8), 1), number=7), file_name="a.jpg")
    row = detection_row(BLACK, picture, [seen(((2, 12, 8, 8), 0, 0.9)), seen()], NAMES, 320)
    assert row.name == "image 7 (a.jpg)"
    assert [cell.caption for cell in row.cells] == [
        "2 objects", "right 1, wrong 0, missed 1; F1 0.67", "right 0, wrong 0, missed 2; F1 0.00",
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(32, 32), (32, 32, 1), (32, 32, 3)])
def test_an_image_without_objects_is_shown_as_it_is(shape):
    row = detection_row(np.full(shape, 90, dtype=np.uint8), there(), [seen()], NAMES, 320)
    assert [cell.caption for cell in row.cells] == ["no objects", "right 0, wrong 0, missed 0; F1 1.00"]
    assert all((np.asarray(cell.image) == 90).all() for cell in row.cells)


def test_a_huge_photo_is_scaled_down_with_what_is_on_it():
    size = (1500, 3000)
    picture = there(((300, 300, 1200, 900), 0), size=size)
    pixels = found_on(
        picture, seen(((300, 300, 1200, 900), 0, 0.9), size=size), np.zeros((*size, 3), np.uint8), side=300
    )
    assert pixels.shape == (150, 300, 3)
    assert pixels[80, 30].tolist() == list(RIGHT.colour)
    assert pixels[80, 90].tolist() == [10, 38, 64]


def test_detections_beyond_the_image_and_without_a_mask_are_no_trouble():
    empty = seen(((2, 12, 0, 0), 0, 0.9), ((20, 20, 40, 40), 0, 0.8))
    assert found_on(there(), empty).shape == (320, 320, 3)


def test_the_same_pictures_come_out_every_time():
    picture, found = (
        there(((2, 12, 8, 8), 0), ((4, 14, 8, 8), 1)),
        seen(((3, 12, 8, 8), 0, 0.9), ((5, 5, 9, 9), 1, 0.9)),
    )
    assert found_on(picture, found, names=NAMES).tobytes() == found_on(picture, found, names=NAMES).tobytes()


# Machado, Oliveira, Fernandes (2009), severity 1.0, on linear RGB.
_DEFICIENT = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def as_lab(colour, matrix):
    share = np.asarray(colour) / 255
    linear = np.clip(matrix @ np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4), 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = np.cbrt(xyz / (0.9505, 1, 1.089))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", sorted(_DEFICIENT))
@pytest.mark.parametrize(("one", "other"), [(RIGHT, WRONG), (RIGHT, MISSED), (WRONG, MISSED)])
def test_the_colours_stay_apart_for_every_kind_of_colour_vision(kind, one, other):
    matrix = np.array(_DEFICIENT[kind])
    assert np.linalg.norm(as_lab(one.colour, matrix) - as_lab(other.colour, matrix)) > 35


def test_the_legend_names_crowds_only_where_there_are_some():
    assert len(legend()) == 3
    assert legend(crowds=True)[3].style == IGNORED
