"""Image files as far as their first and last bytes tell: there, an image, whole, and of which size."""

from __future__ import annotations

import os
import re
from typing import IO

_TAIL = 2**16  # bytes; what a program may have put behind the end of an image is rarely longer
_ORIENTATION = 0x0112  # EXIF's; from 5 on, width and height are exchanged
_LEAVES = re.compile(r"[/\\]|[A-Za-z]:|(?:.*[/\\])?\.\.(?:[/\\]|$)")


def leaves_folder(name: str) -> bool:
    """Whether a file name is absolute or climbs with `..`, as POSIX or as Windows has it."""
    return _LEAVES.match(name) is not None


def can_be_name(name: str) -> bool:
    """Whether a name is text that can be written, and that a file system may know."""
    try:
        return bool(name.encode()) and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def file_size(path: str) -> tuple[int, int]:
    """Height and width of an image as it is shown: the orientation that a camera noted is applied. Pixels stay unread.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it cannot be read: empty, cut off, damaged or no image; says which.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a Path for each of 100,000 files takes longer than the file
            return _size(file)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except ValueError:
        raise
    except OSError as error:
        raise ValueError(error.strerror or "not an image") from None
    except Exception as error:  # decoders of many formats raise what they like
        raise ValueError(str(error) or type(error).__name__) from None


def _size(file: IO[bytes]) -> tuple[int, int]:
    from PIL import Image, UnidentifiedImageError

    end = os.fstat(file.fileno()).st_size
    if not end:
        raise ValueError("empty")
    try:
        with Image.open(file) as image:
            kind, (width, height) = image.format, image.size
            turned = Image.Image.getexif(image).get(_ORIENTATION, 1)  # a PNG's own would read all its pixels
            if _cut_off(file, kind, end):
                raise ValueError("cut off")
    except UnidentifiedImageError:
        raise ValueError("not an image") from None
    is_turned = isinstance(turned, int) and 5 <= turned <= 8
    return (width, height) if is_turned else (height, width)


def _cut_off(file: IO[bytes], kind: str | None, end: int) -> bool:
    """Whether the mark is missing with which an image of that kind ends. (Of a WebP, PIL itself looks at all bytes.)"""
    mark = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}.get(kind or "")
    if mark is None:
        return False
    file.seek(max(0, end - _TAIL))
    return mark not in file.read()
