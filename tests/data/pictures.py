"""One photograph in every mode, container and orientation that strangers' folders hold."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import PIL.ImageOps

WIDTH, HEIGHT = 24, 16
# What brings an upright image into the stored position of each EXIF orientation.
STORED = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_90,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_270,
}


def photograph(mode="RGB") -> PIL.Image.Image:
    """Smooth, not symmetric, with a colour of its own in each corner."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    channels = [x * 255 // (WIDTH - 1), y * 255 // (HEIGHT - 1), x * y * 200 // 345]
    image = PIL.Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))
    if mode in ("La", "RGBa"):
        return image.convert({"La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    if mode == "PA":
        return image.convert("P").convert("PA")
    return image if mode == "RGB" else image.convert(mode)


def gray() -> np.ndarray:
    return np.asarray(photograph("L"))


def encoded(image, format, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def deep(dtype, factor=257, format="PNG", **options) -> bytes:
    """The gray photograph with values of more than 8 bits."""
    return encoded(PIL.Image.fromarray((gray().astype(np.int64) * factor).astype(dtype)), format, **options)


def with_png_chunk(data: bytes, kind: bytes, content: bytes, before: bytes = b"IDAT") -> bytes:
    place = data.index(before) - 4
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data[:place] + chunk + data[place:]


def oriented(format: str, orientation: int, mode: str = "RGB", **options) -> bytes:
    """Stored turned, with the EXIF tag (or TIFF tag) that turns it back."""
    image = photograph(mode)
    stored = image.transpose(STORED[orientation]) if orientation in STORED else image
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    if format == "TIFF":
        return encoded(stored, format, tiffinfo={274: orientation}, **options)
    return encoded(stored, format, exif=exif, **options)


def xmp(orientation: int, element: bool) -> bytes:
    inner = (
        f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{orientation}"/>'
        if not element
        else f"<rdf:Description><tiff:Orientation>{orientation}</tiff:Orientation></rdf:Description>"
    )
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>{inner}</rdf:RDF></x:xmpmeta>'.encode()


def oriented_by_xmp(format: str, orientation: int, element: bool) -> bytes:
    stored, text = photograph().transpose(STORED[orientation]), xmp(orientation, element)
    if format == "PNG":
        content = b"XML:com.adobe.xmp\0\0\0\0\0" + text
        return with_png_chunk(encoded(stored, "PNG"), b"iTXt", content)
    if format == "TIFF":
        return encoded(stored, format, tiffinfo={700: text})
    return encoded(stored, format, xmp=text, **({"lossless": True} if format == "WEBP" else {"quality": 95}))


def raw_tiff(bits: int, photometric: int, content: bytes) -> bytes:
    """A gray TIFF of the photograph's size, which Pillow does not write: 12 bits, or white as zero."""
    entries = [(256, WIDTH), (257, HEIGHT), (258, bits), (259, 1), (262, photometric)]
    entries += [(273, 8 + 2 + 12 * 8 + 4), (277, 1), (279, len(content))]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + struct.pack("<I", 0) + content


def packed_12_bits(values: np.ndarray) -> bytes:
    """Two values in three bytes."""
    pairs = values.astype(np.uint16).reshape(-1, 2)
    first, second = pairs[:, 0], pairs[:, 1]
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8).tobytes()


def header_of(width, height):
    """A PNG whose header promises this size."""
    data = bytearray(encoded(photograph(), "PNG"))
    place = data.index(b"IHDR")
    data[place + 4 : place + 12] = struct.pack(">II", width, height)
    data[place + 17 : place + 21] = struct.pack(">I", zlib.crc32(bytes(data[place : place + 17])))
    return bytes(data)
