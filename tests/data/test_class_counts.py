import json

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value, concatenate_datasets

from hf_ltr import ClassCounts, class_counts
from hf_ltr.data.labels import column_labels


def labelled(labels, names=None, **columns):
    feature = ClassLabel(names=names) if names else Value("int64")
    features = Features({"label": feature} | {name: Value("string") for name in columns})
    return Dataset.from_dict({"label": labels, **columns}, features=features)


def test_prior_factor_and_groups_at_their_borders():
    counts = ClassCounts([500, 101, 100, 20, 19, 0], names=list("abcdef"))
    assert counts.num_classes == len(counts) == 6
    assert counts.total == 740
    assert counts.prior.dtype == np.float64
    np.testing.assert_allclose(counts.prior, [500 / 740, 101 / 740, 100 / 740, 20 / 740, 19 / 740, 0], rtol=1e-15)
    assert counts.imbalance_factor == 500 / 19
    # Exactly 100 and exactly 20 are medium; a class without images is few.
    assert counts.groups == {"many": [0, 1], "medium": [2, 3], "few": [4, 5]}
    assert counts.group_of_class.tolist() == [0, 0, 1, 1, 2, 2]
    assert list(counts) == counts.counts and counts[1] == 101


def test_a_group_without_classes_is_absent():
    counts = ClassCounts([10, 300, 5])
    assert counts.groups == {"many": [1], "few": [0, 2]}
    assert counts.group_of_class.tolist() == [1, 0, 1]


def test_other_thresholds():
    assert ClassCounts([10, 7, 5, 4], thresholds=(7, 5)).groups == {"many": [0], "medium": [1, 2], "few": [3]}
    with pytest.raises(ValueError, match=r"many >= few"):
        ClassCounts([3, 2], thresholds=(20, 100))


def test_auto_grouping_takes_thirds_by_cardinality_only_where_a_group_would_be_empty():
    counts = ClassCounts([3, 60, 8, 60, 1, 40, 2], grouping="auto")
    # By cardinality, ties by index: 1, 3, 5 | 2, 0 | 6, 4.
    assert counts.groups == {"many": [1, 3, 5], "medium": [0, 2], "few": [4, 6]}
    assert ClassCounts([500, 50, 5, 4], grouping="auto").groups == {"many": [0], "medium": [1], "few": [2, 3]}
    assert ClassCounts([4, 9], grouping="auto").groups == {"many": [1], "medium": [0]}
    with pytest.raises(ValueError, match=r"Unknown grouping.*'auto'"):
        ClassCounts([1], grouping="automatic")


@pytest.mark.parametrize("value", [[5, 3], (5, 3), np.array([5, 3]), torch.tensor([5, 3]), np.array([5.0, 3.0])])
def test_of_takes_any_sequence_of_integers(value):
    assert ClassCounts.of(value).counts == [5, 3]
    assert all(type(count) is int for count in ClassCounts.of(value))


def test_of_returns_class_counts_as_they_are():
    counts = ClassCounts([5, 3], thresholds=(4, 4))
    assert ClassCounts.of(counts) is counts


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "non-empty"),
        ([[1, 2]], "non-empty list"),
        ([3, -1], "class 1 has -1"),
        ([0.6, 0.4], "not shares"),
        (["many"], "integers"),
        ([1.0, float("nan")], "integers"),
        ([1.0, float("inf")], "integers"),
    ],
)
def test_of_refuses_what_is_no_count(value, message):
    with pytest.raises(ValueError, match=message):
        ClassCounts.of(value)


@pytest.mark.parametrize("value", [None, "digits", {"counts": [1]}, 5, labelled([0, 1])])
def test_of_refuses_other_types(value):
    with pytest.raises(TypeError, match=type(value).__name__):
        ClassCounts.of(value)


def test_names_must_match():
    with pytest.raises(ValueError, match="2 class names .* 3 class counts"):
        ClassCounts([1, 2, 3], names=["a", "b"])


def test_require_images_names_the_empty_classes():
    ClassCounts([1, 2]).require_images("crt")
    with pytest.raises(ValueError, match=r"crt needs .* 2 of 4 classes have none: 1 \(bee\), 3 \(dog\)"):
        ClassCounts([1, 0, 2, 0], names=["ant", "bee", "cat", "dog"]).require_images("crt")


def test_json_round_trip_and_equality():
    counts = ClassCounts([9, 1], names=["a", "b"], thresholds=(5, 2), grouping="auto")
    again = ClassCounts.from_dict(json.loads(json.dumps(counts.to_dict())))
    assert again == counts and hash(again) == hash(counts) and again.groups == counts.groups
    assert again != ClassCounts([9, 1], names=["b", "a"], thresholds=(5, 2), grouping="auto")
    assert counts != [9, 1]


def test_nothing_to_divide_by_is_an_error():
    with pytest.raises(ValueError, match="no prior"):
        _ = ClassCounts([0, 0]).prior
    with pytest.raises(ValueError, match="no imbalance factor"):
        _ = ClassCounts([0, 0]).imbalance_factor


def test_repr_is_short():
    assert repr(ClassCounts([200] * 5 + [5])) == "ClassCounts(6 classes, 1,005 images, many=5, few=1)"


def test_classes_that_no_row_has_count_as_zero():
    counts = class_counts(labelled([2, 0, 2, 2], names=["a", "b", "c", "d"]))
    assert counts.counts == [1, 0, 3, 0]
    assert counts.names == ["a", "b", "c", "d"]
    assert class_counts(labelled([2, 0, 2])).counts == [1, 0, 2]
    assert class_counts(labelled([2, 0, 2])).names is None


def test_counts_follow_select_and_shuffle():
    dataset = labelled([0, 1, 1, 2, 2, 2], names=["a", "b", "c"])
    assert class_counts(dataset.shuffle(seed=3)).counts == [1, 2, 3]
    assert class_counts(dataset.select([5, 1])).counts == [0, 1, 1]
    assert class_counts(dataset.shuffle(seed=3).select(range(6)).filter(lambda row: row["label"] > 0)).counts == [
        0,
        2,
        3,
    ]


def test_images_are_not_decoded():
    features = Features({"image": Image(), "label": ClassLabel(names=["a", "b"])})
    broken = Dataset.from_dict(
        {"image": [{"bytes": b"no image", "path": None}] * 3, "label": [1, 0, 1]}, features=features
    )
    with pytest.raises(Exception, match="cannot identify image"):
        broken[0]
    assert class_counts(broken).counts == [1, 2]


def test_formats_and_transforms_do_not_matter():
    dataset = labelled([0, 1, 1], names=["a", "b"])
    assert class_counts(dataset.with_format("torch")).counts == [1, 2]
    assert class_counts(dataset.with_transform(lambda rows: {"label": [9] * len(rows["label"])})).counts == [1, 2]


def test_label_column_by_name():
    dataset = labelled([0, 1, 1], names=["a", "b"]).rename_column("label", "kind")
    assert class_counts(dataset, label_column="kind").counts == [1, 2]
    assert class_counts(dataset.rename_column("kind", "labels")).counts == [1, 2]
    with pytest.raises(ValueError, match=r"No label column 'label'; the columns are kind.*label_column="):
        class_counts(dataset)


@pytest.mark.parametrize("attribute", ["labels", "targets"])
def test_any_dataset_with_labels(attribute):
    class Images(torch.utils.data.Dataset):
        pass

    images = Images()
    for values in ([0, 2, 2], torch.tensor([0, 2, 2]), np.array([0, 2, 2], dtype=np.uint8)):
        setattr(images, attribute, values)
        assert class_counts(images).counts == [1, 0, 2]
    setattr(images, attribute, [0.5, 1.0])
    with pytest.raises(ValueError, match="one integer per row"):
        class_counts(images)


def test_classes_of_a_torchvision_dataset_are_its_names():
    class Folder(torch.utils.data.Dataset):
        classes = ["ant", "bee", "cat"]
        targets = [0, 2, 2]

    counts = class_counts(Folder())
    assert counts.counts == [1, 0, 2] and counts.names == ["ant", "bee", "cat"]
    Folder.targets = [0, 3]
    with pytest.raises(ValueError, match=r"Row 1 has label 3, but labels must be 0\.\.2"):
        class_counts(Folder())


def test_dict_of_arrays():
    images = np.zeros((3, 4, 4), dtype=np.uint8)
    assert class_counts({"image": images, "label": np.array([0, 2, 2])}).counts == [1, 0, 2]
    assert class_counts({"pixel_values": images, "labels": torch.tensor([1, 1, 0])}).counts == [1, 2]
    with pytest.raises(ValueError, match="No label column 'label'; the columns are image"):
        class_counts({"image": images})


def test_only_the_rows_that_are_there_count():
    """The column is read without its index mapping first: what select left out must not be seen."""
    dataset = labelled([0, None, 2, 1, -5, 1], names=None)
    chosen = dataset.select([5, 0, 3, 2])
    assert column_labels(chosen).tolist() == [1, 0, 1, 2]
    assert column_labels(chosen.shuffle(seed=4)).tolist() == chosen.shuffle(seed=4)["label"][:]
    joined = concatenate_datasets([chosen, chosen.select([1])])
    assert column_labels(joined).tolist() == [1, 0, 1, 2, 0] and class_counts(joined).counts == [2, 2, 1]
    assert class_counts(chosen).counts == [1, 2, 1]
    with pytest.raises(ValueError, match=r"Row 1 has no label in column 'label' \(1 such rows\)"):
        class_counts(dataset.select([5, 1]))
    with pytest.raises(ValueError, match="Row 0 has label -5"):
        class_counts(dataset.select([4, 5]))


def test_what_cannot_be_counted():
    dataset = labelled([0, 1], names=["a", "b"])
    with pytest.raises(TypeError, match=r"one split.*train, test.*dataset\['train'\]"):
        class_counts(DatasetDict(train=dataset, test=dataset))
    with pytest.raises(TypeError, match="attribute"):
        class_counts([(0, 1)])
    with pytest.raises(TypeError, match="without streaming"):
        class_counts(dataset.to_iterable_dataset())
    with pytest.raises(ValueError, match="no rows"):
        class_counts(dataset.select([]))


def test_labels_outside_the_classes_are_named_with_their_row():
    with pytest.raises(ValueError, match=r"Row 2 has label 5, but labels must be 0\.\.1"):
        class_counts(_with_names([0, 1, 5], ["a", "b"]))
    with pytest.raises(ValueError, match=r"Row 1 has label -1"):
        class_counts(labelled([0, -1, 1]))
    with pytest.raises(ValueError, match=r"Row 1 has no label in column 'label' \(2 such rows\)"):
        class_counts(labelled([0, None, None]))
    with pytest.raises(ValueError, match="must be integers"):
        class_counts(Dataset.from_dict({"label": ["cat", "dog"]}))


def _with_names(labels, names):
    """A `ClassLabel` checks new values itself; files written by others come without that check."""
    dataset = Dataset.from_dict({"label": labels})
    dataset.info.features = Features({"label": ClassLabel(names=names)})
    return dataset
