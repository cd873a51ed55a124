"""Streams, dicts of splits and names in the place of data get one error that says what to do; and the way out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as PILImage
from torch.utils.data import DataLoader

from hf_ltr import class_counts
from hf_ltr.data import to_map_style
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
