"""Image files made by somebody who wishes ill: refused, soon, with little memory, and no interpreter is started."""

import io
import os
import resource
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.attacks.damage import flips, odd_targets, refuses, survives, truncations
from tests.attacks.test_tensor_files import in_time
from tests.data.files import noise
from ticketcli.data.decoding import decode, decode_labels

assert in_time  # a fixture, for all tests here
FORMATS = ["PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP", "GIF"]


def read(path):
    return decode(path, 32)


def encoded(kind, pixels=None, **more):
    file = io.BytesIO()
    Image.fromarray(noise(24, 24, 0) if pixels is None else pixels).save(file, kind, **more)
    return file.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, *more, data=b""):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"".join(chunk(*one) for one in more)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bomb(n):
    return zlib.compress(bytes(n), 9)


BOMBS = {
    "a PNG of 2 ** 31 pixels a side": png(2**31 - 1, 2**31 - 1, data=bomb(1000)),
    "a PNG of 20,000 pixels a side": png(20_000, 20_000, data=bomb(100_000_000)),
    "a PNG whose pixels go on": png(10, 10, data=bomb(300_000_000))[:-30],
    "a PNG with a profile that unfolds": png(10, 10, (b"iCCP", b"x\0\0" + bomb(500_000_000)), data=b""),
    "a PNG with a text that unfolds": png(10, 10, (b"zTXt", b"x\0\0" + bomb(500_000_000)), data=b""),
    "a PNG with many texts": png(10, 10, *[(b"zTXt", b"x\0\0" + bomb(900_000))] * 200, data=b""),
    "a PNG of no pixels": png(0, 0),
    "a PNG of unknown depth": png(4, 4).replace(b"\x08\x02\x00", b"\x63\x07\x00", 1),
    "a BMP of 2 ** 31 pixels a side": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 70, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0),
    "a PPM of 10 ** 9 pixels a side": b"P6 1000000000 1000000000 255\n",
    "a PPM with a number without end": b"P6 " + b"9" * 10**6,
    "a GIF of 65,535 pixels a side": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0xF0, 0, 0) + bytes(6) + b",",
    "a TIFF whose directory follows itself": b"II*\0" + struct.pack("<IH", 8, 0) + struct.pack("<I", 8),
    "a TIFF of many tags": b"II*\0" + struct.pack("<IH", 8, 65535) + b"\0\1\4\0\xff\xff\xff\xff\0\0\0\0" * 65535,
    "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>',
    "HTML": b"<html></html>",
}  # fmt: skip

CHILD = """
import pathlib, resource, sys, time
from ticketcli.data.decoding import decode, decode_labels
from ticketcli.errors import CorruptError
resource.setrlimit(resource.RLIMIT_DATA, (2_000_000_000, 2_000_000_000))
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        decode(path, 32)
        print(path.name, "read")
    except CorruptError as error:
        print(path.name, "refused:", error.what)
print("MB", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000, "s", time.monotonic() - started)
"""


def test_image_bombs_are_refused_soon_and_with_little_memory(tmp_path):
    for number, data in enumerate(BOMBS.values()):
        (tmp_path / f"{number:02d}.png").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, tmp_path], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    harmless = list(BOMBS).index("a PNG whose pixels go on")  # what follows the last row is never unfolded
    assert [line for line in lines if "refused:" not in line] == [f"{harmless:02d}.png read"], done.stdout
    assert len(lines) == len(BOMBS)
    _, megabytes, _, seconds = last.split()
    assert int(megabytes) < 700
    assert float(seconds) < 30


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) (w) file\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.eps"])
def test_no_interpreter_is_started_for_a_file_that_is_a_program(tmp_path, name, monkeypatch):
    """PIL would hand PostScript to Ghostscript, whatever the file is called."""
    mark, folder = tmp_path / "ran", tmp_path / "bin"
    folder.mkdir()
    (folder / "gs").write_text(f"#!/bin/sh\ntouch {mark}\n")
    (folder / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    (tmp_path / name).write_bytes(POSTSCRIPT)
    assert refuses(read, tmp_path / name)
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["ICO", "PCX", "TGA", "SGI", "DDS", "ICNS", "PDF", "MSP", "XBM", "SPIDER"])
def test_formats_that_no_image_set_is_made_of_are_refused(tmp_path, kind):
    file = io.BytesIO()
    image = Image.fromarray(noise(32, 32, 0))
    image = image.convert("1") if kind in ("MSP", "XBM") else image.convert("F") if kind == "SPIDER" else image
    image.save(file, kind)
    (tmp_path / "x.png").write_bytes(file.getvalue())
    assert refuses(read, tmp_path / "x.png")


def test_a_label_image_of_another_size_is_refused_before_it_is_decoded(tmp_path):
    (tmp_path / "x.png").write_bytes(png(12_000, 12_000, data=bomb(100)))
    assert refuses(decode_labels, tmp_path / "x.png", (10, 10))
    (tmp_path / "y.png").write_bytes(POSTSCRIPT)
    assert refuses(decode_labels, tmp_path / "y.png", (10, 10))
    os.mkfifo(tmp_path / "z.png")
    assert refuses(decode_labels, tmp_path / "z.png", (10, 10))


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_that_image_sets_are_made_of_are_read(tmp_path, kind):
    (tmp_path / "x").write_bytes(encoded(kind))
    assert read(tmp_path / "x").shape == (24, 24, 3)


@pytest.mark.parametrize("kind", ["folder", "fifo", "zeros", "nothing", "loop", "dangling", "huge"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path, kind):
    path = tmp_path / "x.png"
    if kind == "huge":
        with path.open("wb") as file:
            file.truncate(10**12)
    else:
        odd_targets(path, tmp_path)[kind]()
    started = time.monotonic()
    assert refuses(read, path)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("kind", FORMATS)
def test_no_damaged_image_crashes_its_reader(tmp_path, kind):
    path, whole = tmp_path / "x", encoded(kind)
    for _, spoiled in (*flips(whole, 60), *truncations(whole, 20)):
        path.write_bytes(spoiled)
        survives(read, path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_no_image_damaged_in_many_ways_crashes_its_reader(tmp_path, kind):
    path, whole = tmp_path / "x", encoded(kind)
    for seed in range(3):
        for _, spoiled in (*flips(whole, 700, seed=seed), *truncations(whole, 200, seed=seed)):
            path.write_bytes(spoiled)
            survives(read, path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.binary(max_size=300), kind=st.sampled_from(FORMATS), keep=st.integers(2, 60))
def test_no_made_up_image_crashes_its_reader(tmp_path, data, kind, keep):
    (tmp_path / "x").write_bytes(encoded(kind)[:keep] + data)
    survives(read, tmp_path / "x")


def test_what_is_measured_above_is_the_memory_of_a_process():
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
    assert np.uint8
