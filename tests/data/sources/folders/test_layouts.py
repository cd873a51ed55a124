import os
import unicodedata
import warnings
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from hf_ltr.data.sources.folders.layouts import load_folder
from hf_ltr.data.sources.source_options import SourceOptions

from ...conftest import encoded_image, write_image_folder

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
    """A corrupt image is found, with its row, by the batch loader; a folder of a million files opens at once."""
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
    assert "no training image of 1 class that its other splits have: 2." in messages
    assert "numeric order (2, 9, 10, ...)" in messages
    assert splits["train"].features["label"].names == ["2", "9", "10"]
    assert splits["train"]["label"][:] == [1, 2] and splits["test"]["label"][:] == [0, 1]


def tree(root, *paths):
    """A picture for every path."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(encoded_image(1))
    return root


def sizes(splits):
    return {split: len(part) for split, part in splits.items()}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("dataset/train", "dataset/test"),
        ("train_images", "test_images"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("archive/data/train2017", "archive/data/test2017"),
    ],
)
def test_folders_for_splits_wherever_they_are(tmp_path, silent, train, test):
    tree(tmp_path, *(f"{train}/{name}/{row}.png" for name in ("ant", "bee") for row in range(2)), f"{test}/bee/0.png")
    splits = load_folder(tmp_path)
    assert sizes(splits) == {"train": 4, "test": 1} and splits["test"]["label"][:] == [1]


@pytest.mark.parametrize(
    ("folders", "message", "chosen", "expected"),
    [
        (("train", "test", "extra"), "plain what extra is for", {"train": ["train", "extra"]}, {"train": 4}),
        (("train", "val", "holdout"), "plain what holdout is for", {"train": ["train"]}, {"train": 2}),
        (
            ("train_1", "train_2", "test_a"),
            "what test_a, train_1 and train_2 are",
            {"train": ["train_1"]},
            {"train": 2},
        ),
        (
            ("train", "val", "dev"),
            "two mean validation",
            {"train": ["train"], "test": ["dev"]},
            {"train": 2, "test": 2},
        ),
        (
            ("fold1", "fold2"),
            "more than one folder below",
            {"train": ["fold1"], "test": ["fold2"]},
            {"train": 2, "test": 2},
        ),
    ],
)
def test_folders_that_are_splits_of_another_name(tmp_path, silent, folders, message, chosen, expected):
    tree(tmp_path, *(f"{folder}/{name}/0.png" for folder in folders for name in ("ant", "bee")))
    with pytest.raises(ValueError, match=message + ".*splits='"):
        load_folder(tmp_path)
    assert sizes(load_folder(tmp_path, SourceOptions(splits=chosen))) == expected


@pytest.mark.parametrize("test", ["test/{}.png", "test/unknown/{}.png", "test/test/{}.png"])
def test_test_images_without_classes_are_left_out_by_an_option(tmp_path, silent, test):
    tree(tmp_path, *(f"train/{name}/0.png" for name in ("ant", "bee")), *(test.format(row) for row in range(3)))
    with pytest.raises(
        ValueError, match="The test split of .* has no labels: .*Leave it out with splits='train=train'"
    ):
        load_folder(tmp_path)
    assert sizes(load_folder(tmp_path, SourceOptions(splits={"train": ["train"]}))) == {"train": 2}


@pytest.mark.parametrize("names", [("part1", "part2"), ("images",), ("batch_a", "batch 2"), ("test", "train", "bus")])
def test_folders_that_are_no_classes(tmp_path, names):
    write_image_folder(tmp_path, dict.fromkeys(names, 2))
    with pytest.raises(ValueError, match="so they have no classes: .*labels_from=<file.csv>.*labels_from='folders'"):
        load_folder(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load_folder(tmp_path, SourceOptions(labels_from="folders"))["train"].features["label"].names == sorted(
            names
        )


@pytest.mark.parametrize("names", [("c0", "c1", "c2"), ("n01440764", "n01443537"), ("Type_1", "Type_2")])
def test_numbered_classes(tmp_path, silent, names):
    write_image_folder(tmp_path, dict.fromkeys(names, 1))
    assert load_folder(tmp_path)["train"].features["label"].names == list(names)


def test_files_left_out_are_said_in_numbers(tmp_path):
    write_image_folder(tmp_path, {"ant": 2, "bee": 2})
    for file in ("ant/a.HEIC", "ant/b.heic", "ant/c.jpg_large", "bee/no_ending"):
        (tmp_path / file).write_bytes(b"")
    (tmp_path / "bee" / "link.jpg").symlink_to("gone.jpg")
    (tmp_path / "bee" / "folder.jpg").mkdir()
    with pytest.warns(UserWarning) as caught:
        assert len(load_folder(tmp_path)["train"]) == 4
    assert len(caught) == 1
    message = str(caught[0].message)
    assert (
        "4 with endings that are none of an image (.heic 2, .jpg_large 1, without ending 1; ant 3, bee 1)" in message
    )
    assert "1 links to files that are not there (such as bee/link.jpg; bee 1)" in message


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (None, r"The class 'cat' of .* \(train\) has no image\."),
        (
            "a.heic",
            r"The class 'cat' of .* has 1 files with endings that are none of an image \(.heic 1\), but no image",
        ),
        ("a", r"\(without ending 1\), but no image"),
        ("link.jpg", r"has 1 links to files that are not there, but no image"),
    ],
)
def test_a_class_that_loses_all_its_images(tmp_path, file, message):
    write_image_folder(tmp_path / "train", {"ant": 1, "bee": 1})
    (tmp_path / "train" / "cat").mkdir()
    if file == "link.jpg":
        (tmp_path / "train" / "cat" / file).symlink_to("gone.jpg")
    elif file:
        (tmp_path / "train" / "cat" / file).write_bytes(b"")
    with pytest.raises(ValueError, match=message):
        load_folder(tmp_path)
    if file is None:  # a class of the test images alone has no training image, which is said
        write_image_folder(tmp_path / "test", {"ant": 1, "cat": 1})
        with pytest.warns(UserWarning, match="no training image of 1 class that its other splits have: cat"):
            load_folder(tmp_path)


def test_a_split_that_loses_all_its_images(tmp_path):
    write_image_folder(tmp_path / "train", {"ant": 1, "bee": 1})
    (tmp_path / "test" / "ant").mkdir(parents=True)
    (tmp_path / "test" / "ant" / "a.heic").write_bytes(b"")
    with pytest.raises(ValueError, match=r"The folder .*test has 1 files .*\(.heic 1\), but no image"):
        load_folder(tmp_path)


def test_stray_images_beside_class_folders(tmp_path):
    tree(tmp_path, *(f"train/{name}/0.png" for name in ("ant", "bee")), "train/stray.png", "banner.png")
    with pytest.warns(UserWarning, match="2 images of .* lie in no class folder and are left out, such as banner.png"):
        assert sizes(load_folder(tmp_path)) == {"train": 2}


def test_a_folder_of_images_in_every_class_folder(tmp_path, silent):
    """Tiny ImageNet; but folders of other names could be classes themselves."""
    tree(tmp_path / "tiny", *(f"train/{name}/images/{row}.png" for name in ("ant", "bee") for row in range(2)))
    assert load_folder(tmp_path / "tiny")["train"].features["label"].names == ["ant", "bee"]
    tree(tmp_path / "study", *(f"train/{name}/study1/{row}.png" for name in ("ant", "bee") for row in range(2)))
    with pytest.raises(ValueError, match="more than one folder below"):
        load_folder(tmp_path / "study")
    tree(tmp_path / "parts", *(f"images_{part}/images/{row}.png" for part in (1, 2) for row in range(2)))
    with pytest.raises(ValueError, match="so they have no classes"):
        load_folder(tmp_path / "parts")


def test_a_table_of_labels_that_is_not_read_is_said(tmp_path):
    write_image_folder(tmp_path, {"ant": 1, "bee": 1})
    (tmp_path / "labels.xlsx").write_bytes(b"")
    with pytest.warns(UserWarning, match="labels.xlsx beside the images of .* is not read.*CSV"):
        assert sizes(load_folder(tmp_path)) == {"train": 2}


def test_what_systems_leave_behind(tmp_path, silent):
    write_image_folder(tmp_path, {"ant": 1, "bee": 1})
    tree(
        tmp_path, "__MACOSX/ant/0.png", ".ipynb_checkpoints/0.png", "ant/.ipynb_checkpoints/0.png", "@eaDir/ant/0.png"
    )
    for file in (".DS_Store", "README.md", "LICENSE", "ant/Thumbs.db", "ant/desktop.ini"):
        (tmp_path / file).write_bytes(b"")
    assert sizes(load_folder(tmp_path)) == {"train": 2}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path):
    write_image_folder(tmp_path, {"ant": 1, "bee": 1})
    (tmp_path / "bee").chmod(0)
    try:
        with pytest.raises(PermissionError, match="The folder .*bee cannot be read"):
            load_folder(tmp_path)
    finally:
        (tmp_path / "bee").chmod(0o755)


# configurations and splits of parquet files


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("data/train-00000-of-00001", "data/extra-00000-of-00001"), "plain what extra is for"),
        (("data/train-00000-of-00001", "data/train_extra-00000-of-00001"), "plain what train_extra is for"),
        (("data/holdout-00000-of-00001",), "plain what holdout is for"),
        (
            ("train", "validation_matched", "validation_mismatched"),
            "validation_matched and validation_mismatched are for",
        ),
        (("train", "evaluation"), "plain what evaluation is for"),
        (("birds", "fish"), "plain what birds and fish are for"),
        (
            ("train", "val_test"),
            "val_test.parquet could belong to the splits validation and test.*splits='train=train'",
        ),
        (
            ("plain/train", "cropped/train"),
            "has the configurations cropped, plain. Choose one with dataset_config='cropped'",
        ),
        (("train", "old/train"), r"has the configurations \., old"),
        (("kind=a/0", "kind=b/0"), "has the configurations kind=a, kind=b"),
    ],
)
def test_parquet_files_that_do_not_say_what_they_are(tmp_path, files, message):
    for file in files:
        numbers(tmp_path / f"{file}.parquet", 1)
    with pytest.raises(ValueError, match=message):
        load_folder(tmp_path)


def test_what_is_said_about_parquet_files(tmp_path):
    for number, file in enumerate(("plain/train-0", "plain/train-1", "plain/extra", "cropped/train")):
        numbers(tmp_path / f"{file}.parquet", number)
    chosen = {"train": ["train", "extra"]}
    assert load_folder(tmp_path, SourceOptions(dataset_config="plain", splits=chosen))["train"]["n"][:] == [0, 1, 2]
    assert load_folder(tmp_path, SourceOptions(dataset_config="cropped"))["train"]["n"][:] == [3]
    with pytest.raises(ValueError, match=r"Unknown dataset_config of .*: 'plane'\. Did you mean 'plain'"):
        load_folder(tmp_path, SourceOptions(dataset_config="plane"))


CARD = """---
configs:
- config_name: small
  data_files:
  - split: train
    path: [data/a-*, data/extra*]
  - split: test
    path: data/holdout*
- config_name: large
  data_files: data/*
---
# Birds
"""


def test_the_card_says_configurations_and_splits(tmp_path):
    for number, file in enumerate(("a-0", "a-1", "extra", "holdout")):
        numbers(tmp_path / "data" / f"{file}.parquet", number)
    (tmp_path / "README.md").write_text(CARD)
    with pytest.raises(
        ValueError, match="has the configurations small, large. Choose one with dataset_config='small'"
    ):
        load_folder(tmp_path)
    small = load_folder(tmp_path, SourceOptions(dataset_config="small"))
    assert {split: part["n"][:] for split, part in small.items()} == {"train": [0, 1, 2], "test": [3]}
    assert load_folder(tmp_path, SourceOptions(dataset_config="large"))["train"]["n"][:] == [0, 1, 2, 3]
    (tmp_path / "README.md").write_text(CARD.replace("small\n", "small\n  default: true\n"))
    assert load_folder(tmp_path)["test"]["n"][:] == [3]
    (tmp_path / "README.md").write_text(CARD.replace("split: test", "split: unseen"))
    with pytest.raises(ValueError, match="has the splits train, unseen, and it is not plain what unseen is for"):
        load_folder(tmp_path, SourceOptions(dataset_config="small"))


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ("[", "front matter of .*README.md cannot be read"),
        ("3", "must be a list of configurations"),
        ("[{config_name: a, data_files: ../secret.parquet}]", "outside of the folder"),
        ("[{config_name: a, data_files: 'https://somewhere/x.parquet'}]", "outside of the folder"),
        ("[{config_name: a, data_files: gone*}]", "there is no such file"),
        ("[{config_name: a, data_files: README.md}]", "takes files that are no parquet, such as README.md"),
        ("[{config_name: a, data_dir: nowhere}]", "names the folder nowhere, which is not there"),
        (
            "[{config_name: a, data_files: [{split: train}]}]",
            "(Invalid format for data_files entry|should have a .path.|have a 'path' key)",
        ),
    ],
)
def test_cards_that_cannot_be_followed(tmp_path, configs, message):
    numbers(tmp_path / "train.parquet", 1)
    (tmp_path / "README.md").write_text(f"---\nconfigs: {configs}\n---\n")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_folder(tmp_path)


def test_the_card_of_a_folder_of_images(tmp_path):
    tree(tmp_path, *(f"{part}/{name}/0.png" for part in ("train", "test", "more/train") for name in ("ant", "bee")))
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: a\n  data_files:\n  - {split: train, path: train/**}\n  - {split: test, path: "
        "test/**}\n- config_name: b\n  data_dir: more\n---\n"
    )
    with pytest.raises(ValueError, match="has the configurations a, b"):
        load_folder(tmp_path)
    assert sizes(load_folder(tmp_path, SourceOptions(dataset_config="a"))) == {"train": 2, "test": 2}
    assert sizes(load_folder(tmp_path, SourceOptions(dataset_config="b"))) == {"train": 2}
    (tmp_path / "README.md").write_text("---\nconfigs: [{config_name: a, data_files: 't*/**'}]\n---\n")
    with pytest.raises(ValueError, match="puts test/ant/0.png into train, but its folder or table says test"):
        load_folder(tmp_path)
    assert sizes(load_folder(tmp_path, SourceOptions(splits={"train": ["train"], "test": ["test"]}))) == {
        "train": 2,
        "test": 2,
    }


def test_names_that_no_dataset_can_hold(tmp_path):
    write_image_folder(tmp_path, {"ant": 1, "bee": 1})
    try:
        (tmp_path / "ant" / os.fsdecode(b"caf\xe9.png")).write_bytes(encoded_image(1))
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(ValueError, match=r"The name b'caf\\xe9.png' in .*ant is not UTF-8; rename it"):
        load_folder(tmp_path)


def test_a_link_to_itself(tmp_path):
    write_image_folder(tmp_path, {"ant": 1, "bee": 1})
    (tmp_path / "ant" / "loop.png").symlink_to("loop.png")
    with pytest.warns(UserWarning, match="1 links to files that are not there"):
        assert sizes(load_folder(tmp_path)) == {"train": 2}


def test_pictures_beside_parquet_files(tmp_path):
    rows = {"image": [{"bytes": encoded_image(1), "path": None}] * 2, "label": [0, 1]}
    Dataset.from_dict(rows).to_parquet(tmp_path / "train.parquet")
    tree(tmp_path, "assets/banner.png")
    with pytest.warns(UserWarning, match="1 images of .* lie beside its parquet files and are left out"):
        assert sizes(load_folder(tmp_path)) == {"train": 2}
    tree(tmp_path, "ant/0.png")
    with pytest.raises(ValueError, match="2 images in 2 folders.*labels_from='parquet' or labels_from='folders'"):
        load_folder(tmp_path)
    assert sizes(load_folder(tmp_path, SourceOptions(labels_from="parquet"))) == {"train": 2}
    assert load_folder(tmp_path, SourceOptions(labels_from="folders"))["train"].features["label"].names == [
        "ant",
        "assets",
    ]


def test_saved_datasets_with_other_splits(tmp_path):
    one = Dataset.from_dict({"n": [1, 2]})
    DatasetDict(train=one, extra=one.select([1])).save_to_disk(tmp_path)
    with pytest.raises(ValueError, match="has the splits train, extra, and it is not plain what extra is for"):
        load_folder(tmp_path)
    assert load_folder(tmp_path, SourceOptions(splits={"train": ["train", "extra"]}))["train"]["n"][:] == [1, 2, 2]
    with pytest.raises(ValueError, match="dataset_config='a' does not fit: .* was written by save_to_disk"):
        load_folder(tmp_path, SourceOptions(dataset_config="a"))
