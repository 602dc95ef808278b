import numpy as np
import pytest
from PIL import Image

from tests.overlays.objects import seen, there
from ticketcli.overlays.detection import detection_row, legend
from ticketcli.overlays.sheet import WIDTH, Cell, Row, cell_side, sheet, worst_first

RED, BLUE = (200, 0, 0), (0, 0, 200)


def cell(colour, size=(40, 30), caption=""):
    return Cell(Image.new("RGB", size, colour), caption)


def test_the_greatest_loss_comes_first_and_gains_last():
    dense = {1: 0.9, 2: 0.8, 3: 0.7, 4: 0.5}
    assert worst_first(dense, {1: 0.8, 2: 0.2, 3: 0.9, 4: 0.5}) == [2, 1, 4, 3]


def test_equal_losses_are_in_the_order_of_the_numbers():
    assert worst_first({30: 0.5, 4: 0.5, 12: 0.5}, {30: 0.25, 4: 0.25, 12: 0.25}) == [4, 12, 30]


def test_networks_judged_on_other_images_are_not_compared():
    with pytest.raises(ValueError, match="same images"):
        worst_first({1: 0.5}, {2: 0.5})


def test_images_lie_in_their_column_and_row_pixel_by_pixel():
    page = np.asarray(
        sheet([Row("a", (cell(RED), cell(BLUE))), Row("b", (cell(BLUE), cell(RED)))], ("truth", "ticket"))
    )
    red, blue = ((page == colour).all(axis=2) for colour in (RED, BLUE))
    assert red.sum() == blue.sum() == 2 * 40 * 30
    (red_y, red_x), (blue_y, blue_x) = np.nonzero(red), np.nonzero(blue)
    assert red_x[:40].tolist() == blue_x[-40:].tolist() == list(range(20, 60))
    assert red_x[-40:].tolist() == blue_x[:40].tolist()
    assert red_x[-1] > 60
    assert red_y[0] == blue_y[0] < red_y[-1] - 30
    assert red_y[-1] == blue_y[-1]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("size", [(64, 64), (640, 480), (480, 640), (4000, 100)])
def test_a_sheet_of_any_number_of_columns_can_be_read_at_its_width(n, size):
    side = cell_side(n)
    assert side <= 640
    image, picture = np.zeros((size[1], size[0], 3), np.uint8), there(size=size[::-1])
    row = detection_row(image, picture, [seen(size=size[::-1])] * (n - 1), ("cat",), side)
    page = sheet([row] * 2, ["a title that nobody would want to read to its very end"] * n, legend=legend(crowds=True))
    assert page.width <= WIDTH
    assert page.mode == "RGB"


def test_a_long_legend_goes_over_several_lines_and_long_words_are_cut():
    rows = [Row("image " * 99, (cell(RED, caption="right " * 50),))]
    short = sheet(rows, ("truth",), legend=legend())
    long = sheet(rows, ("truth" * 40,), heading="heading " * 50, legend=legend() * 12)
    assert long.width == short.width
    assert long.height > short.height + 100
    assert (np.asarray(long)[:, -15:] == 255).all(axis=2).sum() > 0.98 * 15 * long.height, "the margin is free"


def test_a_sheet_without_images_says_so():
    page = sheet([], ("truth", "dense"))
    assert page.height < 200
    assert (np.asarray(page) < 128).any()


def test_rows_that_do_not_fit_the_titles_are_refused():
    with pytest.raises(ValueError, match="2 cells"):
        sheet([Row("a", (cell(RED),))], ("truth", "dense"))


def test_the_same_sheet_comes_out_every_time():
    picture, found = there(((2, 12, 8, 8), 0)), seen(((4, 12, 8, 8), 0, 0.9))

    def once():
        row = detection_row(np.zeros((32, 32, 3), np.uint8), picture, [found], ("cat", "dog"), 320)
        return sheet([row], ("truth", "ticket"), heading="heading", legend=legend()).tobytes()

    assert once() == once()
