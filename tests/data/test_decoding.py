import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.files import noise, save
from ticketcli.data.decoding import decode
from ticketcli.errors import CorruptError, InputMissing

COLOUR, GREY = noise(40, 56, 0), noise(40, 56, 1, channels=1)


def pixels(path, size=32):
    return decode(path, size).numpy()


def test_a_colour_file_comes_as_it_was_written(tmp_path):
    found = decode(save(tmp_path / "a.png", COLOUR), 32)
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), COLOUR)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif", "pgm"])  # WebP knows no grey
def test_grey_becomes_three_equal_channels_in_every_format(tmp_path, ending):
    found = pixels(save(tmp_path / f"a.{ending}", GREY)).astype(int)
    assert found.shape == (40, 56, 3)
    assert np.array_equal(found[..., 0], found[..., 1])
    assert np.array_equal(found[..., 1], found[..., 2])
    assert np.abs(found[..., :1] - GREY).mean() < 4


def test_grey_of_16_bits_keeps_its_range(tmp_path):
    wide = GREY.astype(np.uint16) * 257
    assert np.array_equal(pixels(save(tmp_path / "a.png", wide))[..., :1], GREY)
    assert np.array_equal(pixels(save(tmp_path / "a.tif", wide))[..., :1], GREY)


def test_cmyk_becomes_the_colours_that_it_shows(tmp_path):
    image = Image.fromarray(COLOUR).convert("CMYK")
    image.save(tmp_path / "a.jpg", quality=95)
    found = pixels(tmp_path / "a.jpg").astype(int)
    assert found.shape == (40, 56, 3)
    assert np.abs(found - COLOUR).mean() < 6


def test_a_palette_is_looked_up(tmp_path):
    image = Image.fromarray(COLOUR).convert("P", palette=Image.Palette.ADAPTIVE)
    image.save(tmp_path / "a.png")
    assert np.array_equal(pixels(tmp_path / "a.png"), np.asarray(image.convert("RGB")))


def test_what_is_transparent_is_shown_over_black(tmp_path):
    alpha = np.zeros((40, 56, 1), np.uint8)
    alpha[:, 28:] = 255
    found = pixels(save(tmp_path / "a.png", np.concatenate([COLOUR, alpha], axis=2)))
    assert not found[:, :28].any()
    assert np.array_equal(found[:, 28:], COLOUR[:, 28:])


def test_a_transparent_palette_entry_is_black_too(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "a.png", transparency=1)
    assert not pixels(tmp_path / "a.png").any()


def test_the_cameras_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    found = pixels(save(tmp_path / "a.jpg", COLOUR, exif=exif, quality=95)).astype(int)
    assert found.shape == (56, 40, 3)
    assert np.abs(found - np.rot90(COLOUR, -1)).mean() < 6


def test_a_huge_jpeg_is_decoded_at_a_reduced_scale_that_still_has_four_times_the_pixels(tmp_path):
    path = save(tmp_path / "a.jpg", noise(2000, 2400, 0), quality=90)
    assert pixels(path, 32).shape == (250, 300, 3)  # at 1/8
    assert pixels(path, 128).shape == (1000, 1200, 3)  # at 1/2; a quarter would be less than 512
    assert pixels(path, 300).shape == (2000, 2400, 3)
    large, small = pixels(path, 300), pixels(path, 32)
    shrunk = np.asarray(Image.fromarray(large).resize((300, 250), Image.Resampling.BOX)).astype(int)
    assert np.abs(shrunk - small).mean() < 2


def test_a_huge_png_is_decoded_whole(tmp_path):
    assert pixels(save(tmp_path / "a.png", noise(600, 700, 0)), 8).shape == (600, 700, 3)


def cut(tmp_path, ending, keep):
    path = save(tmp_path / f"a.{ending}", noise(200, 200, 0))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "webp", "tif"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.6])
def test_an_empty_or_truncated_file_is_named(tmp_path, ending, keep):
    path = cut(tmp_path, ending, keep)
    with pytest.raises(CorruptError, match=r"an image file is empty|cannot be decoded") as caught:
        decode(path, 32)
    assert caught.value.where == str(path)
    assert "data.broken: skip" in caught.value.hint


def test_a_corrupt_png_is_named(tmp_path):
    path = save(tmp_path / "a.png", COLOUR)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CorruptError, match="cannot be decoded"):
        decode(path, 32)


def test_text_under_an_images_name_is_not_an_image(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(CorruptError, match="not an image"):
        decode(tmp_path / "a.jpg", 32)


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(CorruptError, match="floating-point"):
        decode(tmp_path / "a.tif", 32)


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", COLOUR)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 56 // 2 - 1)
    with pytest.raises(CorruptError, match="too many pixels") as caught:
        decode(path, 32)
    assert caught.value.where == str(path)


def test_many_pixels_within_twice_the_limit_are_decoded_without_a_warning(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", COLOUR)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40 * 56 - 1)
    assert pixels(path).shape == (40, 56, 3)


def test_a_file_that_is_gone_is_missing_not_broken(tmp_path):
    with pytest.raises(InputMissing, match="cannot read an image"):
        decode(tmp_path / "a.png", 32)
