"""Streams, dicts of splits and names in the place of data get one error that says what to do; and the way out."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as PILImage
from torch.utils.data import ConcatDataset, DataLoader, Subset

from hf_ltr import class_counts
from hf_ltr.data import to_map_style
from hf_ltr.data.labels import class_names_of, labels_of_rows, read_labels
from hf_ltr.data.map_style import require_map_style

LABELS = [0, 1, 1, 2, 0]


def letters():
    images = [PILImage.fromarray(np.full((4, 4), 40 * row, dtype=np.uint8)) for row in range(5)]
    features = Features({"image": Image(), "label": ClassLabel(names=["a", "b", "c"])})
    return Dataset.from_dict({"image": images, "label": LABELS}, features=features)


class Stream(torch.utils.data.IterableDataset):
    labels = LABELS  # does not help: its rows have no numbers

    def __iter__(self):
        return iter([(row["image"], row["label"]) for row in letters()])


STREAMS = {
    "datasets": lambda: letters().to_iterable_dataset(),
    "torch": Stream,
    "generator": lambda: (row for row in letters()),
    "loader": lambda: DataLoader(letters()),
    "zip": lambda: zip(letters()["image"], LABELS, strict=True),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_streams_are_refused_with_the_way_out(kind):
    for check in (require_map_style, class_counts):
        with pytest.raises(TypeError, match=r"is a stream .*without streaming.*to_map_style.*`hf-ltr prepare`"):
            check(STREAMS[kind]())


@pytest.mark.parametrize("kind", ["datasets", "torch", "generator", "zip"])
def test_to_map_style_keeps_pixels_and_classes(kind):
    rows = to_map_style(STREAMS[kind]())
    assert isinstance(rows, Dataset) and rows["label"][:] == LABELS
    assert [int(np.asarray(image)[0, 0]) for image in rows["image"]] == [0, 40, 80, 120, 160]
    assert class_counts(rows).counts == [2, 2, 1]
    assert class_counts(rows).names == (["a", "b", "c"] if kind == "datasets" else None)


def test_to_map_style_of_what_are_no_rows():
    with pytest.raises(ValueError, match="no rows"):
        to_map_style(iter(()))
    with pytest.raises(ValueError, match="Row 0 is a str; rows must be"):
        to_map_style(iter(["ab"]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "is None"),
        ("digits", r"is 'digits', a name and no data: load it, load_long_tailed\('digits'\)"),
        (DatasetDict(train=letters()), r"one split, not the dict of train \(a DatasetDict\): pass dataset\['train'\]"),
        ({"train": letters().to_iterable_dataset()}, "one split"),
        (np.zeros((5, 4, 4), np.uint8), r"an array of shape \(5, 4, 4\), without labels"),
        (7, "not a int"),
    ],
)
def test_what_is_no_data_at_all(data, message):
    with pytest.raises(TypeError, match=message):
        require_map_style(data)


def test_tables_of_other_libraries():
    frame = type("DataFrame", (), {"__module__": "pandas.core.frame"})()
    with pytest.raises(TypeError, match=r"DataFrame of pandas: convert it with datasets.Dataset.from_pandas"):
        require_map_style(frame)


def folder(classes=("a", "b", "c"), **attributes):
    """As torchvision's ImageFolder keeps it."""

    class Folder(torch.utils.data.Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, row):
            change = getattr(self, "target_transform", None) or int
            return np.zeros((4, 4), np.uint8), change(self.targets[row])

    data = Folder()
    data.classes, data.targets = list(classes), list(LABELS)
    vars(data).update(attributes)
    return data


def test_labels_and_names_below_subsets_and_concatenations():
    rows = [4, 3, 3]
    for below in (letters(), folder()):
        assert class_counts(Subset(below, rows)).counts == [1, 0, 2]
        assert class_counts(Subset(Subset(below, rows), [0])).names == ["a", "b", "c"]
        assert class_counts(ConcatDataset([below, Subset(below, rows)])).counts == [3, 2, 3]
    with pytest.raises(ValueError, match="Part 0 and part 1 .*class 0 is 'a' and 'b'"):
        class_names_of(ConcatDataset([folder(), folder("bac")]))
    with pytest.raises(ValueError, match="Subset names row 9 of a dataset with 5 rows"):
        class_counts(Subset(letters(), [0, 9]))
    assert class_names_of(ConcatDataset([folder(), folder(classes=())])) is None


def test_labels_that_items_change_are_those_of_the_items():
    turned = folder(target_transform=lambda label: 2 - label)
    assert labels_of_rows(turned) is None
    assert read_labels(turned, ("label",), 3, True).tolist() == [2, 1, 1, 0, 2]
    with pytest.raises(TypeError, match="without loading its items"):
        class_counts(turned)

    class Stale(type(folder())):
        def __getitem__(self, row):
            image, label = super().__getitem__(row)
            return image, (label + 1) % 3

    stale = Stale()
    stale.targets = LABELS
    assert read_labels(stale, ("label",), 3, True).tolist() == [1, 2, 2, 0, 1]


def test_labels_are_renumbered_by_a_class_map():
    assert read_labels(letters(), ("label",), 7, True, class_map=[5, 0, 6]).tolist() == [5, 0, 0, 6, 5]
    with pytest.raises(ValueError, match=r"label of row 3 is 2, outside the classes 0\.\.1"):
        read_labels(letters(), ("label",), 7, True, class_map=[5, 0])


def test_which_names_are_datasets_is_known_without_heavy_imports():
    import subprocess

    code = (
        "import sys; from hf_ltr.recipe import early; "
        "early.check_paths(['--dataset', 'digits']); "
        "print([name for name in ('torch', 'datasets', 'transformers', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
