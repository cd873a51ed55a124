"""Labels and class names are found where they are kept, and are those of the items."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features
from torch.utils.data import ConcatDataset, Subset

from hf_ltr import class_counts
from hf_ltr.data.labels import class_names_of, labels_of_rows, outside, read_labels

LABELS = [0, 1, 1, 2, 0]


def letters():
    return Dataset.from_dict({"label": LABELS}, features=Features({"label": ClassLabel(names=["a", "b", "c"])}))


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


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ([0, 2, 1], 3, None),
        ([0, 2, 1], None, None),
        ([0, 3, 4], 3, (1, 3, 2)),
        ([0, -1, 1], None, (1, -1, 1)),
        ([0.0, 1.5, np.nan, np.inf], 2, (1, 1.5, 3)),
    ],
)
def test_the_first_label_outside_the_classes(labels, classes, expected):
    assert outside(np.array(labels), classes) == expected
