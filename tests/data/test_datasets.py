import hashlib
import json
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value

from hf_ltr import class_counts, load_long_tailed
from hf_ltr.data import long_tail_info

from .conftest import encoded_image, write_image_folder

pytestmark = pytest.mark.usefixtures("datasets_cache")

DIGITS_50 = [124, 80, 51, 33, 21, 14, 9, 5, 3, 2]


def grays(dataset):
    """The gray of every image: its identity in the small folders of these tests."""
    return [row["image"].convert("L").getpixel((0, 0)) for row in dataset]


def pixels(dataset):
    return [hashlib.sha256(np.asarray(row["image"]).tobytes()).hexdigest() for row in dataset]


def write_parquet(folder, split, counts, *, image="image", label="label", names=None, start=0, extra=None):
    """`counts[c]` rows of class c, rows of the classes taking turns; `order` counts rows of a class down."""
    labels = sorted((row, c) for c, count in enumerate(counts) for row in range(count))
    count = len(labels)
    columns = {
        image: [{"bytes": encoded_image((start + i) % 256), "path": None} for i in range(count)],
        label: [c if names is None or isinstance(names, ClassLabel) else names[c] for _, c in labels],
        "order": [1000 - row for row, _ in labels],
        "code": [f"{(7 * i) % 10007:05}" for i in range(count)],
    }
    kind = names if isinstance(names, ClassLabel) else Value("int64" if names is None else "string")
    features = Features({image: Image(), label: kind, "order": Value("int64"), "code": Value("string")})
    Path(folder).mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(columns, features=features).to_parquet(Path(folder) / f"{split}.parquet")
    return Path(folder)


# digits


def test_digits_golden():
    data = load_long_tailed("digits", imbalance_factor=50)
    assert list(data) == ["train", "validation", "test"]
    assert class_counts(data["train"]).counts == DIGITS_50
    assert class_counts(data["train"]).names == [str(digit) for digit in range(10)]
    assert class_counts(data["validation"]).counts == [10] * 10
    assert class_counts(data["test"]).counts == [40] * 10
    assert class_counts(load_long_tailed("digits")["train"]).counts == [124] * 10


def test_digits_are_the_real_ones():
    from sklearn.datasets import load_digits

    source = load_digits()
    data = load_long_tailed("digits")
    for split in data.values():
        assert isinstance(split.features["image"], Image)
        for row in split.select(range(0, len(split), 37)):
            assert row["image"].mode == "L" and row["image"].size == (8, 8)
            original = source.images[row["source_row"]]
            assert (np.asarray(row["image"]) == np.round(original * 255 / 16)).all()
            assert row["label"] == source.target[row["source_row"]]
    every = [row for split in data.values() for row in split["source_row"]]
    assert len(set(every)) == len(every) == 1240 + 100 + 400


def test_digits_test_and_validation_never_change():
    first = load_long_tailed("digits")
    for options in ({"imbalance_factor": 50}, {"imbalance_factor": 10, "seed": 7}, {"validation_per_class": 10}):
        other = load_long_tailed("digits", **options)
        for split in ("test", "validation"):
            assert other[split]["source_row"][:] == first[split]["source_row"][:]
            assert long_tail_info(other[split])["row_hash"] == long_tail_info(first[split])["row_hash"]


def test_subsets_are_seeded_nested_and_in_source_order():
    pool = load_long_tailed("digits")["train"]["source_row"][:]
    chosen = {}
    for factor in (1, 10, 50):
        rows = load_long_tailed("digits", imbalance_factor=factor)["train"]["source_row"][:]
        positions = [pool.index(row) for row in rows]
        assert positions == sorted(set(positions))
        chosen[factor] = set(rows)
    assert chosen[50] < chosen[10] < chosen[1] == set(pool)
    again = load_long_tailed("digits", imbalance_factor=50)["train"]
    other = load_long_tailed("digits", imbalance_factor=50, seed=1)["train"]
    assert set(again["source_row"]) == chosen[50] != set(other["source_row"])
    assert class_counts(other).counts == DIGITS_50
    assert long_tail_info(again)["row_hash"] != long_tail_info(other)["row_hash"]


def test_step_profile():
    data = load_long_tailed("digits", imbalance_factor=10, imbalance_type="step")
    assert class_counts(data["train"]).counts == [124] * 5 + [12] * 5


def test_record_of_a_subset():
    train = load_long_tailed("digits", imbalance_factor=50, seed=3)["train"]
    record = long_tail_info(train)
    assert re.fullmatch("[0-9a-f]{64}", record.pop("row_hash"))
    assert record == {
        "version": 1,
        "source": "digits",
        "split": "train",
        "imbalance_factor": 50,
        "imbalance_type": "exponential",
        "order_column": None,
        "seed": 3,
        "validation_per_class": 0,
        "counts": DIGITS_50,
        "class_names": [str(digit) for digit in range(10)],
        "row_identity": "(label, row of the source split)",
    }
    test = long_tail_info(load_long_tailed("digits", imbalance_factor=50)["test"])
    assert test["imbalance_factor"] is None and test["counts"] == [40] * 10


def test_own_validation_split_is_used_and_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_long_tailed("digits", validation_per_class=10)
    with pytest.warns(
        UserWarning, match=r"digits has a validation split of its own \(100 images, 10 to 10 per class\)"
    ):
        data = load_long_tailed("digits", validation_per_class=3)
    assert class_counts(data["validation"]).counts == [10] * 10


# folders of parquet files


@pytest.mark.parametrize(
    "files",
    [
        ("train-00000-of-00001", "test-00000-of-00001", "validation-00000-of-00001"),
        ("data/train", "data/test", "data/val"),
        ("birds_train", "birds_test", "birds.dev"),
        ("train/0000", "test/0000", "valid/0000"),
    ],
)
def test_parquet_splits_by_their_names(tmp_path, files):
    for file, size, start in zip(files, (5, 2, 1), (0, 100, 200), strict=True):
        path = tmp_path / file
        write_parquet(path.parent, path.name, [size, size], image="picture", label="kind_of_bird", start=start)
    data = load_long_tailed(tmp_path, label_column="kind_of_bird")
    assert {split: class_counts(part).counts for split, part in data.items()} == {
        "train": [5, 5],
        "validation": [1, 1],
        "test": [2, 2],
    }
    assert grays(data["train"]) == list(range(10))
    assert grays(data["test"]) == [100, 101, 102, 103] and grays(data["validation"]) == [200, 201]
    assert data["train"].column_names == ["image", "label", "order", "code"]


def test_shards_of_a_split(tmp_path):
    for shard in range(3):
        write_parquet(tmp_path, f"train-0000{shard}-of-00003", [1, 2], start=10 * shard)
    write_parquet(tmp_path, "test", [1, 1], start=99)
    assert grays(load_long_tailed(tmp_path)["train"]) == [0, 1, 2, 10, 11, 12, 20, 21, 22]


def test_a_file_of_two_splits_or_no_training_file(tmp_path):
    write_parquet(tmp_path / "a", "train_test", [3, 3])
    with pytest.raises(ValueError, match="train_test.parquet could belong to the splits train and test"):
        load_long_tailed(tmp_path / "a")
    write_parquet(tmp_path / "b", "test", [3, 3])
    with pytest.raises(ValueError, match="has the splits test, but no training split"):
        load_long_tailed(tmp_path / "b")


def test_one_parquet_file(tmp_path):
    write_parquet(tmp_path, "birds", [10, 10])
    data = load_long_tailed(tmp_path / "birds.parquet")
    assert class_counts(data["train"]).counts == [8, 8] and class_counts(data["test"]).counts == [2, 2]
    (tmp_path / "birds.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match="only a parquet file or a folder"):
        load_long_tailed(tmp_path / "birds.csv")


def test_hold_out_is_stratified_and_apart(tmp_path):
    write_parquet(tmp_path, "all", [40, 12, 3, 1])
    with pytest.warns(UserWarning, match="1 classes have a single image, which stays for training.*3 "):
        data = load_long_tailed(tmp_path)
    assert class_counts(data["train"]).counts == [32, 10, 2, 1]
    assert class_counts(data["test"]).counts == [8, 2, 1, 0]
    assert sorted(grays(data["train"]) + grays(data["test"])) == list(range(56))
    with pytest.warns(UserWarning):
        again, other = load_long_tailed(tmp_path), load_long_tailed(tmp_path, seed=1)
    assert grays(again["test"]) == grays(data["test"]) != grays(other["test"])


def test_hold_out_comes_before_the_tail_is_cut(tmp_path):
    write_parquet(tmp_path, "all", [50, 50])
    data = load_long_tailed(tmp_path, imbalance_factor=10)
    # Test at the native distribution; the tail is cut out of what is left.
    assert class_counts(data["test"]).counts == [10, 10] and class_counts(data["train"]).counts == [40, 4]
    assert not set(grays(data["train"])) & set(grays(data["test"]))


def test_order_column_takes_its_smallest_values(tmp_path):
    write_parquet(tmp_path, "train", [10, 10])
    write_parquet(tmp_path, "test", [1, 1], start=200)
    train = load_long_tailed(tmp_path, imbalance_factor=5, order_column="order")["train"]
    # `order` counts down, so it is the last rows of each class that stay, in the order of the file.
    assert grays(train) == [*range(0, 16, 2), 16, 17, 18, 19] and class_counts(train).counts == [10, 2]
    record = long_tail_info(train)
    assert record["order_column"] == "order" and record["seed"] is None
    assert record["row_identity"] == "(label, order)"
    by_code = load_long_tailed(tmp_path, imbalance_factor=5, order_column="code")["train"]
    assert grays(by_code) == [0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18]
    assert long_tail_info(by_code)["row_hash"] != record["row_hash"]
    with pytest.raises(ValueError, match="no order_column 'rank'; the columns are image, label, order, code"):
        load_long_tailed(tmp_path, imbalance_factor=5, order_column="rank")
    with pytest.raises(ValueError, match="must hold integers or strings, not struct"):
        load_long_tailed(tmp_path, imbalance_factor=5, order_column="image")


def test_order_column_gives_the_same_rows_from_a_copy_that_is_already_cut(tmp_path):
    whole = write_parquet(tmp_path / "whole", "train", [20, 20, 20])
    write_parquet(whole, "test", [1, 1, 1], start=200)
    cut = load_long_tailed(whole, imbalance_factor=2, order_column="order")
    (tmp_path / "cut").mkdir()
    cut["train"].shuffle(seed=0).to_parquet(tmp_path / "cut" / "train.parquet")
    cut["test"].to_parquet(tmp_path / "cut" / "test.parquet")
    for options in ({}, {"validation_per_class": 2}):
        first = load_long_tailed(whole, imbalance_factor=10, order_column="order", **options)["train"]
        second = load_long_tailed(tmp_path / "cut", imbalance_factor=10, order_column="order", **options)["train"]
        assert sorted(grays(first)) == sorted(grays(second))
        assert long_tail_info(first)["row_hash"] == long_tail_info(second)["row_hash"]
    # Without a test split the same rows stay in training, and the rest is all there is to test on.
    (tmp_path / "cut" / "test.parquet").unlink()
    with pytest.warns(UserWarning, match=r"no test split.*left over, which 1 of 3 classes do not have"):
        alone = load_long_tailed(tmp_path / "cut", imbalance_factor=10, order_column="order")
    first = load_long_tailed(whole, imbalance_factor=10, order_column="order")["train"]
    assert long_tail_info(alone["train"])["row_hash"] == long_tail_info(first)["row_hash"]
    assert not set(grays(alone["train"])) & set(grays(alone["test"]))


@pytest.mark.parametrize("order_column", [None, "order"])
def test_validation_comes_from_the_balanced_pool(tmp_path, order_column):
    write_parquet(tmp_path, "train", [20, 20, 20])
    write_parquet(tmp_path, "test", [1, 1, 1], start=200)
    data = load_long_tailed(tmp_path, imbalance_factor=10, validation_per_class=4, order_column=order_column)
    assert class_counts(data["validation"]).counts == [4, 4, 4]
    assert class_counts(data["train"]).counts == [16, 5, 1]
    assert not set(grays(data["train"])) & set(grays(data["validation"]))
    assert long_tail_info(data["train"])["validation_per_class"] == 4
    # Training keeps the first rows of the same order, with validation or without.
    without = load_long_tailed(tmp_path, imbalance_factor=10, order_column=order_column)
    assert class_counts(without["train"]).counts == [20, 6, 2] and "validation" not in without
    assert set(grays(data["train"])) < set(grays(without["train"]))
    with pytest.raises(ValueError, match=r"validation_per_class=20 would leave nothing .* 0 \(0\) with 20 images"):
        load_long_tailed(tmp_path, imbalance_factor=10, validation_per_class=20)


def test_validation_of_native_data_takes_at_most_half(tmp_path):
    write_parquet(tmp_path, "train", [30, 5, 1], names=["ant", "bee", "cat"])
    write_parquet(tmp_path, "test", [1, 1, 1], names=["ant", "bee", "cat"], start=200)
    with pytest.warns(UserWarning, match=r"2 classes give fewer than 4 validation images.*1 \(bee\): 2, 2 \(cat\): 0"):
        data = load_long_tailed(tmp_path, validation_per_class=4)
    assert class_counts(data["validation"]).counts == [4, 2, 0]
    assert class_counts(data["train"]).counts == [26, 3, 1]
    assert not set(grays(data["train"])) & set(grays(data["validation"]))


def test_pools_that_cannot_give_the_profile(tmp_path):
    write_parquet(tmp_path / "even", "train", [20, 19, 20])
    write_parquet(tmp_path / "even", "test", [1, 1, 1])
    data = load_long_tailed(tmp_path / "even", imbalance_factor=1)
    assert class_counts(data["train"]).counts == [19, 19, 19]
    write_parquet(tmp_path / "tail", "train", [20, 3, 9], names=["ant", "bee", "cat"])
    write_parquet(tmp_path / "tail", "test", [1, 1, 1], names=["ant", "bee", "cat"])
    with pytest.raises(ValueError, match=r"cannot be cut to this profile: 2 classes.*1 \(bee\) has 3 of 14, 2"):
        load_long_tailed(tmp_path / "tail", imbalance_factor=2)
    assert class_counts(load_long_tailed(tmp_path / "tail")["train"]).counts == [20, 3, 9]


def test_a_class_without_training_images_counts(tmp_path):
    write_parquet(tmp_path, "train", [4, 4], names=["ant", "cat"])
    write_parquet(tmp_path, "test", [1, 1, 1], names=["ant", "bee", "cat"])
    train = load_long_tailed(tmp_path)["train"]
    assert class_counts(train).counts == [4, 0, 4] and class_counts(train).names == ["ant", "bee", "cat"]
    with pytest.raises(ValueError, match=r"1 \(bee\)"):
        class_counts(train).require_images("crt")


def test_columns_of_the_splits_must_agree(tmp_path):
    write_parquet(tmp_path, "train", [4, 4])
    write_parquet(tmp_path, "test", [1, 1], label="kind")
    with pytest.raises(
        ValueError,
        match=r"The test split of .* has no column 'label', unlike train; its columns are image, kind, order",
    ):
        load_long_tailed(tmp_path)


def test_a_split_without_rows_is_absent(tmp_path):
    import pyarrow.parquet as pq

    write_parquet(tmp_path, "train", [10, 10])
    pq.write_table(pq.read_table(tmp_path / "train.parquet").slice(0, 0), tmp_path / "test.parquet")
    data = load_long_tailed(tmp_path)
    assert class_counts(data["train"]).counts == [8, 8] and class_counts(data["test"]).counts == [2, 2]
    (tmp_path / "train.parquet").rename(tmp_path / "val.parquet")
    (tmp_path / "test.parquet").rename(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="training split of .* has no rows"):
        load_long_tailed(tmp_path)


def test_parquet_files_that_cannot_be_read(tmp_path):
    write_parquet(tmp_path / "stopped", "train", [10, 10])
    file = tmp_path / "stopped" / "train.parquet"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"train\.parquet \(200 bytes\) cannot be read as parquet.*git lfs pull"):
        load_long_tailed(tmp_path / "stopped")
    write_parquet(tmp_path / "mixed", "train-0", [2, 2])
    write_parquet(tmp_path / "mixed", "train-1", [2, 2], label="kind")
    with pytest.raises(
        ValueError,
        match=r"train files of .*mixed have other columns: code, image, label, order in train-0.parquet, but code, "
        r"image, kind, order in train-1.parquet",
    ):
        load_long_tailed(tmp_path / "mixed")
    # The same columns with other types.
    write_parquet(tmp_path / "types", "train-0", [2, 2])
    write_parquet(tmp_path / "types", "train-1", [2, 2], names=["ant", "bee"])
    with pytest.raises(ValueError, match=r"The train files of .*types cannot be read: .*int64"):
        load_long_tailed(tmp_path / "types")


def test_test_files_of_the_folder_beside_a_cut_copy(tmp_path):
    """As carried to another machine: the cut training file, and of the whole set the test file alone."""
    names = ClassLabel(num_classes=10)
    write_parquet(tmp_path / "cifar10_if2", "train", [4] * 10, names=names)
    with pytest.warns(UserWarning, match="cifar10 has no test split, and order_column fixes the training rows"):
        load_long_tailed("cifar10", data_dir=tmp_path / "cifar10_if2", imbalance_factor=2, order_column="order")
    write_parquet(tmp_path / "cifar10", "test", [2] * 10, names=names, start=100)
    data = load_long_tailed("cifar10", data_dir=tmp_path / "cifar10_if2", imbalance_factor=2, order_column="order")
    assert class_counts(data["train"]).counts == [4, 3, 3, 3, 2, 2, 2, 2, 2, 2]
    assert class_counts(data["test"]).counts == [2] * 10 and min(grays(data["test"])) == 100
    # Only the named benchmarks look beside themselves.
    assert grays(load_long_tailed(tmp_path / "cifar10_if2")["test"]) != grays(data["test"])


def test_head_class_without_images_cannot_start_a_tail(tmp_path):
    write_parquet(tmp_path, "train", [0, 4, 4])
    write_parquet(tmp_path, "test", [1, 1, 1])
    with pytest.raises(ValueError, match="A tail is cut from class 0 on, which has no image"):
        load_long_tailed(tmp_path, imbalance_factor=2)


@pytest.mark.parametrize(("factor", "message"), [(125, "leaves 1 of 10 classes"), (float("inf"), "at least 1")])
def test_factor_that_leaves_a_class_without_images(factor, message):
    with pytest.raises(ValueError, match=message):
        load_long_tailed("digits", imbalance_factor=factor)
    with pytest.raises(ValueError, match="seed must not be negative"):
        load_long_tailed("digits", imbalance_factor=2, seed=-1)


def test_labels_missing_in_a_file(tmp_path):
    features = Features({"image": Image(), "label": Value("int64")})
    images = [{"bytes": encoded_image(0), "path": None}] * 3
    Dataset.from_dict({"image": images, "label": [0, None, 1]}, features=features).to_parquet(
        tmp_path / "train.parquet"
    )
    with pytest.raises(ValueError, match=r"Row 1 of train has no label in column 'label' \(1 such rows\)"):
        load_long_tailed(tmp_path)


def test_cifar10_totals(tmp_path):
    """Rows of the real size with images of one pixel: 12,406 at factor 100, and the step profile."""
    names = ClassLabel(num_classes=10)
    pixel = {"bytes": encoded_image(0), "path": None}
    for split, each in (("train", 5000), ("test", 10)):
        features = Features({"img": Image(), "label": names})
        rows = {"img": [pixel] * (10 * each), "label": list(range(10)) * each}
        Dataset.from_dict(rows, features=features).to_parquet(tmp_path / f"{split}.parquet")
    data = load_long_tailed("cifar10", data_dir=tmp_path, imbalance_factor=100)
    assert class_counts(data["train"]).counts == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert len(data["train"]) == 12406
    step = load_long_tailed("cifar10", data_dir=tmp_path, imbalance_factor=100, imbalance_type="step")
    assert class_counts(step["train"]).counts == [5000] * 5 + [50] * 5


def test_labels_outside_the_classes_name_split_and_row(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_parquet(tmp_path, "train", [2, 2], names=ClassLabel(names=["ant", "bee"]))
    write_parquet(tmp_path, "test", [1, 1], names=ClassLabel(names=["ant", "bee"]))
    table = pq.read_table(tmp_path / "test.parquet")
    wrong = table.set_column(1, "label", pa.array([1, 2], type=pa.int64())).replace_schema_metadata(
        table.schema.metadata
    )
    pq.write_table(wrong, tmp_path / "test.parquet")
    with pytest.raises(ValueError, match=r"Row 1 of test has label 2, but the label column names 2 classes, 0\.\.1"):
        load_long_tailed(tmp_path)


def test_what_was_saved_loads_again_with_its_record(tmp_path):
    data = load_long_tailed("digits", imbalance_factor=50)
    data.save_to_disk(tmp_path / "saved")
    again = load_long_tailed(tmp_path / "saved")
    for split in data:
        assert again[split]["source_row"][:] == data[split]["source_row"][:]
        assert long_tail_info(again[split]) == long_tail_info(data[split])
    # Rows that are chosen anew are recorded anew.
    fewer = load_long_tailed(tmp_path / "saved", imbalance_factor=100)
    assert long_tail_info(fewer["train"])["source"] == "saved"
    assert long_tail_info(fewer["train"])["counts"][-1] == 1
    DatasetDict(test=data["test"]).save_to_disk(tmp_path / "part")
    with pytest.raises(ValueError, match="splits test, but no training split"):
        load_long_tailed(tmp_path / "part")


# folders of images


def test_folder_of_class_folders(tmp_path):
    write_image_folder(tmp_path / "train", {"cat": 4, "ant": 2}, start=0)
    write_image_folder(tmp_path / "val", {"ant": 1, "cat": 1}, start=50)
    write_image_folder(tmp_path / "test", {"ant": 1, "bee": 1, "cat": 1}, start=100)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "train" / "cat" / "._000.png").write_bytes(b"left by a file manager")
    with pytest.warns(UserWarning, match="no training image of 1 class that its other splits have: bee"):
        data = load_long_tailed(tmp_path)
    assert data["train"].features["label"].names == ["ant", "bee", "cat"]
    assert data["train"]["label"][:] == [0, 0, 2, 2, 2, 2] and grays(data["train"]) == [4, 5, 0, 1, 2, 3]
    assert grays(data["validation"]) == [50, 51] and grays(data["test"]) == [100, 101, 102]
    assert long_tail_info(data["train"])["source"] == tmp_path.name


def test_folder_without_splits(tmp_path):
    write_image_folder(tmp_path, {"b": 10, "a": 5})
    data = load_long_tailed(str(tmp_path), validation_per_class=1)
    assert {split: class_counts(part).counts for split, part in data.items()} == {
        "train": [3, 7],
        "validation": [1, 1],
        "test": [1, 2],
    }
    assert sorted(gray for part in data.values() for gray in grays(part)) == list(range(15))
    same = load_long_tailed("imagefolder", data_dir=tmp_path, validation_per_class=1)
    assert grays(same["train"]) == grays(data["train"])


def test_number_folders_are_in_numeric_order_and_it_is_said(tmp_path):
    write_image_folder(tmp_path, {str(number): 2 for number in (0, 1, 2, 10, 11, 100)})
    with pytest.warns(
        UserWarning, match=r"numeric order \(0, 1, 2, 10, \.\.\.\).*as strings \(0, 1, 10, 100, \.\.\.\)"
    ):
        data = load_long_tailed(tmp_path)
    assert data["train"].features["label"].names == ["0", "1", "2", "10", "11", "100"]
    # Folder i holds the grays 2i and 2i + 1.
    for row in [*data["train"], *data["test"]]:
        assert row["label"] == row["image"].convert("L").getpixel((0, 0)) // 2


def test_padded_numbers_need_no_warning(tmp_path):
    write_image_folder(tmp_path, {"000": 2, "002": 2, "010": 2})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_long_tailed(tmp_path)["train"].features["label"].names == ["000", "002", "010"]


def test_metadata_file(tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(encoded_image(number))
    # JSON lines: what datasets 4.4 reads of a CSV file with pandas 3 it does not take for file names.
    rows = [{"file_name": f"{number}.png", "species": "owl" if number % 2 else "ant"} for number in range(10)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = load_long_tailed(tmp_path)
    assert data["train"].features["label"].names == ["ant", "owl"]
    assert class_counts(data["train"]).counts == [4, 4]
    assert [gray % 2 for gray in grays(data["train"])] == data["train"]["label"][:]


def test_folders_that_cannot_be_read_as_classes(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds neither parquet files nor class folders"):
        load_long_tailed(tmp_path / "empty")
    write_image_folder(tmp_path / "deep" / "birds", {"owl": 2})
    write_image_folder(tmp_path / "deep" / "fish", {"eel": 2})
    with pytest.raises(ValueError, match="more than one folder below .*'birds' or 'owl'"):
        load_long_tailed(tmp_path / "deep")
    write_image_folder(tmp_path / "only" / "test", {"owl": 2})
    with pytest.raises(ValueError, match="splits test, but no training split"):
        load_long_tailed(tmp_path / "only")


# names and paths


def test_unknown_names_are_told_the_nearest():
    with pytest.raises(
        ValueError, match=r"Unknown dataset: 'cifar-100'\. Did you mean 'cifar100'.*digits.*owner/name"
    ):
        load_long_tailed("cifar-100")
    with pytest.raises(ValueError, match=r"Unknown imbalance_type.*'step'"):
        load_long_tailed("digits", imbalance_factor=10, imbalance_type="steps")
    with pytest.raises(ValueError, match="imbalance_factor .* at least 1, got 0.02"):
        load_long_tailed("digits", imbalance_factor=0.02)
    with pytest.raises(ValueError, match="validation_per_class must not be negative"):
        load_long_tailed("digits", validation_per_class=-1)


def test_paths_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere'\.$"):
        load_long_tailed(tmp_path / "nowhere")
    with pytest.raises(
        FileNotFoundError, match=r"There is no folder .*cifar_100'\. Did you mean the dataset 'cifar100'\?"
    ):
        load_long_tailed(str(tmp_path / "cifar_100"))
    with pytest.raises(FileNotFoundError, match=r"There is no folder './birds'"):
        load_long_tailed("./birds")
    with pytest.raises(FileNotFoundError, match="data_dir='.*nowhere' does not exist"):
        load_long_tailed("cifar100", data_dir=str(tmp_path / "nowhere"))
    # One slash: a folder, or a Hub id; this session is offline.
    with pytest.raises(FileNotFoundError, match=r"no folder 'some/birds' here.*As a Hub id.*data_dir=<folder>"):
        load_long_tailed("some/birds")


def test_hub_failure_says_what_to_do(monkeypatch):
    import datasets

    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(ConnectionError, match=r"uoft-cs/cifar100 could not.*hf download.*data_dir=<folder"):
        load_long_tailed("cifar100")

    def ambiguous(*args, **kwargs):
        raise ValueError("Config name is missing. Please pick one among the available configs: ['a', 'b']")

    monkeypatch.setattr(datasets, "load_dataset", ambiguous)
    with pytest.raises(ValueError, match="pick one among"):
        load_long_tailed("some/birds")


def test_hub_dataset_with_other_splits_and_without_test_labels(monkeypatch):
    import datasets

    def rows(labels):
        images = [{"bytes": encoded_image(row), "path": None} for row in range(len(labels))]
        features = Features({"image": Image(), "label": Value("int64")})
        return Dataset.from_dict({"image": images, "label": labels}, features=features)

    hub = DatasetDict(train=rows([0, 1] * 5), extra=rows([0, 1] * 2), test=rows([-1] * 4))
    monkeypatch.setattr(datasets, "load_dataset", lambda *args: hub)
    with pytest.raises(
        ValueError, match="some/birds has the splits train, extra, test, and it is not plain what extra"
    ):
        load_long_tailed("some/birds")
    with pytest.raises(ValueError, match="test split of some/birds has no labels.*splits='train=train[+]extra'"):
        load_long_tailed("some/birds", splits="train=train+extra,test=test")
    data = load_long_tailed("some/birds", splits="train=train+extra")
    assert {split: len(part) for split, part in data.items()} == {"train": 12, "test": 2}
    assert long_tail_info(data["train"])["splits"] == {"train": ["train", "extra"]}
    with pytest.raises(ValueError, match="labels_from='folders' is for folders of images; some/birds is none"):
        load_long_tailed("some/birds", labels_from="folders")


def test_hub_id_with_configuration(monkeypatch, tmp_path):
    import datasets

    write_parquet(tmp_path, "train", [4, 4], image="img", label="class")
    write_parquet(tmp_path, "val", [1, 1], image="img", label="class", start=50)
    write_parquet(tmp_path, "test", [2, 2], image="img", label="class", start=100)
    original, asked = datasets.load_dataset, []

    def load_dataset(*args):
        asked.append(args)
        names = {"train": "train", "valid": "val", "test": "test"}
        return original("parquet", data_files={k: str(tmp_path / f"{v}.parquet") for k, v in names.items()})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = load_long_tailed("some/birds:small", imbalance_factor=4)
    assert asked == [("some/birds", "small")]
    assert {split: class_counts(part).counts for split, part in data.items()} == {
        "train": [4, 1],
        "validation": [1, 1],
        "test": [2, 2],
    }
    assert long_tail_info(data["train"])["source"] == "some/birds:small"


def test_data_dir_is_for_named_datasets_and_hub_ids(tmp_path):
    write_parquet(tmp_path, "train", [4, 4])
    write_parquet(tmp_path, "test", [2, 2])
    copy = load_long_tailed("some/birds", data_dir=tmp_path)
    assert long_tail_info(copy["train"])["source"] == "some/birds"
    for name in (str(tmp_path), "digits"):
        with pytest.raises(ValueError, match="data_dir= is the local copy"):
            load_long_tailed(name, data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"needs data_dir=<folder>"):
        load_long_tailed("imagefolder")


def test_local_copy_in_the_layout_of_the_hub(tmp_path):
    """The Hub's CIFAR-100 calls its columns img, fine_label and coarse_label."""
    fine, coarse = ClassLabel(num_classes=100), ClassLabel(num_classes=20)
    features = Features({"img": Image(), "fine_label": fine, "coarse_label": coarse})
    (tmp_path / "cifar100").mkdir()
    for split, each in (("train", 4), ("test", 1)):
        labels = [row % 100 for row in range(100 * each)]
        images = [{"bytes": encoded_image(row % 256), "path": None} for row in range(100 * each)]
        rows = {"img": images, "fine_label": labels, "coarse_label": [label // 5 for label in labels]}
        Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "cifar100" / f"{split}.parquet")
    data = load_long_tailed("cifar100", data_dir=tmp_path, imbalance_factor=4)
    counts = class_counts(data["train"])
    assert len(counts) == 100 and counts.counts[0] == 4 and counts.counts[-1] == 1
    assert data["train"].column_names == ["image", "label", "coarse_label"]
    coarse = load_long_tailed("cifar100", data_dir=tmp_path, label_column="coarse_label")
    assert len(class_counts(coarse["train"])) == 20 and "fine_label" in coarse["train"].column_names
    with pytest.raises(
        ValueError, match="cifar10 has 10 classes, but column .* has 20|Several columns could be the label"
    ):
        load_long_tailed("cifar10", data_dir=tmp_path)
