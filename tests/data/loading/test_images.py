import io

import numpy as np
import PIL.Image
import pytest
import torch
from datasets import Dataset, Features, Image

from hf_ltr.data.loading.decoding import decode_image
from hf_ltr.data.loading.image_sources import image_source
from hf_ltr.data.loading.images import decode_resident, resize_image

from .small_sets import SMALL, encoded, image_dataset, pixels


def test_decode_resident_equals_datasets(shared_data, tmp_path):
    path = shared_data / "cifar100" / "test-00000-of-00001.parquet"
    dataset = Dataset.from_parquet(str(path), cache_dir=str(tmp_path)).shuffle(seed=0).select(range(200))
    images = decode_resident(dataset, 32)
    for row in range(0, 200, 17):
        expected = np.asarray(dataset[row]["image"].convert("RGB"))
        assert (images[row].permute(1, 2, 0).numpy() == expected).all()


def test_image_kinds():
    gray, color = pixels(1, 9, 7, 1)[0], pixels(1, 9, 7)[0]
    assert (decode_image({"bytes": encoded(gray), "path": None}, 3) == gray[:, :, None]).all()
    assert (decode_image(encoded(color)) == color).all()
    assert decode_image(encoded(color), 1).shape == (9, 7, 1)
    assert (decode_image(encoded(np.dstack((color, gray)))) == color).all()  # transparency is dropped
    assert decode_image(encoded(color), 4).shape == (9, 7, 4)
    deep = PIL.Image.fromarray(gray.astype(np.uint16) * 257)
    stream = io.BytesIO()
    deep.save(stream, "PNG")
    assert (decode_image(stream.getvalue(), 1)[:, :, 0] == gray).all()
    palette = PIL.Image.fromarray(color).convert("P")
    assert (decode_image(palette) == np.asarray(palette.convert("RGB"))).all()
    assert (decode_image(torch.from_numpy(color).permute(2, 0, 1)) == color).all()
    assert (decode_image(gray, 3) == gray[:, :, None]).all()
    jpeg, webp = (decode_image(encoded(color, format)) for format in ("JPEG", "WEBP"))
    assert jpeg.shape == webp.shape == (9, 7, 3)
    with pytest.raises(ValueError, match="0..255"):
        decode_image(np.ones((4, 4, 3)) * 0.5)


def test_exif_orientation_is_applied():
    image = pixels(1, 8, 16)[0]
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # rotated by a quarter
    data = encoded(image, "PNG", exif=exif)
    assert decode_image(data).shape == (16, 8, 3)
    dataset = image_dataset([data])
    assert (decode_image(image_source(dataset).items([0])[0]) == np.asarray(dataset[0]["image"])).all()


def test_a_resized_image_covers_its_size_and_is_cut_in_the_centre():
    image = pixels(1, 20, 40)[0]
    assert resize_image(image, (10, 10)).shape == (3, 10, 10)
    same = torch.from_numpy(image).permute(2, 0, 1)
    assert torch.equal(resize_image(image, (20, 20)), same[:, :, 10:30])
    assert torch.equal(resize_image(image, (20, 40)), same)


def test_files_and_threads(tmp_path):
    for row in range(3):
        PIL.Image.fromarray(SMALL[row]).save(tmp_path / f"{row}.png")
    paths = [str(tmp_path / f"{row}.png") for row in range(3)]
    dataset = Dataset.from_dict({"image": paths}, features=Features({"image": Image()}))
    assert (decode_resident(dataset, 32).numpy() == SMALL[:3].transpose(0, 3, 1, 2)).all()
    assert torch.equal(decode_resident(SMALL, 24, num_threads=3), decode_resident(SMALL, 24, num_threads=1))
    with pytest.raises(ValueError, match=r"row 1 \(.*1\.png\): FileNotFoundError"):
        (tmp_path / "1.png").unlink()
        decode_resident(dataset, 32)


def test_the_first_unreadable_images_are_named():
    with pytest.raises(ValueError, match="at least 5 images"):
        decode_resident(image_dataset([b"x"] * 9), 32)
