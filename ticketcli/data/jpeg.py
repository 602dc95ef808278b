"""The common JPEG by libjpeg-turbo itself (simplejpeg), which gives the bytes that PIL gives, sooner.

Common is what photographs in image sets are: grey or of three colours, without notes on how the camera was held, whole,
and no larger than it is wanted. All others are left to PIL.
"""

from __future__ import annotations

from pathlib import Path

import simplejpeg
import torch
from PIL import Image
from torch import Tensor

_START = b"\xff\xd8"
_NOTES = b"\xff\xe1"  # begins a segment of Exif or XMP; among the pixels' bytes it cannot be
_COLOURS = ("Gray", "RGB", "YCbCr")


def decode_common(path: Path, *, below: int) -> Tensor | None:
    """Decode a file, if it is a common JPEG: uint8 [H, W, 3]; None where PIL has to decide.

    Args:
        path: a file of any kind.
        below: the shorter side from which on PIL decodes it reduced, and sooner.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(len(_START))
        if data != _START:
            return None
        data += file.read()
    if _NOTES in data:
        return None
    most = Image.MAX_IMAGE_PIXELS
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in _COLOURS or min(height, width) >= below or (most is not None and height * width > most):
            return None
        return torch.from_numpy(simplejpeg.decode_jpeg(data, "RGB"))
    except (ValueError, KeyError):  # broken, or not supported, as 4:4:1 is not; PIL finds words for it
        return None
