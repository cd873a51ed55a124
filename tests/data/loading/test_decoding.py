"""What is decoded is what the photograph shows: modes, containers, bit depths, orientation; and what is refused."""

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import torch
from datasets import Dataset, Features, Image

from hf_ltr.data.loading.batch_loader import BatchLoader
from hf_ltr.data.loading.batches import SequentialShards
from hf_ltr.data.loading.decoding import MAX_PIXELS_VARIABLE, decode_image, image_dimensions
from hf_ltr.data.loading.images import decode_resident, resize_image
from hf_ltr.data.sources.prepare import Preparation

from .. import pictures
from ..pictures import deep, encoded, gray, header_of, oriented, oriented_by_xmp, packed_12_bits, photograph, raw_tiff

LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}
UPRIGHT = np.asarray(photograph())
GRAY = np.repeat(gray()[:, :, None], 3, axis=2)


def assert_shows(data, expected, tolerance=0):
    """The pixels, the size by the header, and what `datasets` and transformers make of it."""
    array = decode_image(data)
    assert array.dtype == np.uint8 and array.shape == expected.shape == (*image_dimensions(data), 3)
    assert np.abs(array.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("format", "options"),
    [*LOSSLESS.items(), ("TIFF", {"compression": "tiff_lzw"}), ("JPEG", {"quality": 95, "subsampling": 0})],
)
def test_orientation_of_every_container(format, options, orientation):
    data = oriented(format, orientation, **options)
    assert_shows(data, UPRIGHT, tolerance=6 if format == "JPEG" else 0)
    # Decoded by `datasets` already: not turned a second time.
    decoded = Image().decode_example({"bytes": data, "path": None})
    assert np.array_equal(decode_image(decoded), decode_image(data))


@pytest.mark.parametrize("element", [False, True])
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_of_xmp(format, orientation, element):
    assert_shows(oriented_by_xmp(format, orientation, element), UPRIGHT, tolerance=12 if format == "JPEG" else 0)


def test_a_damaged_exif_block_leaves_the_photograph():
    data = encoded(photograph(), "JPEG", exif=b"Exif\0\0neither II nor MM", quality=95)
    assert np.array_equal(decode_image(data), decode_image(encoded(photograph(), "JPEG", quality=95)))


@pytest.mark.parametrize("orientation", [1, 6])
def test_deep_images_are_turned_and_scaled(orientation):
    image = PIL.Image.fromarray(gray().astype(np.uint16) * 257)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = image.transpose(pictures.STORED[6]) if orientation == 6 else image
    assert_shows(encoded(stored, "PNG", exif=exif), GRAY)


DEEP = {
    "16-bit PNG": deep(np.uint16),
    "16-bit TIFF": deep(np.uint16, format="TIFF"),
    "16-bit TIFF, big-endian": deep(">u2", format="TIFF"),
    "16-bit TIFF, white is zero": raw_tiff(16, 0, (65535 - gray().astype(int) * 257).astype("<u2").tobytes()),
    "16-bit PGM": deep(np.uint16, format="PPM"),
    "12-bit TIFF": raw_tiff(12, 1, packed_12_bits(gray().astype(int) * 4095 // 255)),
    "8 bits in 32": deep(np.int32, 1, "TIFF"),
    "8 bits in 32, unsigned": deep(np.uint32, 1, "TIFF"),
    "16 bits in 32": deep(np.int32, 257, "TIFF"),
    "8 bits in signed 16": deep(np.int16, 1, "TIFF"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_bit_depths(kind):
    assert_shows(DEEP[kind], GRAY)
    assert np.array_equal(decode_image(DEEP[kind], 1)[:, :, 0], gray())


def test_sixteen_bits_are_rounded_and_never_stretched():
    values = np.array([[0, 128, 129, 32767, 65406, 65407, 65535]], dtype=np.uint16)
    assert decode_image(PIL.Image.fromarray(values), 1).ravel().tolist() == [0, 0, 1, 127, 254, 255, 255]
    # A dark photograph stays as dark as it is beside its neighbours.
    assert decode_image(deep(np.uint16, factor=1)).max() == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"])
def test_modes(mode):
    image = photograph(mode)
    plain = image.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode)).convert("RGB")
    assert np.array_equal(decode_image(image), np.asarray(plain))
    assert decode_image(image, 1).shape == (*gray().shape, 1) and decode_image(image, 4).shape[2] == 4


def test_palette_with_transparency_and_colour_without_palette():
    palette = photograph("P")
    clear = encoded(palette, "PNG", transparency=bytes(range(256)))
    assert np.array_equal(decode_image(clear), np.asarray(palette.convert("RGB")))
    cmyk = decode_image(encoded(photograph("CMYK"), "JPEG", quality=95))
    assert np.abs(cmyk.astype(int) - UPRIGHT).max() < 12


def test_the_first_frame_and_the_first_page():
    other = PIL.Image.new("RGB", photograph().size)
    for format in ("GIF", "TIFF", "WEBP", "PNG"):
        options = {"save_all": True, "append_images": [other, other]}
        first = decode_image(encoded(photograph(), format, **options, **LOSSLESS.get(format, {})))
        assert np.abs(first.astype(int) - UPRIGHT).mean() < 3


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (UPRIGHT.transpose(2, 0, 1), UPRIGHT),
        (torch.from_numpy(UPRIGHT.copy()), UPRIGHT),
        (torch.from_numpy(UPRIGHT.transpose(2, 0, 1).copy()), UPRIGHT),
        (gray().astype(np.uint16) * 257, GRAY),
        (torch.from_numpy(gray().astype(np.uint16) * 257), GRAY),
        (gray().astype(np.int64), GRAY),
        (gray().tolist(), GRAY),
        (np.dstack([gray(), gray()]), GRAY),
        (UPRIGHT[:2], UPRIGHT[:2]),
        (torch.from_numpy(UPRIGHT[:2].copy()), UPRIGHT[:2]),
        (gray() > 99, np.where(GRAY > 99, 255, 0)),
    ],
)
def test_arrays(array, expected):
    assert np.array_equal(decode_image(array), expected)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (PIL.Image.fromarray(np.ones((4, 4), np.float32)), "floating-point images have no fixed range"),
        (deep(np.float32, 1, "TIFF"), "floating-point images have no fixed range"),
        (np.full((4, 4), np.nan), "must hold integers, 0..255 or 0..65535, got float64"),
        (torch.rand(3, 4, 4).to(torch.bfloat16), "must hold integers, 0..255 or 0..65535"),
        (deep(np.int32, 70000, "TIFF"), "0..65535 .16 bits., but these are 0 to"),
        (np.array([[-1, 3]]), "but these are -1 to 3"),
        (np.zeros((4, 4, 0), np.uint8), "holds no pixel"),
        (np.zeros((5, 5, 7), np.uint8), r"with 1 to 4 channels, got shape \(5, 5, 7\)"),
        (np.zeros((4, 9, 9, 3), np.uint8), "got shape"),
        (PIL.Image.new("RGB", (0, 4)), "shows nothing"),
        (None, "the entry is empty"),
    ],
)
def test_what_is_no_photograph_is_refused(item, message):
    with pytest.raises(ValueError, match=message):
        decode_image(item)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"<!DOCTYPE html><p>404", "an HTML page"),
        (b"not found", "text that begins with 'not found'"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (bytes(600), "begins with zeros"),
        (b"\0\0\0\x20ftypheic", "HEIC photograph"),
        (b"\xff\xd8abc", "begins like a JPEG, but its header is damaged"),
        (b"\xfe\x01\x02", "begins with the bytes fe 01 02"),
    ],
)
def test_files_that_hold_something_else(content, message, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(content)
    for item in (content, tmp_path / "photo.jpg"):
        with pytest.raises(PIL.UnidentifiedImageError, match=message):
            decode_image(item)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_huge_images_are_refused_by_their_header(monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 89_478_485)
    with pytest.raises(ValueError, match="12000 x 12000 pixels is larger than the limit of 89,478,485 pixels"):
        decode_image(header_of(12000, 12000))
    with pytest.raises(ValueError, match=f"larger than the limit.*{MAX_PIXELS_VARIABLE}"):
        decode_image(header_of(60000, 60000))
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, str(60000 * 60000))
    assert image_dimensions(header_of(60000, 60000)) == (60000, 60000)
    monkeypatch.setenv(MAX_PIXELS_VARIABLE, "100")
    with pytest.raises(ValueError, match="larger than the limit of 100 pixels"):
        decode_image(encoded(photograph(), "PNG"))


def test_a_long_strip_is_refused_before_it_is_resized(monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1_000_000)
    with pytest.raises(ValueError, match="5000 x 1 pixels is too long for its width"):
        resize_image(np.zeros((1, 5000, 3), np.uint8), (224, 224))
    assert resize_image(np.zeros((1, 1, 3), np.uint8), (224, 224)).shape == (3, 224, 224)


def dataset(images):
    features = Features({"image": Image()})
    return Dataset.from_dict({"image": [{"bytes": data, "path": None} for data in images]}, features=features)


def pixels_of(data, loading):
    batch_loader = BatchLoader(
        data,
        num_labels=None,
        image_size=16,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        train=False,
        require_labels=False,
        loading=loading,
    )
    (raw,) = batch_loader.loader(SequentialShards(batch_loader.num_rows, batch_loader.num_rows))
    return (batch_loader.prepare(raw)["pixel_values"] * 255).round().to(torch.uint8)


def test_resident_images_workers_and_prepared_images_are_the_same():
    images = [*DEEP.values(), oriented("PNG", 6), oriented("TIFF", 5), encoded(photograph("CMYK"), "TIFF")]
    with pytest.warns(UserWarning, match="read on the scale 0..255"):
        resident = pixels_of(dataset(images), "resident")
        workers = pixels_of(dataset(images), "workers")
    prepared = [Preparation(size=64, format="png").encode({"bytes": data, "path": None}) for data in images]
    assert torch.equal(resident, workers)
    assert torch.equal(decode_resident(dataset(prepared), 16), resident)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([deep(np.uint16)] * 2, None),
        ([deep(np.uint16, 16)] * 3, "3 images of 16 bits .* is 3984, in row 0, where white is 65535.*values by 16 if"),
        ([encoded(PIL.Image.fromarray(gray() // 16), "PNG")] * 2, "2 images of 8 bits .* is 15, .* values by 17"),
        ([deep(np.int32, 257, "TIFF"), deep(np.int32, 1, "TIFF")], "row 1 has values up to 249 .* too bright"),
        ([encoded(PIL.Image.new("L", (8, 8)), "PNG")] * 2, None),
    ],
)
def test_a_small_part_of_the_range_is_said(images, message, recwarn):
    pixels_of(dataset(images), "workers")
    said = [str(warning.message) for warning in recwarn if "range" in str(warning.message) or "white" in str(warning)]
    if message is None:
        assert said == []
    else:
        with pytest.warns(UserWarning, match=message):
            pixels_of(dataset(images), "workers")
