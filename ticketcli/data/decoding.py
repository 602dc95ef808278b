"""One path from an image file to bytes [H, W, 3], whatever its format, colours and orientation.

Grey becomes three equal channels, 16-bit grey keeps its upper eight bits (rounded), CMYK, palettes and other colour
spaces are converted, what is transparent is shown over black, and the orientation that a camera noted is applied. A
JPEG much larger than needed is decoded at 1/2, 1/4 or 1/8 of its scale, which its format makes cheap. The common JPEG
goes through `jpeg`, to the same bytes.
"""

from __future__ import annotations

import stat
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from ticketcli.data.jpeg import decode_common
from ticketcli.errors import CorruptError, InputMissing, TicketError

_SPARE = 4  # a reduced JPEG keeps this many times the size that is shown: above 0.08 ** -0.5, the smallest crop's
# What image sets are made of, whatever the files are called. PIL knows more, and hands PostScript to Ghostscript.
_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP", "GIF")
_GREY_16 = ("I", "I;16", "I;16B", "I;16L", "I;16N")
SKIP_HINT = "mend or delete it, or leave such files out with data.broken: skip"


def decode(path: Path, size: int) -> Tensor:
    """Decode a file: uint8 [H, W, 3].

    Args:
        path: the file.
        size: side in pixels at which the image will be shown; a JPEG's shorter side may come reduced, to no less than
            four times that.

    Raises:
        InputMissing: no such file, or it may not be read.
        CorruptError: empty, truncated, damaged, not an image of a known format, or with more pixels than PIL allows.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; the pixels decide
            return _decode(path, size)
    except TicketError:
        raise
    except (FileNotFoundError, PermissionError) as error:
        raise InputMissing(f"cannot read an image: {error.strerror}", where=str(path)) from None
    except MemoryError:
        raise
    except Image.DecompressionBombError:
        raise CorruptError(
            "an image has too many pixels to be decoded safely", where=str(path), hint=SKIP_HINT
        ) from None
    except Exception as error:  # decoders of many formats raise what they like
        words = "not an image" if isinstance(error, UnidentifiedImageError) else str(error) or repr(error)
        raise CorruptError(f"an image cannot be decoded: {words}", where=str(path), hint=SKIP_HINT) from None


def decode_labels(path: Path, size: tuple[int, int], n_classes: int = 256) -> Tensor:
    """Decode a label image, whose numbers (of a palette or grey) are classes: uint8 [H, W].

    Args:
        path: the file.
        size: height and width that it has to have.
        n_classes: values from there on are wrong, but for 255, which counts for nothing.

    Raises:
        InputMissing: no such file, or it may not be read.
        CorruptError: it cannot be decoded, does not hold one byte a pixel, has another size, or values of no class.
    """
    try:
        _refuse_odd(path)
        with Image.open(path, formats=_FORMATS) as image:
            if (image.height, image.width) != size:  # told by the header, before anything is decoded
                raise _other_size((image.height, image.width), size, path)
            mode, labels = image.mode, np.array(image)
    except TicketError:
        raise
    except (FileNotFoundError, PermissionError) as error:
        raise InputMissing(f"cannot read a label image: {error.strerror}", where=str(path)) from None
    except MemoryError:
        raise
    except Exception as error:  # decoders of many formats raise what they like
        words = "not an image" if isinstance(error, UnidentifiedImageError) else str(error) or repr(error)
        raise CorruptError(f"a label image cannot be decoded: {words}", where=str(path)) from None
    if mode not in ("L", "P"):
        raise CorruptError(f"a label image has colours of kind {mode}, not one byte a pixel", where=str(path))
    if labels.shape != size:
        raise _other_size(labels.shape, size, path)
    strange = (labels >= n_classes) & (labels != 255)
    if strange.any():
        hint = f"there are {n_classes} classes, counted from 0; 255 is for what has none"
        raise CorruptError(f"a label image has pixels of class {labels[strange].min()}", where=str(path), hint=hint)
    return torch.from_numpy(labels)


def _other_size(found: tuple[int, ...], wanted: tuple[int, int], path: Path) -> CorruptError:
    here, there = (f"{width} x {height}" for height, width in (found, wanted))
    return CorruptError(f"a label image is {here} pixels, its image {there}", where=str(path))


def _refuse_odd(path: Path) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise CorruptError("an image is no regular file", where=str(path), hint=SKIP_HINT)
    if status.st_size == 0:
        raise CorruptError("an image file is empty", where=str(path), hint=SKIP_HINT)


def _decode(path: Path, size: int) -> Tensor:
    _refuse_odd(path)
    common = decode_common(path, below=2 * size * _SPARE)
    if common is not None:
        return common
    with Image.open(path, formats=_FORMATS) as image:
        if image.format == "JPEG":
            _reduce(image, size * _SPARE)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)  # else it copies what needs no turning
        colours = _three_channels(image)
    return torch.from_numpy(np.array(colours, dtype=np.uint8))


def _reduce(image: ImageFile.ImageFile, shortest: int) -> None:
    """Ask the JPEG decoder for a reduced scale whose shorter side is still `shortest` or more."""
    shorter = min(image.size)
    for scale in (8, 4, 2):
        if shorter // scale >= shortest:
            image.draft(None, (image.width // scale, image.height // scale))
            return


def _three_channels(image: Image.Image) -> Image.Image:
    if image.mode in _GREY_16:
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError("its grey values are not of 16 bits")
        image = Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
