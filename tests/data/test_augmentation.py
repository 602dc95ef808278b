import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from tests.data.files import noise
from ticketcli.data.augmentation import CropBoxes, Draws
from ticketcli.data.preparation import crop, prepare

MANY = np.arange(4000)


def boxes(height, width, *, seed=0, epoch=0, chosen=MANY):
    drawn = CropBoxes(Draws(seed, epoch, chosen))
    return np.array([drawn.box(position, height, width) for position in range(len(chosen))]), drawn


@pytest.mark.parametrize(("height", "width"), [(60, 80), (500, 375), (1, 1), (7, 300), (300, 7), (2, 3)])
def test_every_box_lies_in_the_image(height, width):
    found, _ = boxes(height, width)
    top, left, tall, wide = found.T
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2:] >= 1).all()
    assert (top + tall <= height).all()
    assert (left + wide <= width).all()


def test_areas_and_shapes_are_spread_as_torchvision_spreads_them():
    found, drawn = boxes(400, 500)
    image = torch.zeros(3, 400, 500)
    torch.manual_seed(0)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in MANY])
    for ours, other in ((found[:, 2] * found[:, 3], theirs[:, 2] * theirs[:, 3]), *zip(found.T, theirs.T, strict=True)):
        quantiles = np.linspace(0.05, 0.95, 10)
        spread = np.quantile(other, 0.95) - np.quantile(other, 0.05)
        assert np.abs(np.quantile(ours, quantiles) - np.quantile(other, quantiles)).max() < 0.05 * spread
    assert 0.47 < drawn.mirrored.mean() < 0.53


def test_a_box_depends_on_seed_epoch_and_index_alone():
    whole, _ = boxes(60, 80)
    some, _ = boxes(60, 80, chosen=MANY[::-7])
    assert np.array_equal(some, whole[::-7])
    for other in (boxes(60, 80, seed=1)[0], boxes(60, 80, epoch=1)[0]):
        assert (other != whole).any(axis=1).mean() > 0.99


def test_an_image_too_long_for_any_draw_gives_its_middle():
    found, _ = boxes(10, 400)
    assert (found[:, 2:] == (10, 13)).all(axis=1).any()


def test_a_crop_is_resized_and_mirrored():
    image = torch.from_numpy(noise(60, 80, 0))
    plain = crop(image, (10, 20, 24, 24), mirrored=False, size=24)
    assert torch.equal(plain, image[10:34, 20:44])
    assert torch.equal(crop(image, (10, 20, 24, 24), mirrored=True, size=24), plain.flip(1))
    assert crop(image, (10, 20, 24, 30), mirrored=False, size=16).shape == (16, 16, 3)


def test_small_images_are_shown_whole_along_the_shorter_side():
    image = torch.zeros(32, 48, 3, dtype=torch.uint8)
    image[:, 8:40] = 200
    assert torch.equal(prepare(image, 32), torch.full((32, 32, 3), 200, dtype=torch.uint8))


def test_large_images_lose_the_margin_that_torchvisions_evaluation_cuts():
    image = torch.arange(256, dtype=torch.uint8).view(1, 256, 1).expand(256, 256, 3)
    assert prepare(image, 224)[0, :, 0].tolist() == list(range(16, 240))


def test_an_image_of_the_right_size_is_left_alone():
    image = torch.from_numpy(noise(224, 224, 0))
    assert prepare(image, 224) is image


def test_grey_stays_one_channel():
    assert prepare(torch.from_numpy(noise(40, 30, 0, channels=1)), 16).shape == (16, 16, 1)
