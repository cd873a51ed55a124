"""`hf-ltr prepare`: images resized once into Parquet, interrupted and continued."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from datasets import Image

from hf_ltr import class_counts, load_long_tailed
from hf_ltr.cli.main import main
from hf_ltr.data import long_tail_info
from hf_ltr.data.sources.prepare import Preparation, prepare

pytestmark = pytest.mark.usefixtures("datasets_cache")


def photograph(row: int, width: int, height: int) -> PIL.Image.Image:
    """Smooth, so that JPEG keeps it; each row has colours of its own."""
    y, x = np.mgrid[:height, :width]
    channels = [128 + 100 * np.sin(x / 17 + row), 128 + 100 * np.cos(y / 23 + row), np.full(x.shape, 20 * row % 255)]
    return PIL.Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


@pytest.fixture
def photographs(tmp_path):
    """12 photographs of 3 classes, wide and tall, and two small ones."""
    root = tmp_path / "photographs"
    for row in range(12):
        folder = root / ("train" if row % 4 else "test") / "bca"[row % 3]
        folder.mkdir(parents=True, exist_ok=True)
        size = (120 + 5 * row, 80) if row % 2 else (70, 95 + 3 * row)
        photograph(row, *(size if row < 10 else (40, 32))).save(folder / f"{row:02}.jpg", quality=95)
    return root


def encoded(data) -> dict[str, list[dict]]:
    return {split: part.cast_column("image", Image(decode=False))["image"][:] for split, part in data.items()}


def test_prepared_images(photographs, tmp_path):
    data = load_long_tailed(photographs)
    folder = prepare(data, tmp_path / "out", Preparation(size=48, shard_rows=4), workers=2, progress=False)
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md",
        "preparation.json",
        "test-00000-of-00001.parquet",
        *(f"train-{number:05}-of-00003.parquet" for number in range(3)),
    ]
    again = load_long_tailed(folder)
    for split, part in data.items():
        assert again[split]["label"][:] == part["label"][:]
        assert again[split].features == part.features
        assert long_tail_info(again[split]) == long_tail_info(part)
        for before, after in zip(part, again[split], strict=True):
            before, after = before["image"], after["image"]
            scale = min(1, 48 / min(before.size))
            assert after.size == tuple(round(side * scale) for side in before.size)
            expected = np.asarray(before.resize(after.size, PIL.Image.Resampling.BICUBIC), dtype=int)
            assert np.abs(np.asarray(after, dtype=int) - expected).mean() < 3
    names = [item["path"] for item in encoded(again)["train"]]
    assert names == [Path(item["path"]).name for item in encoded(data)["train"]]


def test_small_images_keep_their_bytes(photographs):
    file = photographs / "train" / "c" / "10.jpg"
    assert Preparation(size=48).encode({"bytes": None, "path": str(file)}) == file.read_bytes()
    assert Preparation(size=32).encode({"bytes": file.read_bytes(), "path": None}) == file.read_bytes()
    assert Preparation(size=31).encode({"bytes": None, "path": str(file)}) != file.read_bytes()
    bitmap = io.BytesIO()
    PIL.Image.open(file).save(bitmap, "BMP")
    stored = Preparation(size=48, format="png").encode({"bytes": bitmap.getvalue(), "path": None})
    assert PIL.Image.open(io.BytesIO(stored)).format == "PNG"
    assert np.array_equal(np.asarray(PIL.Image.open(io.BytesIO(stored))), np.asarray(PIL.Image.open(file)))


@pytest.mark.parametrize("format, quality", [("jpeg", 60), ("webp", 80), ("png", 90)])
def test_formats_and_upright_rgb(format, quality):
    image = photograph(3, 90, 60).convert("L")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    item = {"bytes": buffer.getvalue(), "path": None}
    stored = Preparation(size=30, format=format, quality=quality).encode(item)
    found = PIL.Image.open(io.BytesIO(stored))
    assert (found.format, found.mode, found.size) == (format.upper(), "RGB", (30, 45))
    assert len(Preparation(size=30, format="jpeg", quality=95).encode(item)) > len(
        Preparation(size=30, format="jpeg", quality=20).encode(item)
    )


KILLED = """
import os, signal, sys
from hf_ltr import load_long_tailed
from hf_ltr.data.sources import prepare as module
written, write = [], module.os.replace
def replace(temporary, path):
    if str(path).endswith(".parquet"):
        if len(written) == 2:
            os.kill(os.getpid(), signal.SIGKILL)  # the third file is whole, but not yet under its name
        written.append(path)
    write(temporary, path)
module.os.replace = replace
module.prepare(load_long_tailed(sys.argv[1]), sys.argv[2], module.Preparation(size=48, shard_rows=2), progress=False)
"""


def test_killed_and_continued(photographs, tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    data = load_long_tailed(photographs)
    options = Preparation(size=48, shard_rows=2)
    prepare(data, whole, options, progress=False)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(photographs), str(out)], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    finished = sorted(out.glob("*.parquet"))
    assert len(finished) == 2 and list(out.glob(".*.tmp"))
    with pytest.raises(ValueError, match="not finished: run the same"):
        load_long_tailed(out)
    stamps = [file.stat().st_mtime_ns for file in finished]
    prepare(data, out, options, workers=3, progress=False)
    assert [file.stat().st_mtime_ns for file in finished] == stamps  # not made again
    assert {file.name: file.read_bytes() for file in out.iterdir()} == {
        file.name: file.read_bytes() for file in whole.iterdir()
    }


def test_a_damaged_file_is_made_again(photographs, tmp_path):
    data, options = load_long_tailed(photographs), Preparation(size=48, shard_rows=2)
    folder = prepare(data, tmp_path / "out", options, progress=False)
    file = folder / "train-00001-of-00005.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:100])
    prepare(data, folder, options, progress=False)
    assert file.read_bytes() == content


def test_unreadable_images_are_reported_together(photographs, tmp_path):
    data, options = load_long_tailed(photographs), Preparation(size=48, shard_rows=2)
    files = [Path(item["path"]) for item in encoded(data)["train"]]
    good = {row: files[row].read_bytes() for row in (0, 5, 6)}
    for row in good:
        files[row].write_bytes(good[row][:60] if row else b"no image")
    with pytest.raises(ValueError) as caught:
        prepare(data, tmp_path / "out", options, progress=False)
    message = str(caught.value)
    assert "3 of 12 images cannot be read" in message
    for row in good:
        assert f"train, row {row} ({files[row]})" in message
    assert len((tmp_path / "out" / "unreadable.txt").read_text().splitlines()) == 3
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 4  # all others are done
    for row, content in good.items():
        files[row].write_bytes(content)
    folder = prepare(data, tmp_path / "out", options, progress=False)
    assert not (folder / "unreadable.txt").exists() and len(load_long_tailed(folder)["train"]) == 9


def test_two_preparations_do_not_mix(photographs, tmp_path):
    data = load_long_tailed(photographs)
    prepare(data, tmp_path / "out", Preparation(size=48), progress=False)
    with pytest.raises(ValueError, match=r"another preparation \(size=32 and not 48; quality=50 and not 90\)"):
        prepare(data, tmp_path / "out", Preparation(size=32, quality=50), progress=False)
    other = load_long_tailed(photographs, validation_per_class=1)
    with pytest.raises(ValueError, match="another dataset, or other rows"):
        prepare(other, tmp_path / "out", Preparation(size=48), progress=False)
    with pytest.raises(ValueError, match="was not written by `hf-ltr prepare`"):
        prepare(data, photographs, progress=False)
    (tmp_path / "out" / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(ValueError, match="no training split|says 9"):
        load_long_tailed(tmp_path / "out")


def test_options():
    for options, message in (
        ({"format": "jpg"}, "Unknown format.*'jpeg'"),
        ({"interpolation": "lanczos"}, "Unknown interpolation"),
        ({"size": 0}, "must be at least 1"),
        ({"quality": 101}, "between 1 and 100"),
    ):
        with pytest.raises(ValueError, match=message):
            Preparation(**options)


def test_command_with_a_long_tail(tmp_path, capsys):
    output = tmp_path / "digits"
    command = ["prepare", "digits", "--imbalance_factor", "20", "--output", str(output), "--shard_rows", "100"]
    assert main(command) == 0
    assert f"--dataset {output}" in capsys.readouterr().out
    data, again = load_long_tailed("digits", imbalance_factor=20), load_long_tailed(output)
    assert list(again) == list(data)
    for split in data:
        assert class_counts(again[split]) == class_counts(data[split])
        assert long_tail_info(again[split]) == long_tail_info(data[split])
        assert encoded(again)[split][3]["bytes"] == encoded(data)[split][3]["bytes"]  # 8 x 8: nothing to resize
    assert main(command) == 0  # nothing is left to do
    assert main([*command, "--size", "4"]) == 2
    assert "another preparation" in capsys.readouterr().err


def test_prepared_copy_of_a_named_dataset(tmp_path, monkeypatch, capsys):
    from hf_ltr.data.sources.lists import listed
    from hf_ltr.data.sources.lists.split_lists import official_counts

    from ..list_trees import COUNTS, imagenet_rows, write_images, write_lists

    rows = imagenet_rows()
    write_lists(tmp_path / "images" / "lists", rows)
    write_images(tmp_path / "images", rows)
    output = tmp_path / "out"
    command = ["prepare", "imagenet_lt", "--data_dir", str(tmp_path / "images"), "--output", str(output)]
    assert main(command) == 2
    capsys.readouterr()
    assert main([*command, "--any_lists", "--size", "3"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(told) == 3 and all("not the official list" in line and "prepare.py" not in line for line in told)
    data = load_long_tailed("imagenet_lt", data_dir=output, check_lists=False)
    assert class_counts(data["train"]).counts == COUNTS and list(data) == ["train", "validation", "test"]
    assert data["train"][0]["image"].size == (3, 3)
    assert json.loads((output / "preparation.json").read_text())["complete"]
    with pytest.raises(ValueError, match="no copy of imagenet_lt: its train split has 38 images of 12 classes"):
        load_long_tailed("imagenet_lt", data_dir=output)
    monkeypatch.setattr(listed, "official_counts", lambda name: type(official_counts(name))(COUNTS))
    with pytest.raises(ValueError, match="its validation split has 24 images"):
        load_long_tailed("imagenet_lt", data_dir=output)
