import numpy as np
import pytest

from ticketcli.overlays.rebuilt import WHITE_AT, rebuilt_row


def image(value, side=8):
    return np.full((3, side, side), value)


def test_a_perfect_image_has_a_black_error_and_the_highest_psnr():
    _, same, error = rebuilt_row("x", image(0.4), [image(0.4)], 64).cells
    assert same.caption == "PSNR 100.00 dB"
    assert np.asarray(error.image).max() == 0


@pytest.mark.parametrize(("error", "shade"), [(0.1, 51), (WHITE_AT, 255), (0.9, 255)])
def test_an_error_is_as_bright_as_the_scale_says(error, shade):
    cells = rebuilt_row("x", image(0.0), [image(error)], 64).cells
    assert set(np.asarray(cells[2].image).ravel()) == {shade}
    assert cells[2].caption == f"mean error {error:.3f}"


def test_errors_of_both_signs_count():
    wanted = np.stack([np.full((8, 8), value) for value in (0.2, 0.5, 0.8)])
    found = np.stack([np.full((8, 8), value) for value in (0.3, 0.4, 0.8)])
    assert rebuilt_row("x", wanted, [found], 64).cells[2].caption == "mean error 0.067"


def test_each_network_has_its_image_and_its_error():
    row = rebuilt_row("x", image(0.5), [image(0.4), image(0.6), image(0.5)], 64)
    assert len(row.cells) == 7
    assert [cell.image.size for cell in row.cells] == [(64, 64)] * 7
