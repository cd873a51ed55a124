"""The hash of the rows a dataset really has: of contents and order, never of places."""

import shutil

import numpy as np
import pytest
import torch
from datasets import Dataset, Image
from PIL import Image as PILImage
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from hf_ltr import load_long_tailed
from hf_ltr.data import hash_rows, row_identity

WHOLE = "(label, encoded image), in order"


def write_folder(folder, grays=(1, 2, 3, 4), classes=("ant", "bee")):
    for number, gray in enumerate(grays):
        path = folder / classes[number % len(classes)] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PILImage.new("L", (4, 4), gray).save(path)
    return folder


def by_path(folder):
    files = sorted(folder.rglob("*.png"))
    labels = [sorted({file.parent.name for file in files}).index(file.parent.name) for file in files]
    return Dataset.from_dict({"image": list(map(str, files)), "label": labels}).cast_column(
        "image", Image(decode=False)
    )


def embedded(dataset):
    rows = [{"bytes": open(row["path"], "rb").read(), "path": None} for row in dataset["image"]]
    return Dataset.from_dict({"image": rows, "label": dataset["label"][:]}).cast_column("image", Image())


@pytest.fixture
def digits():
    return load_long_tailed("digits", imbalance_factor=50)["train"]


def test_every_other_choice_of_rows_has_another_hash(digits):
    known = hash_rows(digits)
    assert known.row_identity == WHOLE and len(known.row_hash) == 64
    first = list(digits["label"]).index(0)
    swapped = list(range(len(digits)))
    # Two rows of one class in each other's place: counts, number and labels are the same.
    other = next(row for row in swapped[first + 1 :] if digits[row]["label"] == 0)
    swapped[first], swapped[other] = other, first
    choices = {
        "fewer": digits.select(range(20)),
        "shuffled": digits.shuffle(seed=1),
        "reversed": digits.select(range(len(digits))[::-1]),
        "swapped": digits.select(swapped),
        "twice": digits.select([*range(len(digits) - 1), 0]),
    }
    hashes = {name: hash_rows(part).row_hash for name, part in choices.items()}
    assert len({known.row_hash, *hashes.values()}) == len(choices) + 1
    assert hash_rows(digits.select(range(len(digits)))) == known
    assert hash_rows(digits.shuffle(seed=1).flatten_indices()).row_hash == hashes["shuffled"]
    assert hash_rows(digits.remove_columns("source_row").with_format("torch")) == known


def test_places_and_packing_do_not_matter_but_contents_do(tmp_path):
    first = by_path(write_folder(tmp_path / "first"))
    known = hash_rows(first)
    shutil.copytree(tmp_path / "first", tmp_path / "elsewhere")  # other times, other paths
    assert hash_rows(by_path(tmp_path / "elsewhere")) == known == hash_rows(embedded(first))
    one = sorted((tmp_path / "elsewhere").rglob("*.png"))[0]
    size = one.stat().st_size
    PILImage.new("L", (4, 4), 77).save(one)
    assert one.stat().st_size == size  # the size alone would not tell
    assert hash_rows(by_path(tmp_path / "elsewhere")).row_hash != known.row_hash
    relabelled = first.map(lambda row: {"label": 1 - row["label"]})
    assert hash_rows(relabelled).row_hash != known.row_hash


def test_large_sets_are_told_apart_by_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(row_identity, "WHOLE_BYTES", 100_000)
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, 60_000, dtype=np.uint8) for _ in range(3)]

    def dataset():
        rows = [{"bytes": image.tobytes(), "path": None} for image in images]
        return Dataset.from_dict({"image": rows, "label": [0, 1, 0]}).cast_column("image", Image(decode=False))

    known = hash_rows(dataset())
    assert known.row_identity == "(label, size and 12 KiB of the encoded image), in order"
    files = []
    for number, image in enumerate(images):
        files.append(tmp_path / str(number))
        files[-1].write_bytes(image.tobytes())
    rows = {"image": list(map(str, files)), "label": [0, 1, 0]}
    assert hash_rows(Dataset.from_dict(rows).cast_column("image", Image(decode=False))) == known
    for place in (0, 30_000, 59_999):
        images[1][place] ^= 1
        assert hash_rows(dataset()).row_hash != known.row_hash
        images[1][place] ^= 1
    images[0] = images[0][:-1]
    assert hash_rows(dataset()).row_hash != known.row_hash


class Paths:
    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, row):
        raise AssertionError("items may be augmented: they are not read")


class LabelsOnly(Paths):
    def __init__(self, labels):
        super().__init__(labels)
        self.targets = labels
        del self.samples

    def __len__(self):
        return len(self.targets)


def test_map_style_datasets(tmp_path):
    files = [str(file) for file in sorted(write_folder(tmp_path).rglob("*.png"))]
    paths = Paths(list(zip(files, [0, 0, 1, 1], strict=True)))
    assert hash_rows(paths) == hash_rows(by_path(tmp_path))
    assert hash_rows(Subset(paths, [2, 0])) == hash_rows(Paths([paths.samples[2], paths.samples[0]]))
    assert hash_rows(Subset(by_path(tmp_path), [2, 0])) == hash_rows(by_path(tmp_path).select([2, 0]))
    halves = ConcatDataset([Subset(paths, [0, 1]), Subset(paths, [2, 3])])
    assert hash_rows(halves) == hash_rows(paths)
    pixels, labels = torch.arange(48.0).view(4, 3, 2, 2), torch.tensor([0, 1, 0, 1])
    known = hash_rows(TensorDataset(pixels, labels))
    assert hash_rows([{"pixel_values": x, "labels": y} for x, y in zip(pixels, labels, strict=True)]) == known
    assert hash_rows({"image": pixels.numpy(), "label": labels.numpy()}) == known
    assert hash_rows(TensorDataset(pixels.flip(0), labels)).row_hash != known.row_hash
    only = hash_rows(LabelsOnly([0, 1, 0]))
    assert only.row_identity == "(label), in order" and only != hash_rows(LabelsOnly([0, 0, 1]))
    assert hash_rows(Subset(LabelsOnly([0, 1, 0]), [0])) != hash_rows(Subset(LabelsOnly([0, 1, 0]), [2]))
