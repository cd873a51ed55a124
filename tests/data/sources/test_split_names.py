"""Which split a name means beside others, and what `splits=` says."""

from pathlib import Path

import pytest

from hf_ltr.data.sources.split_names import assign_splits, given_name, known_splits, parse_splits


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("train-00000-of-00001.parquet", "train"),
        ("data/test-00000-of-00001.parquet", "test"),
        ("cifar100-test.parquet", "cifar100-test"),
        ("birds_VAL_2.parquet", "birds_VAL"),
        ("test/0000.parquet", "test"),
        ("test-runs/birds/train.parquet", "train"),
        ("train/part-0.parquet", "train"),
        # A name that `datasets` wrote is the split's own, numbers included.
        ("train_extra-00000-of-00001.parquet", "train_extra"),
        ("validation_2-00000-of-00001.parquet", "validation_2"),
        # Pieces of one table.
        ("0000.parquet", ""),
        ("data/part.3.parquet", ""),
        ("part-00000-8d5e1b2c-aaaa-4bbb-8ccc-0123456789ab-c000.snappy.parquet", ""),
        ("birds 12.parquet", "birds"),
        # Words, not parts of words: these are names of things.
        ("contest.parquet", "contest"),
        ("trains_and_valves.parquet", "trains_and_valves"),
    ],
)
def test_what_a_file_calls_its_split(file, name):
    assert given_name(Path(file)) == name


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        (["training", "Val", "TEST"], ["train", "validation", "test"]),
        (["birds_train", "birds_test", "birds.dev"], ["train", "test", "validation"]),
        (["train_images", "test_images"], ["train", "test"]),
        (["TrainImages", "TestImages"], ["train", "test"]),
        (["train2017", "val2017"], ["train", "validation"]),
        (["ISIC_Training_GroundTruth", "ISIC_Test_GroundTruth"], ["train", "test"]),
        (["train", "test", "extra"], ["train", "test", None]),
        (["train", "train_extra", "test"], ["train", None, "test"]),
        (["train", "validation_matched", "validation_mismatched"], ["train", None, None]),
        (["train", "evaluation", "holdout"], ["train", None, None]),
        (["train_1", "train_2", "test_a"], [None, None, None]),
        (["train_val", "test"], [None, "test"]),
        (["latest", "contest", "valley"], [None, None, None]),
    ],
)
def test_a_name_means_a_split_by_its_word_alone_or_by_a_word_in_the_same_frame(names, meant):
    assert list(known_splits(names).values()) == meant


def test_names_that_are_not_plain_are_refused_with_what_could_be_said():
    with pytest.raises(
        ValueError,
        match=r"birds has the splits train, test, extra, and it is not plain what extra is for.*"
        r"splits='train=train,test=test' leaves extra out, 'train=train\+extra,test=test' trains on it too",
    ):
        assign_splits(["train", "test", "extra"], None, "birds")
    with pytest.raises(ValueError, match="leaves holdout out.*'train=train,test=holdout' tests on it"):
        assign_splits(["train", "holdout"], None, "birds")
    with pytest.raises(ValueError, match=r"splits='train=train_1\+train_2,test=test_a', for example"):
        assign_splits(["train_1", "train_2", "test_a"], None, "birds")
    with pytest.raises(
        ValueError, match="birds has the splits train, val, dev, of which two mean validation.*splits="
    ):
        assign_splits(["train", "val", "dev"], None, "birds")
    with pytest.raises(ValueError, match="birds has the splits test, but no training split.*splits='train=test'"):
        assign_splits(["test"], None, "birds")
    with pytest.raises(ValueError, match="it is not plain what holdout is for"):
        assign_splits(["holdout"], None, "birds")
    # The name of a lone file means nothing.
    assert assign_splits(["holdout"], None, "birds", declared=False) == {"train": ["holdout"]}


def test_what_the_user_says_is_taken_and_the_rest_left_out():
    chosen = parse_splits("train = train+extra, test=holdout")
    assert chosen == {"train": ["train", "extra"], "test": ["holdout"]}
    assert parse_splits({"test": "holdout", "train": ["train", "extra"]}) == chosen
    assert assign_splits(["train", "extra", "holdout", "other"], chosen, "birds") == chosen
    # A split may be called by what it means.
    assert assign_splits(["train", "val"], parse_splits("train=train,validation=validation"), "birds") == {
        "train": ["train"],
        "validation": ["val"],
    }
    with pytest.raises(ValueError, match=r"Unknown split of birds in splits: 'extr'\. Did you mean 'extra'"):
        assign_splits(["train", "extra"], parse_splits("train=train+extr"), "birds")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("train", "splits takes train=NAME"),
        ("train=", "splits takes train=NAME"),
        ("", "splits takes train=NAME"),
        ("test=a", "which split is for training"),
        ("train=a,test=a", "uses 'a' twice"),
        ("train=a,tset=b", r"Unknown split in splits: 'tset'\. Did you mean 'test'"),
        ({"train": 3}, "names the source's splits"),
        ({"train": []}, "names the source's splits"),
    ],
)
def test_splits_that_say_nothing(given, message):
    with pytest.raises(ValueError, match=message):
        parse_splits(given)
    with pytest.raises(TypeError, match="string or a dict"):
        parse_splits(["train"])
