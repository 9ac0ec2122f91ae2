"""Reading a source picture: whatever a camera, a phone or a paint program wrote, as upright 8-bit RGB.

Sixteen-bit pictures are scaled, not clipped; palettes, greys and CMYK become RGB; transparent parts lie on white; the
camera's rotation tag is applied; of an animated picture the first frame is taken. Colour profiles are not applied.
"""

from __future__ import annotations

import os
import warnings

import numpy as np

from fctfg import face_crop, media
from fctfg.face_detection import Detector

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
SMALLEST = 64  # pixels; a face on less is a guess
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")


class PictureError(ValueError):
    """A picture that cannot be read or used. One line: ``<path>: <what is wrong>; <what to do>``."""


def read(path: str | os.PathLike) -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB, upright.

    Raises PictureError: no such file, not a picture, damaged, floating-point pixels, a side under 64 pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as opened:
            opened.load()
            picture = ImageOps.exif_transpose(opened)
            pixels = _rgb(picture, path)
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file; check the path") from None
    except UnidentifiedImageError:
        raise PictureError(f"{path}: is no picture that can be read; give a PNG, JPEG or WebP") from None
    except Image.DecompressionBombError:
        raise PictureError(f"{path}: is far too large; make it smaller first") from None
    except PictureError:
        raise
    except IsADirectoryError:
        raise PictureError(f"{path}: is a folder; name a picture") from None
    except PermissionError:
        raise PictureError(f"{path}: may not be read; check its permissions") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        # What Pillow's readers raise for files that begin like a picture and do not go on like one.
        reason = " ".join(str(error).split())[:120]
        raise PictureError(f"{path}: is a damaged picture ({reason}); save or download it again") from None
    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST:
        raise PictureError(f"{path}: is {width}x{height}; use a picture of at least {SMALLEST}x{SMALLEST}")
    return pixels


def face(path: str | os.PathLike, size: int, detector: Detector | None) -> np.ndarray:
    """The face of a picture file, (size, size, 3) uint8, cut as training clips are (``fctfg.face_crop``).

    ``detector`` None: the picture is a crop already, and square. Raises PictureError, and CropError without one face.
    """
    picture = read(path)
    height, width = picture.shape[:2]
    if detector is not None:
        left, top, right, bottom = face_crop.of_picture(picture, detector, path)
        if right - left < SMALLEST:
            raise PictureError(
                f"{path}: the face with its surroundings is {right - left} pixels wide; use one of at least {SMALLEST}"
            )
        picture = picture[top:bottom, left:right]
    elif width != height:
        raise PictureError(f"{path}: is {width}x{height}, not square; use --crop auto, or cut it to a square first")
    return media.resize(np.ascontiguousarray(picture)[None], (size, size))[0]


def _rgb(picture, path: str | os.PathLike) -> np.ndarray:
    """A Pillow picture of any mode as (H, W, 3) uint8."""
    from PIL import Image

    if picture.mode in _DEEP:
        levels = np.asarray(picture).astype(np.int64)
        if levels.min(initial=0) < 0 or levels.max(initial=0) > 65535:
            raise PictureError(f"{path}: has more than 16 bits a pixel; save it with 8 or 16")
        grey = ((levels + 128) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, 2)
    if picture.mode == "F":
        raise PictureError(f"{path}: has floating-point pixels; save it with 8 or 16 bits")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))
