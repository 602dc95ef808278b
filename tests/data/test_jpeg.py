"""The quick way through a JPEG: the very bytes that PIL gives, and PIL wherever a file is not a common one."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from tests.data.files import noise
from ticketcli.data import decoding, jpeg
from ticketcli.data.decoding import decode
from ticketcli.data.jpeg import decode_common
from ticketcli.errors import CorruptError

ENCODINGS = [
    {"quality": quality, "subsampling": subsampling, "progressive": progressive}
    for quality in (5, 50, 75, 100)
    for subsampling in (0, 1, 2)
    for progressive in (False, True)
]
FAR = 10_000  # below which every file here is


def picture(height=37, width=53, channels=3):
    """Smooth with some noise, as photographs are."""
    rows, columns = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin(rows / (5 + c) + columns / (9 - c)) for c in range(channels)]
    found = np.stack(waves, axis=-1) + noise(height, width, 0, channels=channels).reshape(height, width, channels) / 8
    return Image.fromarray(np.clip(found, 0, 255).astype(np.uint8).squeeze())


def written(tmp_path, image=None, **how):
    path = tmp_path / "a.jpg"
    (image or picture()).save(path, format="JPEG", **how)
    return path


def by_pil(path):
    with Image.open(path) as image:
        return torch.from_numpy(np.array(ImageOps.exif_transpose(image).convert("RGB")))


@pytest.mark.parametrize("how", ENCODINGS, ids=str)
def test_the_bytes_are_those_of_pil(tmp_path, how):
    path = written(tmp_path, **how)
    found = decode_common(path, below=FAR)
    assert found.dtype == torch.uint8
    assert torch.equal(found, by_pil(path))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 16), (375, 500), (333, 251)])
def test_sides_of_any_length(tmp_path, size):
    path = written(tmp_path, picture(*size))
    assert torch.equal(decode_common(path, below=FAR), by_pil(path))


@pytest.mark.parametrize(
    "how",
    [{"keep_rgb": True}, {"comment": b"of a camera"}, {"optimize": True}, {"restart_marker_blocks": 2},
     {"icc_profile": b"colours" * 20_000}, {"dpi": (300, 300)}],
    ids=lambda how: next(iter(how)),
)  # fmt: skip
def test_what_else_common_files_have(tmp_path, how):
    path = written(tmp_path, **how)
    assert torch.equal(decode_common(path, below=FAR), by_pil(path))


def test_grey_becomes_three_equal_channels(tmp_path):
    path = written(tmp_path, picture(channels=1))
    assert torch.equal(decode_common(path, below=FAR), by_pil(path))


def rotated():
    found = Image.Exif()
    found[0x0112] = 6
    return found


UNCOMMON = {
    "turned": {"exif": rotated()},
    "turned, as XMP says": {
        "xmp": b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    },
    "four colours": {"image": picture().convert("CMYK")},
}


def test_colours_at_a_quarter_of_the_rows_are_left_to_pil(tmp_path):
    """4:4:1, which 4:1:1 becomes where it is turned without decoding."""
    path = written(tmp_path, picture(32, 32), subsampling=2)
    data = bytearray(path.read_bytes())
    place = data.index(b"\xff\xc0") + 11  # how often the first colour is sampled
    assert data[place] == 0x22  # four blocks of it, as 0x14 has
    data[place] = 0x14
    path.write_bytes(bytes(data))
    assert decode_common(path, below=FAR) is None
    assert torch.equal(decode(path, 32), by_pil(path))


@pytest.mark.parametrize("kind", list(UNCOMMON))
def test_uncommon_files_are_left_to_pil(tmp_path, kind):
    path = written(tmp_path, **UNCOMMON[kind])
    assert decode_common(path, below=FAR) is None
    assert torch.equal(decode(path, 32), by_pil(path))


def test_a_large_one_is_left_to_pil_which_reduces_it(tmp_path):
    path = written(tmp_path, picture(300, 260))
    assert decode_common(path, below=260) is None
    assert torch.equal(decode_common(path, below=261), by_pil(path))
    assert decode(path, 32).shape == (150, 130, 3)
    assert decode(path, 33).shape == (300, 260, 3)


def test_more_pixels_than_pil_allows_are_left_to_it(tmp_path, monkeypatch):
    path = written(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 37 * 53 - 1)
    assert decode_common(path, below=FAR) is None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode_common(path, below=FAR) is not None


def test_common_files_do_not_meet_pil(tmp_path, monkeypatch):
    path = written(tmp_path)
    monkeypatch.setattr(decoding.Image, "open", lambda *_, **__: pytest.fail("PIL was asked"))
    assert decode(path, 32).shape == (37, 53, 3)


def whole():
    buffer = io.BytesIO()
    picture(64, 64).save(buffer, format="JPEG", quality=75)
    return buffer.getvalue()


def test_whatever_is_cut_off_is_refused_as_before(tmp_path):
    data, path = whole(), tmp_path / "a.jpg"
    for keep in range(2, len(data) - 2, max(1, len(data) // 60)):
        path.write_bytes(data[:keep])
        with pytest.raises(CorruptError, match=r"cannot be decoded"):
            decode(path, 32)


def test_flipped_bytes_give_what_pil_gives_or_an_error_and_never_something_else(tmp_path, monkeypatch):
    """A header that is no longer one goes to PIL; in the pixels both take what can be read."""
    data, path = whole(), tmp_path / "a.jpg"
    rng, differ = np.random.default_rng(0), 0
    for _ in range(300):
        broken = bytearray(data)
        broken[int(rng.integers(2, len(data)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(broken))
        found = outcome(path)
        with monkeypatch.context() as without:
            without.setattr(decoding, "decode_common", lambda *_, **__: None)
            differ += found != outcome(path)
    assert differ <= 3  # one bears a little more than the other in segments that nobody reads


def outcome(path):
    try:
        return decode(path, 32).numpy().tobytes()
    except CorruptError:
        return "refused"


def test_headers_that_never_end_are_nobodys(tmp_path):
    for data in (b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x00" * 9, b"\xff\xd8" + b"\xff\xc4\x00\x02" * 999, b""):
        path = tmp_path / "a.jpg"
        path.write_bytes(data)
        assert jpeg.decode_common(path, below=FAR) is None
