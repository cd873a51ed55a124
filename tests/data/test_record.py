import json

import PIL.Image
import pytest
from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    Value,
    concatenate_datasets,
    load_dataset,
    load_from_disk,
)

from hf_ltr.data import check_class_order, class_counts, dataset_card, hash_rows, load_long_tailed, long_tail_info
from hf_ltr.data.provenance import explain_counts
from hf_ltr.data.record import read_record, write_record


def letters(labels, names="abc"):
    features = Features({"label": ClassLabel(names=list(names)), "x": Value("int64")})
    return Dataset.from_dict({"label": labels, "x": list(range(len(labels)))}, features=features)


RECORD = {"source": "letters", "split": "train", "counts": [2, 1, 0], "class_names": list("abc"), "row_hash": "0" * 64}


@pytest.fixture
def recorded():
    return write_record(letters([0, 0, 1]), RECORD)


def test_the_given_dataset_is_left_alone():
    plain = letters([0, 0, 1])
    plain.info.description = "Letters."
    recorded = write_record(plain, RECORD)
    assert long_tail_info(plain) is None and plain.info.description == "Letters."
    assert long_tail_info(recorded) == RECORD
    assert recorded.info.description.startswith("Letters.\n")
    assert recorded[:] == plain[:]


def test_writing_again_replaces_the_record(recorded):
    again = write_record(recorded, {**RECORD, "source": "more letters"})
    assert long_tail_info(again)["source"] == "more letters"
    assert again.info.description.count("hf_ltr-long-tail:") == 1


@pytest.mark.parametrize(
    "step",
    [
        lambda data: data.select([2, 0]),
        lambda data: data.shuffle(seed=1),
        lambda data: data.filter(lambda row: row["x"] > 0),
        lambda data: data.map(lambda row: {"y": 1}),
        lambda data: data.rename_column("x", "y").remove_columns("y").with_format("torch"),
        lambda data: data.add_column("y", [1, 2, 3]),
        lambda data: data.train_test_split(test_size=1, seed=0)["train"],
        lambda data: data.select([1]).flatten_indices(),
    ],
    ids=["select", "shuffle", "filter", "map", "columns", "add", "split", "flatten"],
)
def test_record_survives(recorded, step):
    assert read_record(step(recorded)) == RECORD


def test_info_of_other_rows_is_about_those_rows(recorded):
    assert long_tail_info(recorded) == RECORD
    part = recorded.select([2, 0])
    info = long_tail_info(part)
    assert info["counts"] == [1, 1, 0] and info["source"] == "letters"
    assert info["changed"] == "a subset of the dataset that was recorded: 2 rows now, 3 then"
    assert (info["row_hash"], info["row_identity"]) == hash_rows(part)
    assert long_tail_info(part, hash_contents=False)["row_hash"] is None
    assert long_tail_info(part.map(lambda row: {"y": 1}))["counts"] == [1, 1, 0]
    assert "other rows" in long_tail_info(concatenate_datasets([recorded, recorded]))["changed"]
    assert long_tail_info(recorded.remove_columns("label")) == RECORD


def test_info_notices_another_order_and_other_rows_of_the_same_counts(tmp_path):
    train = load_long_tailed("digits", imbalance_factor=50)["train"]
    known = long_tail_info(train)
    row, other = [row for row, label in enumerate(train["label"]) if label == 9]
    places = [other if place == row else place for place in range(len(train))]
    for part in (train.shuffle(seed=0), train.select(places), train.shuffle(seed=0).flatten_indices()):
        info = long_tail_info(part)
        assert info["counts"] == known["counts"] and "another order" in info["changed"]
        assert (info["row_hash"], info["row_identity"]) == hash_rows(part)
    train.save_to_disk(tmp_path / "saved")
    assert long_tail_info(load_from_disk(tmp_path / "saved")) == known == long_tail_info(train.flatten_indices())


def test_a_replaced_image_of_a_folder_changes_its_hash(tmp_path):
    for number in range(8):
        folder = tmp_path / ("train" if number < 6 else "test") / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("L", (4, 4), number).save(folder / f"{number}.png")
    first = {split: long_tail_info(part) for split, part in load_long_tailed(tmp_path).items()}
    assert first["train"]["row_identity"] == "(label, encoded image), in order"
    PIL.Image.new("L", (4, 4), 99).save(tmp_path / "train" / "a" / "0.png")
    again = {split: long_tail_info(part) for split, part in load_long_tailed(tmp_path).items()}
    assert again["train"]["row_hash"] != first["train"]["row_hash"]
    assert again["test"] == first["test"]


def test_record_survives_the_disk(recorded, tmp_path):
    recorded.save_to_disk(tmp_path / "one")
    assert long_tail_info(load_from_disk(tmp_path / "one")) == RECORD
    DatasetDict(train=recorded, test=recorded).save_to_disk(tmp_path / "two")
    assert long_tail_info(load_from_disk(tmp_path / "two")["test"]) == RECORD


def test_no_record():
    assert long_tail_info(letters([0])) is None
    assert long_tail_info([1, 2]) is None
    assert explain_counts(letters([0])) is None


def test_other_class_order_is_refused(recorded):
    check_class_order(recorded)
    check_class_order(recorded.select([0]), ["a", "b", "c"])
    with pytest.raises(
        ValueError, match=r"another order than expected: from class 1 on \(\['b', 'c'\] against \['c', 'b'\]"
    ):
        check_class_order(recorded, ["a", "c", "b"])
    with pytest.raises(ValueError, match="from class 3 on"):
        check_class_order(recorded, ["a", "b", "c", "d"])
    swapped = recorded.cast_column("label", ClassLabel(names=list("bac")))
    for check in (check_class_order, class_counts):
        with pytest.raises(ValueError, match="another order than when it was made.*clear dataset.info.description"):
            check(swapped)
    swapped.info.description = ""
    assert class_counts(swapped).names == ["b", "a", "c"]
    check_class_order(recorded.remove_columns("label"))
    check_class_order(letters([0]))


def test_counts_that_differ_from_the_record_are_explained(recorded):
    assert explain_counts(recorded) is None
    assert explain_counts(recorded.select([0])) == "a subset of the dataset that was recorded: 1 rows now, 3 then"
    assert explain_counts(write_record(letters([2]), RECORD)).startswith("other rows of the dataset")


@pytest.mark.filterwarnings("ignore:.*single image")
def test_card_carries_the_records_through_a_push(tmp_path, datasets_cache):
    """What a repository holds after `push_to_hub` and the card: parquet files and a README."""
    data = load_long_tailed("digits", imbalance_factor=50)
    for split, part in data.items():
        (tmp_path / "data").mkdir(exist_ok=True)
        part.to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    card = dataset_card(data)
    without = load_dataset(str(tmp_path))
    assert long_tail_info(without["train"]) is None
    (tmp_path / "README.md").write_text(card)
    pushed = load_dataset(str(tmp_path))
    assert set(pushed) == {"train", "validation", "test"}
    for split, part in data.items():
        assert long_tail_info(pushed[split]) == long_tail_info(part)
        assert long_tail_info(pushed[split])["split"] == split
        assert class_counts(pushed[split]) == class_counts(part)


def test_card_reads():
    import yaml

    data = load_long_tailed("digits", imbalance_factor=50)
    _, front, body = dataset_card(data).split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["task_categories"] == ["image-classification"]
    line = metadata["dataset_info"]["description"].splitlines()[0]
    assert json.loads(line.split(" ", 1)[1]) == long_tail_info(data["train"])
    assert "342 images, 10 classes" in body
    assert "| 0 (0) | 124 |" in body and "| 9 (9) | 2 |" in body
    assert f"row hash: `{long_tail_info(data['train'])['row_hash']}`" in body
    plain = dataset_card(DatasetDict(train=letters([0, 1, 1])))
    assert "dataset_info" not in plain and "| 1 (b) | 2 |" in plain
