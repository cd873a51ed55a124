import unicodedata
import warnings
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from hf_ltr.data.folders import load_folder, split_of, standard_splits

from .conftest import encoded_image, write_image_folder

pytestmark = pytest.mark.usefixtures("datasets_cache")


@pytest.fixture
def silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def grays(split):
    return [row["image"].getpixel((0, 0)) for row in split]


def numbers(path: Path, *values: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict({"n": list(values)}).to_parquet(path)


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("train-00000-of-00001.parquet", "train"),
        ("data/test-00000-of-00001.parquet", "test"),
        ("cifar100-test.parquet", "test"),
        ("birds_VAL_2.parquet", "validation"),
        ("test/0000.parquet", "test"),
        ("test-runs/birds/train.parquet", "train"),
        ("dev.parquet", "validation"),
        ("0000.parquet", "train"),
        # Words, not parts of words: these are names of things.
        ("contest.parquet", "train"),
        ("trains_and_valves.parquet", "train"),
        ("latest/valley.parquet", "train"),
    ],
)
def test_the_split_a_file_belongs_to(file, split):
    assert split_of(Path(file)) == split


def test_a_file_name_with_two_splits():
    with pytest.raises(ValueError, match="birds_train_val.parquet could belong to the splits train and validation"):
        split_of(Path("birds_train_val.parquet"))


def test_split_names_are_made_the_usual_ones():
    assert standard_splits({"training": 1, "Val": 2, "extra": 3}, "birds") == {"train": 1, "validation": 2, "extra": 3}
    with pytest.raises(ValueError, match="birds has the splits val, dev, of which two mean validation"):
        standard_splits({"val": 1, "dev": 2}, "birds")


def test_parquet_shards_come_in_the_order_of_their_names(tmp_path):
    for shard in (2, 0, 1):
        numbers(tmp_path / "data" / f"train-0000{shard}-of-00003.parquet", 10 * shard, 10 * shard + 1)
    numbers(tmp_path / "data" / "test.parquet", 7)
    numbers(tmp_path / ".cache" / "train.parquet", 99)
    numbers(tmp_path / "data" / "._train.parquet", 99)
    splits = load_folder(tmp_path)
    assert splits["train"]["n"][:] == [0, 1, 10, 11, 20, 21] and splits["test"]["n"][:] == [7]
    assert set(load_folder(tmp_path, only=["test"])) == {"test"}
    assert load_folder(tmp_path, only=["validation"]) == {}


def test_a_folder_with_a_test_file_alone(tmp_path):
    numbers(tmp_path / "test.parquet", 7)
    with pytest.raises(ValueError, match="splits test, but no training split"):
        load_folder(tmp_path)
    assert load_folder(tmp_path, only=["test"])["test"]["n"][:] == [7]


def test_what_save_to_disk_wrote(tmp_path):
    one = Dataset.from_dict({"n": [1, 2]})
    one.save_to_disk(tmp_path / "one")
    DatasetDict(training=one, val=one.select([1])).save_to_disk(tmp_path / "two")
    assert load_folder(tmp_path / "one")["train"]["n"][:] == [1, 2]
    splits = load_folder(tmp_path / "two")
    assert splits["train"]["n"][:] == [1, 2] and splits["validation"]["n"][:] == [2]


def test_class_folders_under_split_folders(tmp_path, silent):
    write_image_folder(tmp_path / "Train", {"bee": 2, "ant": 1})
    write_image_folder(tmp_path / "valid", {"bee": 1}, start=50)
    write_image_folder(tmp_path / "testing", {"ant": 1, "bee": 1}, start=100)
    splits = load_folder(tmp_path)
    assert {split: grays(part) for split, part in splits.items()} == {
        "train": [2, 0, 1],
        "validation": [50],
        "test": [100, 101],
    }
    assert all(part.features["label"].names == ["ant", "bee"] for part in splits.values())
    assert splits["validation"]["label"][:] == [1]
    assert set(load_folder(tmp_path, only=["test"])) == {"test"}


def test_two_folders_for_one_split(tmp_path):
    for name in ("train", "val", "dev"):
        write_image_folder(tmp_path / name, {"ant": 1})
    with pytest.raises(ValueError, match="of which two mean validation"):
        load_folder(tmp_path)


def test_extensions_of_any_case_and_nothing_hidden(tmp_path, silent):
    write_image_folder(tmp_path, {"ant": 1})
    (tmp_path / "ant" / "B.PNG").write_bytes(encoded_image(7))
    (tmp_path / "ant" / "Thumbs.db").write_bytes(b"")
    (tmp_path / "ant" / ".hidden.png").write_bytes(encoded_image(8))
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / ".thumbnails" / "ant.png").write_bytes(encoded_image(9))
    train = load_folder(tmp_path)["train"]
    assert grays(train) == [0, 7] and train.features["label"].names == ["ant"]


def test_spaces_and_accents_in_class_names(tmp_path, silent):
    names = ["Zürich HB", "crème brûlée", "日本", "a.b (old)"]
    write_image_folder(tmp_path, dict.fromkeys(names, 1))
    train = load_folder(tmp_path)["train"]
    assert train.features["label"].names == sorted(names)
    assert [names[gray] for gray in grays(train)] == sorted(names)


def test_image_files_are_not_opened(tmp_path, silent):
    """A corrupt image is found, with its row, by the input pipeline; a folder of a million files opens at once."""
    write_image_folder(tmp_path, {"ant": 2})
    (tmp_path / "ant" / "broken.jpg").write_bytes(b"no image")
    train = load_folder(tmp_path)["train"]
    assert len(train) == 3
    with pytest.raises(Exception, match="cannot identify image"):
        train[2]


def test_folders_without_an_image_and_images_without_a_folder_are_said(tmp_path):
    write_image_folder(tmp_path, {"ant": 1, "bee": 1})
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "readme.txt").write_text("to come")
    (tmp_path / "overview.png").write_bytes(encoded_image(9))
    with pytest.warns(UserWarning) as caught:
        train = load_folder(tmp_path)["train"]
    messages = " / ".join(str(warning.message) for warning in caught)
    assert "folders without an image, which become no class: cat." in messages
    assert "1 images of" in messages and "such as overview.png" in messages
    assert train.features["label"].names == ["ant", "bee"] and grays(train) == [0, 1]


def test_images_without_classes(tmp_path):
    for name in ("train", "test"):
        (tmp_path / "flat" / name).mkdir(parents=True)
        (tmp_path / "flat" / name / "0.png").write_bytes(encoded_image(1))
    with pytest.raises(
        ValueError, match=r"images directly in test/, train/, so they have no classes.*/<class>/<image>"
    ):
        load_folder(tmp_path / "flat")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "0.png").write_bytes(encoded_image(1))
    with pytest.raises(FileNotFoundError, match=r"has images but no classes: .*0\.png lies in no class folder"):
        load_folder(tmp_path / "root")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.mov").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"neither parquet files nor class folders.*files ending in \.mov"):
        load_folder(tmp_path / "other")


def test_a_class_may_be_called_train(tmp_path):
    write_image_folder(tmp_path, {"bus": 1, "car": 1, "train": 1})
    with pytest.warns(UserWarning, match="train of .* are taken for classes, not for splits"):
        train = load_folder(tmp_path)["train"]
    assert train.features["label"].names == ["bus", "car", "train"]


def test_one_class_name_in_two_unicode_forms(tmp_path, silent):
    composed = "caf\u00e9"
    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    write_image_folder(tmp_path / "train", {composed: 2})
    write_image_folder(tmp_path / "test", {decomposed: 1}, start=50)
    splits = load_folder(tmp_path)
    assert splits["train"].features["label"].names == splits["test"].features["label"].names == [composed]
    assert splits["test"]["label"][:] == [0]


def test_links_to_folders_are_followed_but_not_round_in_circles(tmp_path, silent):
    elsewhere = write_image_folder(tmp_path / "elsewhere", {"ant": 2})
    root = write_image_folder(tmp_path / "root", {"bee": 1}, start=50)
    (root / "ant").symlink_to(elsewhere / "ant", target_is_directory=True)
    (root / "bee" / "back").symlink_to(root, target_is_directory=True)
    assert grays(load_folder(root)["train"]) == [0, 1, 50]


def test_names_of_several_splits_are_united_in_numeric_order(tmp_path):
    write_image_folder(tmp_path / "train", {"9": 1, "10": 1})
    write_image_folder(tmp_path / "test", {"2": 1, "9": 1}, start=50)
    with pytest.warns(UserWarning) as caught:
        splits = load_folder(tmp_path)
    messages = " / ".join(str(warning.message) for warning in caught)
    assert "no training image of 1 classes that its other splits have: 2." in messages
    assert "numeric order (2, 9, 10, ...)" in messages
    assert splits["train"].features["label"].names == ["2", "9", "10"]
    assert splits["train"]["label"][:] == [1, 2] and splits["test"]["label"][:] == [0, 1]
