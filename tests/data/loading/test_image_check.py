"""Damaged images and duplicates: found, named, and remembered as in order only where they are."""

import json
import os
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from datasets import ClassLabel, Dataset, Features, Image

from hf_ltr.cli.main import main
from hf_ltr.data.loading.checked_files import HEADERS, WHOLE, CheckedFiles, cache_folder
from hf_ltr.data.loading.duplicates import DuplicateFinder
from hf_ltr.data.loading.image_check import check_images

from ..pictures import deep, encoded, header_of, with_png_chunk


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("HF_LTR_CACHE", str(tmp_path_factory.mktemp("cache")))


def noise(seed: int, side: int = 20) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def files(folder, contents: dict[str, bytes]) -> Dataset:
    """Rows in the order of `contents`, classes a and b in turn."""
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        if content is not None:
            (folder / name).write_bytes(content)
    features = Features({"image": Image(), "label": ClassLabel(names=["a", "b"])})
    paths = [str(folder / name) for name in contents]
    return Dataset.from_dict({"image": paths, "label": [row % 2 for row in range(len(paths))]}, features=features)


def broken_checksum() -> bytes:
    data = encoded(noise(2), "PNG")
    end = data.index(b"IEND") - 4
    return data[: end - 4] + b"\0\0\0\0" + data[end:]


JPEG, PNG = encoded(noise(0), "JPEG"), encoded(noise(1), "PNG")
IN_HEADERS = {
    "empty.jpg": b"",
    "page.jpg": b"<!DOCTYPE html><p>Not found",
    "text.png": b"not found",
    "missing.png": None,
    "beginning.png": PNG[:20],
    "float.tif": deep(np.float32, 1, "TIFF"),
}
FURTHER_DOWN = {
    "half.jpg": encoded(noise(3, 90), "JPEG")[:3000],
    "half.png": PNG[: len(PNG) // 2],
    "checksum.png": broken_checksum(),
    "zeros.jpg": encoded(noise(3, 90), "JPEG")[:3000] + bytes(4000),
}
FINE = {"fine.jpg": JPEG, "fine.png": PNG, "pixel.png": encoded(noise(4, 1), "PNG"), "deep.png": deep(np.uint16)}
FINE["with a film behind.jpg"] = JPEG + b"film \xff\xda"
FINE["thumbnail.jpg"] = encoded(noise(0), "JPEG", exif=b"Exif\0\0" + JPEG, progressive=True)


def test_headers_and_whole_files(tmp_path):
    data = files(tmp_path / "images", {**FINE, **IN_HEADERS, **FURTHER_DOWN})
    check = check_images({"train": data}, progress=False)
    found = {damage.path.rpartition("/")[2]: damage for damage in check.damaged}
    assert set(found) == set(IN_HEADERS) and check.total == 16 and check.whole == 0
    assert "empty (0 bytes)" in found["empty.jpg"].reason and "HTML" in found["page.jpg"].reason
    assert found["missing.png"].reason.startswith("FileNotFoundError")
    first = check.damaged[0]
    assert (first.split, first.row, first.class_name) == ("train", 6, "a")
    assert str(first).startswith(f"train, class 'a', row 6 ({first.path}): UnidentifiedImageError: ")

    check = check_images({"train": data}, full=True, progress=False)
    assert [damage.path.rpartition("/")[2] for damage in check.damaged] == [*IN_HEADERS, *FURTHER_DOWN]
    assert check.whole == len(FINE)


def test_images_inside_of_a_table(tmp_path):
    images = [{"bytes": content, "path": name} for name, content in {**FINE, "half.png": PNG[:300], "x": b""}.items()]
    data = Dataset.from_dict({"image": images}, features=Features({"image": Image()}))
    (damage,) = check_images({"test": data}, progress=False).damaged
    assert (damage.row, damage.class_name, damage.path) == (7, None, "x")
    assert [damage.row for damage in check_images({"test": data}, full=True, progress=False).damaged] == [6, 7]
    # Rows after `select`; datasets that decode by themselves are left out.
    assert [damage.row for damage in check_images({"test": data.select([7, 0])}, progress=False).damaged] == [0]
    check = check_images({"own": [{"image": noise(0)}], "other": data.rename_column("image", "x")})
    assert check.skipped == ["own", "other"] and check.total == 0


def test_what_is_in_order_is_not_read_again(tmp_path):
    data = files(tmp_path / "images", {f"{row}.png": encoded(noise(row), "PNG") for row in range(12)})
    check_images({"train": data}, progress=False).remember()
    read = []
    options = {"progress": False, "visit": lambda split, row, item, pixels: read.append(row)}
    assert check_images({"train": data}, reuse=True, **options).remembered == 12 and read == []
    assert check_images({"a": data.shuffle(seed=0).select(range(5))}, reuse=True, progress=False).remembered == 5
    # Without `reuse` everything is read; a changed file always is.
    assert check_images({"train": data}, **options).remembered == 0 and len(read) == 12
    read.clear()
    (tmp_path / "images" / "3.png").write_bytes(b"")
    check = check_images({"train": data}, reuse=True, **options)
    assert [damage.row for damage in check.damaged] == [3] and read == [] and check.remembered == 11
    check.remember()
    assert [damage.row for damage in check_images({"train": data}, reuse=True, progress=False).damaged] == [3]
    # A full check counts for headers, and not the other way round.
    assert check_images({"train": data}, full=True, reuse=True, progress=False).remembered == 0
    check_images({"train": data}, full=True, progress=False).remember()
    check = check_images({"train": data}, reuse=True, progress=False)
    assert (check.remembered, check.whole) == (11, 11)


def test_rows_of_a_table_are_remembered_together(tmp_path):
    images = [{"bytes": encoded(noise(row), "PNG"), "path": None} for row in range(6)]
    Dataset.from_dict({"image": images}, features=Features({"image": Image()})).to_parquet(tmp_path / "data.parquet")
    data = Dataset.from_parquet(str(tmp_path / "data.parquet"), cache_dir=str(tmp_path / "cache"))
    check_images({"train": data}, progress=False).remember(complete=False)
    assert check_images({"train": data}, reuse=True, progress=False).remembered == 0
    check_images({"train": data}, progress=False).remember()
    assert check_images({"train": data}, reuse=True, progress=False).remembered == 6
    assert check_images({"train": data.select([1, 2])}, reuse=True, progress=False).remembered == 0
    opened_again = Dataset.from_parquet(str(tmp_path / "data.parquet"), cache_dir=str(tmp_path / "cache"))
    assert check_images({"train": opened_again}, reuse=True, progress=False).remembered == 6


def test_parts_are_the_whole(tmp_path):
    data = files(tmp_path / "images", {**FINE, **IN_HEADERS})
    parts = [check_images({"train": data}, part=(which, 3), progress=False).damaged for which in range(3)]
    assert [damage for part in parts for damage in part] == check_images({"train": data}, progress=False).damaged


def test_nothing_is_remembered_where_nothing_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_LTR_CACHE", str(tmp_path / "file" / "cache"))
    data = files(tmp_path / "images", FINE)
    check_images({"train": data}, progress=False).remember()
    assert check_images({"train": data}, reuse=True, progress=False).remembered == 0


def test_files_of_hashes_are_joined_and_a_damaged_one_is_ignored():
    for value in range(1, 40):
        CheckedFiles(HEADERS).add([value, None])
    folder = cache_folder() / "checked_images"
    assert len(list(folder.iterdir())) <= 17 and len(CheckedFiles(HEADERS)) == 39
    next(folder.iterdir()).write_bytes(b"damaged")
    (folder / "headers-x.npy").write_bytes(b"")
    assert CheckedFiles(HEADERS).contains([None, 0, 100]).tolist() == [False] * 3
    assert len(CheckedFiles(WHOLE)) == 0


def test_duplicates(tmp_path):
    picture = noise(9)
    train = {f"{row}.png": encoded(noise(row), "PNG") for row in range(6)}
    train |= {"copy in class a.png": train["0.png"], "copy in class b.png": train["2.png"]}  # rows 6 (a) and 7 (b)
    train["picture.png"] = encoded(picture, "PNG")
    test = {"of train.png": train["1.png"], "again.png": train["1.png"], "other format.bmp": encoded(picture, "BMP")}
    test["same size.png"] = with_png_chunk(train["5.png"], b"tEXt", b"a\0b")  # other bytes, the same pixels
    splits = {"train": files(tmp_path / "train", train), "test": files(tmp_path / "test", test)}
    labels = {split: data["label"][:] for split, data in splits.items()}

    finder = DuplicateFinder(splits)
    check_images(splits, visit=finder, progress=False)
    found = finder.find(labels)
    assert found.between == {("train", "test"): 2}
    assert found.across_classes == {"train": 2, "test": 2} and found.repeated == {"train": 1}
    assert found.groups[0] == [("train", 0), ("train", 6)] and len(found.groups) == 3

    finder = DuplicateFinder(splits)
    check_images(splits, full=True, visit=finder, progress=False)
    assert finder.find(labels).between == {("train", "test"): 4}


def test_duplicates_differ_behind_their_beginning(tmp_path):
    large = encoded(noise(0, 100), "BMP")
    data = {"train": files(tmp_path / "images", {"a.bmp": large, "b.bmp": large[:-9] + b"123456789"})}
    finder = DuplicateFinder(data)
    check_images(data, visit=finder, progress=False)
    assert finder.find().groups == []


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "test"):
        for name in "ab":
            (tmp_path / split / name).mkdir(parents=True)
            for row in range(3):
                seed = 100 * (split == "test") + 10 * (name == "b") + row
                noise(seed).save(tmp_path / split / name / f"{row}.png")
    return tmp_path


def test_command(folder, capsys, tmp_path_factory):
    assert main(["check", str(folder), "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "12 images (train 6, test 6), headers read (--full reads them whole)",
        "none damaged",
        "no duplicates",
    ]
    (folder / "train" / "b" / "1.png").write_bytes(b"")
    whole = (folder / "test" / "a" / "0.png").read_bytes()
    (folder / "test" / "a" / "0.png").write_bytes(whole[:300])
    (folder / "test" / "b" / "2.png").write_bytes((folder / "train" / "a" / "0.png").read_bytes())
    output = tmp_path_factory.mktemp("out") / "report.json"
    assert main(["check", str(folder), "--quiet", "--full", "--output", str(output)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"damaged: train, class 'b', row 4 ({folder}/train/b/1.png): ")
    assert lines[2].startswith(f"damaged: test, class 'a', row 0 ({folder}/test/a/0.png): OSError")
    assert lines[3] == "2 damaged" and lines[4].startswith(
        "duplicates: 1 of test also in train, such as train row 0 ("
    )
    report = json.loads(output.read_text())
    assert [(entry["split"], entry["row"]) for entry in report["damaged"]] == [("train", 4), ("test", 0)]
    assert report["duplicates"]["between"] == {"train/test": 1} and report["images"] == {"train": 6, "test": 6}
    assert main(["check", str(folder), "--quiet", "--no-duplicates", "--workers", "2"]) == 1
    assert "duplicates" not in capsys.readouterr().out
    assert main(["check", str(folder), "--workers", "0"]) == 2
    assert sorted(os.listdir(folder)) == ["test", "train"]  # nothing is written beside the images


def test_command_names_a_huge_image_without_a_warning_beside(folder):
    (folder / "test" / "a" / "1.png").write_bytes(header_of(12000, 12000))
    command = [sys.executable, "-m", "hf_ltr.cli.main", "check", str(folder), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "12000 x 12000 pixels is larger than the limit" in done.stdout
    assert done.stderr == ""


def test_command_says_that_a_part_of_the_range_is_used(folder, capsys):
    for file in folder.rglob("*.png"):
        file.write_bytes(deep(np.uint16, 16))
    assert main(["check", str(folder), "--full", "--quiet", "--no_duplicates"]) == 0
    assert "highest value of 6 images of 16 bits that were looked at is 3984" in capsys.readouterr().out
