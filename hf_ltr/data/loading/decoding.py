"""
One decoding of an image, whoever asks: training, evaluation, `predict`, `pipeline`, `hf-ltr prepare` and `adjust`.

Rules:
- **Upright.** Orientation is applied as `PIL.ImageOps.exif_transpose` does it: from EXIF in any container, from the
  tags of a TIFF, from XMP. What `datasets` has turned already carries no orientation any more and stays.
- **The first page** or frame. Palettes and colour spaces (CMYK, YCbCr, HSV, LAB) become RGB; transparency is dropped
  for 1 and 3 channels.
- **White is the container's highest value.** 16 bits are divided by 257 (12-bit TIFFs by 4095 / 255) and rounded,
  whatever the values of the single image: a dark photograph stays darker than its neighbour. 32-bit integers have no
  such range. They hold what smaller types were widened to, so they are read on the smallest of the scales 0..255 and
  0..65535 that holds the image; `ranges.py` says when a dataset has images of both.
- **Refused**, with what is wrong: floating-point and negative values, integers beyond 65535, an image of more pixels
  than `PIL.Image.MAX_IMAGE_PIXELS` (before it is decoded), and files that hold no image.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps

from .pixel_arrays import PIL_MODES, eight_bits, image_array, with_channels
from .signatures import what_it_is

MAX_PIXELS_VARIABLE = "HF_LTR_MAX_IMAGE_PIXELS"

_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
_WHITE_IS_ZERO = 0
# Formats whose integers wider than 8 bits are scaled to 16 bits by Pillow, also where it calls the mode "I".
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM", "JPEG2000")


def _formats(encoded: bytes | bytearray) -> tuple[str, ...] | None:
    # Told the format, Pillow does not try its plug-ins in turn (30 us for a WebP).
    if encoded[:2] == b"\xff\xd8":
        return ("JPEG",)
    if encoded[:8] == b"\x89PNG\r\n\x1a\n":
        return ("PNG",)
    return ("WEBP",) if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP" else None


def open_image(item: Any, num_channels: int | None = None) -> PIL.Image.Image | np.ndarray:
    """
    Open an undecoded image without decoding its pixels.

    Args:
        item: `{"bytes", "path"}`, encoded bytes, a path, a PIL image, or an array / tensor.
        num_channels (`int`, *optional*): Of arrays with more than four channels.

    Returns:
        A PIL image, or for arrays uint8 `(H, W, channels)`.

    Raises:
        FileNotFoundError, PIL.UnidentifiedImageError, ValueError: saying what is there in the place of an image.
    """
    if isinstance(item, Exception):
        raise item
    if isinstance(item, Mapping):
        if item.get("bytes") is not None:
            item = item["bytes"]
        elif item.get("path") and os.path.lexists(item["path"]):
            item = item["path"]
        elif item.get("path") and "://" in item["path"]:
            import datasets

            return datasets.Image().decode_example({"bytes": None, "path": item["path"]})
        else:
            raise FileNotFoundError(f"no image: {item.get('path') or 'neither bytes nor path are stored'}")
    if item is None:
        raise ValueError("no image: the entry is empty")
    if isinstance(item, PIL.Image.Image):
        return item
    if isinstance(item, bytes | bytearray):
        return _open_encoded(io.BytesIO(item), _formats(item), item)
    if isinstance(item, str | os.PathLike):
        if not os.path.isfile(item):  # opening a pipe would wait for ever
            kind = "is a folder or another thing that is no file" if os.path.exists(item) else "is not there"
            raise FileNotFoundError(f"no image: {os.fspath(item)} {kind}")
        return _open_encoded(item, None, None)
    return image_array(item, num_channels)


def with_bytes(item: Any) -> Any:
    """An undecoded image with its bytes, where it is a local file: read once, for all that look at them."""
    if isinstance(item, Mapping) and item.get("bytes") is None and os.path.isfile(item.get("path") or ""):
        return {"bytes": Path(item["path"]).read_bytes(), "path": item["path"]}
    return item


def _open_encoded(source: Any, formats: tuple[str, ...] | None, encoded: bytes | bytearray | None) -> PIL.Image.Image:
    limit = pixel_limit()
    try:
        image = PIL.Image.open(source, formats=formats)
    except PIL.UnidentifiedImageError:
        if encoded is None:
            with open(source, "rb") as stream:
                encoded = stream.read(512)
        raise PIL.UnidentifiedImageError(what_it_is(bytes(encoded[:512]))) from None
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        raise ValueError(f"the image is larger than the limit of {limit:,} pixels. {_how_to_allow()}") from None
    if limit is not None and image.width * image.height > limit:
        raise ValueError(
            f"an image of {image.width} x {image.height} pixels is larger than the limit of {limit:,} pixels. "
            f"{_how_to_allow()}"
        )
    return image


def pixel_limit() -> int | None:
    """Most pixels of an image: Pillow's limit, or that of `HF_LTR_MAX_IMAGE_PIXELS`, which is set there too."""
    given = os.environ.get(MAX_PIXELS_VARIABLE)
    if given:
        if not given.isdecimal() or int(given) < 1:
            raise ValueError(f"{MAX_PIXELS_VARIABLE} is a number of pixels, got {given!r}")
        PIL.Image.MAX_IMAGE_PIXELS = int(given)
    return PIL.Image.MAX_IMAGE_PIXELS


def _how_to_allow() -> str:
    return f"Make it smaller, or raise the limit with the environment variable {MAX_PIXELS_VARIABLE}=<pixels>."


def require_area(height: int, width: int, limit_of: tuple[int, int]) -> None:
    """
    Refuse an intermediate image of `height` x `width` that a resize of an image of `limit_of` (height, width) would
    make: the covering size of a long strip takes more memory than any photograph.
    """
    limit = pixel_limit()
    if limit is not None and height * width > max(limit, limit_of[0] * limit_of[1]):
        raise ValueError(
            f"an image of {limit_of[1]} x {limit_of[0]} pixels is too long for its width: with its shorter side "
            f"resized it has {width} x {height} pixels. Cut it."
        )


def image_dimensions(item: Any) -> tuple[int, int]:
    """
    (height, width) of an undecoded image as it is after decoding, from its header alone.

    Raises:
        `ValueError`, `OSError`: for what the header says cannot be decoded.
    """
    image = open_image(item)
    if isinstance(image, np.ndarray):
        return image.shape[:2]
    _refuse_floats(image)
    # A size is turned already by the tag of a TIFF, not by its XMP.
    turned_by_tag = _ORIENTATION in getattr(image, "tag_v2", {})
    # Not `image.getexif`, which decodes a PNG to look for EXIF behind its pixels.
    turned = not turned_by_tag and _orientation(image, PIL.Image.Image.getexif) >= 5
    return (image.width, image.height) if turned else (image.height, image.width)


def _refuse_floats(image: PIL.Image.Image) -> None:
    if image.mode == "F":
        raise ValueError(
            "floating-point images have no fixed range of values: convert them to 8 or 16 bits first (for values of "
            "0..1, times 255 or 65535)"
        )


def _orientation(image: PIL.Image.Image, read: Callable[..., Any] | None = None) -> int:
    try:
        value = (read(image) if read else image.getexif()).get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block, of which a photograph stays a photograph
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(image: PIL.Image.Image) -> PIL.Image.Image:
    """The image as it is to be seen; the same object where nothing has to be turned."""
    image.load()
    return image if _orientation(image) == 1 else PIL.ImageOps.exif_transpose(image)


def decode_image(item: Any, num_channels: int = 3) -> np.ndarray:
    """
    Decode one image by the rules at the top of this file.

    Args:
        item: See `open_image`.
        num_channels (`int`): 1 (gray), 3 (RGB) or 4 (RGBA); arrays may have any number.

    Returns:
        `np.ndarray` uint8 `(H, W, num_channels)`.

    Raises:
        ValueError, OSError: saying what is wrong with the image.
    """
    image = open_image(item, num_channels)
    if isinstance(image, np.ndarray):
        return with_channels(image, num_channels)
    if num_channels not in PIL_MODES:
        raise ValueError(f"images are decoded to 1, 3 or 4 channels, not {num_channels}")
    if not image.width or not image.height:
        raise ValueError(f"an image of {image.width} x {image.height} pixels shows nothing")
    image = _eight_bit_image(image)
    mode = PIL_MODES[num_channels]
    array = np.asarray(image if image.mode == mode else image.convert(mode))
    return array[:, :, None] if num_channels == 1 else array


def _eight_bit_image(image: PIL.Image.Image) -> PIL.Image.Image:
    """Upright, in a mode of 8 bits that converts to L, RGB and RGBA."""
    wide = wide_values(image)
    if wide is not None:
        return PIL.Image.fromarray(eight_bits(*wide))
    image = upright(image)
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA")
    # What converts to gray or RGB by a detour only: premultiplied transparency, LAB.
    detour = {"La": "LA", "RGBa": "RGBA", "LAB": "RGB"}.get(image.mode)
    return image.convert(detour) if detour else image


def is_wide(item: Any) -> bool:
    """Whether an undecoded image has more than 8 bits per value."""
    image = open_image(item)
    return isinstance(image, PIL.Image.Image) and image.mode.startswith(("I", "F"))


def wide_values(image: PIL.Image.Image) -> tuple[np.ndarray, int | None] | None:
    """
    The values of an image of more than 8 bits, upright, as they are stored.

    Returns:
        `(integers (H, W), white)`, white being the highest value of the container or None where it has none; None
        for an image of 8 bits.

    Raises:
        ValueError: for floating-point images.
    """
    _refuse_floats(image)
    if not image.mode.startswith("I"):
        return None
    kind = image.format
    tags = getattr(image, "tag_v2", {})
    bits, photometric = tags.get(_BITS_PER_SAMPLE), tags.get(_PHOTOMETRIC)
    values = np.asarray(upright(image))
    if image.mode == "I":
        return values, 65535 if kind in _SIXTEEN_BIT_FORMATS else None
    white = 4095 if bits in (12, (12,)) else 65535
    values = values.astype(np.uint16)
    # Pillow turns the scale of 1 and 8 bits, and not this one.
    return (white - values if photometric == _WHITE_IS_ZERO else values), white
