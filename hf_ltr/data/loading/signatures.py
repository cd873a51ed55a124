"""What a file is that is no image, by its first bytes: an error should say more than that it cannot be identified."""

from __future__ import annotations

# Position, first bytes, what they mean.
_KNOWN = (
    (0, b"version https://git-lfs", "it is a pointer of Git LFS: run `git lfs pull`"),
    (0, b"%PDF", "it is a PDF document"),
    (0, b"PK\x03\x04", "it is a ZIP archive"),
    (0, b"\x1f\x8b", "it is compressed with gzip"),
    (0, b"\x93NUMPY", "it is a NumPy array"),
    (0, b"\x89HDF", "it is an HDF5 file"),
    (128, b"DICM", "it is a DICOM file: export it as PNG"),
    (4, b"ftypheic", "it is a HEIC photograph, which Pillow does not read: convert it to JPEG"),
    (4, b"ftypheix", "it is a HEIC photograph, which Pillow does not read: convert it to JPEG"),
    (4, b"ftypmif1", "it is a HEIF photograph, which Pillow does not read: convert it to JPEG"),
    (4, b"ftypavif", "it is an AVIF image, which this Pillow does not read: convert it to JPEG"),
    (4, b"ftyp", "it is a video or another MP4 file"),
    (0, b"\xff\xd8", "it begins like a JPEG, but its header is damaged"),
    (0, b"\x89PNG", "it begins like a PNG, but its header is damaged"),
    (0, b"GIF8", "it begins like a GIF, but its header is damaged"),
    (0, b"II*\x00", "it begins like a TIFF, but its kind is not read by Pillow or its header is damaged"),
    (0, b"MM\x00*", "it begins like a TIFF, but its kind is not read by Pillow or its header is damaged"),
    (0, b"BM", "it begins like a BMP, but its header is damaged"),
    (0, b"RIFF", "it begins like a WebP, but its header is damaged"),
)


def what_it_is(beginning: bytes) -> str:
    """Why the first few hundred bytes of a file are no image."""
    if not beginning:
        return "the file is empty (0 bytes)"
    for position, known, meaning in _KNOWN:
        if beginning[position : position + len(known)] == known:
            return f"no image: {meaning}"
    start = bytes(beginning[:256]).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "no image: it is an HTML page, such as servers send in the place of a file"
    if b"<svg" in start:
        return "no image: it is an SVG drawing, which has no pixels: export it as PNG"
    if not any(beginning[:256]):
        return "no image: it begins with zeros, as after an interrupted copy"
    text = bytes(beginning[:40])
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in text):
        return f"no image: it is text that begins with {text.decode('ascii')!r}"
    return f"no image that Pillow reads: it begins with the bytes {bytes(beginning[:8]).hex(' ')}"
