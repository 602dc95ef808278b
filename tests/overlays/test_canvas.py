import numpy as np
import pytest

from ticketcli.overlays.canvas import (
    INK,
    Style,
    drawn,
    drawn_mask,
    edge,
    extent,
    fill,
    fitted,
    frame,
    shortened,
    trace,
    window,
)

RED = (255, 0, 0)


@pytest.mark.parametrize(
    ("size", "drawn_at"),
    [((64, 64), (512, 512)), ((64, 30), (512, 240)), ((256, 256), (512, 512)), ((300, 200), (514, 343)), ((640, 480), (514, 386)),
     ((4000, 3000), (514, 386)), ((1, 5000), (1, 514)), ((514, 10), (514, 10))],
)  # fmt: skip
def test_small_images_grow_by_a_whole_factor_and_others_fill_the_side(size, drawn_at):
    assert fitted(*size, 514) == drawn_at


def test_an_enlarged_pixel_is_a_square_of_its_colour():
    image = np.array([[[1, 2, 3], [200, 100, 0]]], dtype=np.uint8)
    large = drawn(image, (6, 3))
    assert large.shape == (3, 6, 3)
    assert (large[:, :3] == (1, 2, 3)).all()
    assert (large[:, 3:] == (200, 100, 0)).all()


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 1), (2, 2, 3)])
def test_grey_images_become_colours(shape):
    assert drawn(np.full(shape, 77, dtype=np.uint8), (4, 4)).tolist() == np.full((4, 4, 3), 77).tolist()


def test_a_mask_grows_by_copies_and_shrinks_to_the_pixels_that_are_half_in_it():
    mask = np.zeros((4, 4), dtype=np.uint8)
    mask[:, :2] = 1
    assert drawn_mask(mask, (8, 8)).sum() == 32
    assert drawn_mask(mask, (2, 2)).tolist() == [[True, False], [True, False]]


def test_a_frame_lies_inside_its_box_and_is_cut_off_by_the_image():
    region = frame((10, 8), (2, 1, 7, 6), 1)
    assert region.sum() == 4 * 4
    assert region[1, 2:7].all()
    assert region[1:6, 6].all()
    assert not region[2:5, 3:6].any()
    assert frame((10, 8), (-5, -5, 99, 99), 2).sum() == 80 - 6 * 4


@pytest.mark.parametrize("box", [(3, 3, 3, 3), (20, 20, 30, 30), (-9, -9, -5, -5), (5, 5, 2, 2)])
def test_a_box_without_area_or_outside_is_a_point_at_the_nearest_place(box):
    assert frame((10, 8), box, 2).sum() == 1


def test_the_edge_of_a_region_is_inside_it_and_not_at_the_border_of_the_image():
    region = np.zeros((9, 9), dtype=bool)
    region[2:7, 2:7] = True
    assert edge(region, 1).sum() == 16
    assert not (edge(region, 2) & ~region).any()
    assert not edge(np.ones((5, 5), dtype=bool), 2).any()


def test_a_translucent_fill_goes_so_far_towards_its_colour():
    pixels = np.full((2, 2, 3), 100, dtype=np.uint8)
    fill(pixels, np.array([[True, False], [False, False]]), RED, 0.25)
    assert pixels[0, 0].tolist() == [139, 75, 75]
    assert (pixels[1] == 100).all()


@pytest.mark.parametrize(("line", "coloured"), [("solid", 28), ("dashed", 16), ("dotted", 13)])
def test_lines_are_told_apart_without_colour(line, coloured):
    pixels = np.full((5, 30, 3), 255, dtype=np.uint8)
    region = np.zeros((5, 30), dtype=bool)
    region[2, 1:29] = True
    trace(pixels, region, Style(RED, line))
    assert (pixels[2, 1:29] == RED).all(axis=1).sum() == coloured
    assert (pixels[2, 1:29] == INK).all(axis=1).sum() == 28 - coloured
    assert (pixels[1, 1:29] < 150).all(), "a dark rim"
    assert (pixels[0] == 255).all()


def test_long_words_are_cut_to_the_width_and_short_ones_are_not():
    assert shortened("frog", 14, 100) == "frog"
    cut = shortened("a class whose name goes on and on", 14, 100)
    assert cut.startswith("a class")
    assert cut.endswith("...")
    assert extent(cut, 14)[0] <= 100
    assert shortened("frog", 14, 3) == ""
    assert shortened("two\nlines", 14, 100) == "two lines"


def test_work_in_the_window_of_a_region_is_work_on_the_whole_image():
    draw = np.random.default_rng(0)
    for _ in range(20):
        region = np.zeros((20, 30), dtype=bool)
        y, x = draw.integers(0, 20), draw.integers(0, 30)
        region[y : y + 9, x : x + 9] = draw.random((9, 9))[: 20 - y, : 30 - x] < 0.8
        near, whole = window(region, 3), np.zeros_like(region)
        whole[near] = edge(region[near], 2)
        assert (whole == edge(region, 2)).all()
    assert region[window(np.zeros((4, 4), dtype=bool), 0)].size == 0
