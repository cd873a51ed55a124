"""Images whose labels stand in a table: layouts that people have, each read or refused, never guessed."""

import json
import warnings

import pytest

from hf_ltr import class_counts, load_long_tailed
from hf_ltr.data import long_tail_info
from hf_ltr.data.sources.folders.image_names import ImageNames
from hf_ltr.data.sources.folders.scan import scan

from ...conftest import encoded_image

pytestmark = pytest.mark.usefixtures("datasets_cache")


def images(root, *paths):
    """A picture for every path, with a gray of its own, counted up from 0."""
    for gray, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(encoded_image(gray))
    return root


def table(path, header, rows, mark=","):
    path.write_text("\n".join([header, *(mark.join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")


def grays(part):
    return [row["image"].getpixel((0, 0)) for row in part]


def labels(data):
    """The class of every image, by its gray, over all splits."""
    names = data["train"].features["label"].names
    found = {gray: names[row] for part in data.values() for gray, row in zip(grays(part), part["label"], strict=True)}
    return [found[gray] for gray in sorted(found)]


def counts(data):
    return {split: dict(zip(class_counts(p).names, class_counts(p).counts, strict=True)) for split, p in data.items()}


@pytest.fixture
def silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


DX = ["nv", "mel", "nv", "bcc", "nv", "nv", "mel", "nv", "bcc", "nv"]


@pytest.fixture
def ham(tmp_path):
    return images(tmp_path, *(f"HAM_part_{1 + row // 5}/ISIC_{row:04}.jpg" for row in range(10)))


def test_parts_of_a_collection_and_a_table_of_names_without_ending(ham, silent):
    """HAM10000."""
    header = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset"
    rows = [
        (f"HAM_{row // 2}", f"ISIC_{row:04}", DX[row], "histo", 60.0, "male", "back", "vidir") for row in range(10)
    ]
    table(ham / "HAM10000_metadata.csv", header, rows)
    data = load_long_tailed(ham)
    assert labels(data) == DX and data["train"].features["label"].names == ["bcc", "mel", "nv"]
    assert {"lesion_id", "image_id", "age"} < set(data["train"].column_names)
    assert data["train"]["age"][0] == 60.0
    by_id = load_long_tailed(ham, imbalance_factor=None, order_column="image_id")
    assert long_tail_info(by_id["train"])["row_identity"] == "(label, image_id)"


def test_parts_of_a_collection_are_no_classes(ham):
    with pytest.raises(
        ValueError, match=r"HAM_part_1, HAM_part_2 are what a part of a collection is called.*labels_from"
    ):
        load_long_tailed(ham)
    assert class_counts(load_long_tailed(ham, labels_from="folders")["train"]).names == ["HAM_part_1", "HAM_part_2"]


def test_any_names_of_columns(ham, silent):
    table(ham / "t.csv", "what,name,which", [(row % 4, f"ISIC_{row:04}", DX[row]) for row in range(10)])
    with pytest.raises(
        ValueError, match=r"Several columns of t.csv could be the label: what \(4 values\), which \(3 val"
    ):
        load_long_tailed(ham)
    assert labels(load_long_tailed(ham, label_column="which")) == DX
    with pytest.raises(
        ValueError, match=r"no label column 'wich' beside the images of .*: t.csv has what, name, which"
    ):
        load_long_tailed(ham, label_column="wich")
    with pytest.raises(
        ValueError, match=r"no image column 'nam' beside the images of .*: t.csv has what, name, which"
    ):
        load_long_tailed(ham, label_column="which", image_column="nam")
    assert labels(load_long_tailed(ham, label_column="which", image_column="name")) == DX
    # Only one of two columns can be the label.
    table(ham / "t.csv", "name,which", [(f"ISIC_{row:04}", DX[row]) for row in range(10)])
    assert labels(load_long_tailed(ham)) == DX


SIX = ["a", "b"] * 3


@pytest.fixture
def flat(tmp_path):
    return images(tmp_path, *(f"images/{row}.png" for row in range(6)))


def test_one_folder_of_images_is_no_class(flat):
    with pytest.raises(
        ValueError, match=r"images directly in images/, so they have no classes.*labels_from=<file.csv>"
    ):
        load_long_tailed(flat)
    (flat / "images").rename(flat / "owls")
    with pytest.raises(
        ValueError, match=r"has a single class, 'owls', so there is nothing to tell apart.*labels_from"
    ):
        load_long_tailed(flat)


WRITTEN = {
    "path": ("images/{}.png", ","),
    "name": ("{}.png", ","),
    "no ending": ("{}", ","),
    "upper case": ("Images/{}.PNG", ","),
    "semicolon": ("images/{}.png", ";"),
    "tab": ("images/{}.png", "\t"),
    "bar": ("images/{}.png", "|"),
    "dots": ("./images/../images/{}.png", ","),
    "backslash": ("images\\{}.png", ","),
    "windows": ("C:\\Users\\me\\birds\\images\\{}.png", ","),
    "elsewhere": ("/kaggle/input/birds/images/{}.png", ","),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_how_a_table_writes_the_name_of_an_image(flat, silent, kind):
    written, mark = WRITTEN[kind]
    table(flat / "labels.csv", f"id{mark}kind", [(written.format(row), SIX[row]) for row in range(6)], mark)
    assert labels(load_long_tailed(flat)) == SIX


@pytest.mark.parametrize("written", ["{}.jpg", "test/{}.png", "x{}.png", "/birds/photos/{}.png"])
def test_another_ending_or_folder_is_another_image(flat, written):
    table(flat / "labels.csv", "id,kind", [(written.format(row), SIX[row]) for row in range(6)])
    with pytest.raises(
        ValueError, match=r"labels.csv names no image of .*begins with id=.*images are such as images/0"
    ):
        load_long_tailed(flat)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(flat, silent, encoding):
    text = "file;class\n" + "".join(f"{row}.png;{'thé' if row % 2 else 'café'}\n" for row in range(6))
    (flat / "labels.csv").write_text(text, encoding=encoding)
    assert labels(load_long_tailed(flat)) == ["café", "thé"] * 3
    (flat / "labels.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="line 2 of labels.csv is not UTF-8 text"):
        load_long_tailed(flat)


def test_other_kinds_of_tables(flat, tmp_path_factory, silent):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (flat / "labels.csv").write_text("".join(f"images/{row}.png,{SIX[row]}\n" for row in range(6)))
    assert labels(load_long_tailed(flat)) == SIX  # without a header
    (flat / "labels.csv").unlink()
    lines = [json.dumps({"file_name": f"images/{row}.png", "label": SIX[row], "box": [1, 2]}) for row in range(6)]
    (flat / "about.jsonl").write_text("\n".join(lines))
    assert labels(load_long_tailed(flat)) == SIX
    (flat / "about.jsonl").unlink()
    pq.write_table(pa.table({"id": [str(row) for row in range(6)], "label": [0, 1] * 3}), flat / "labels.parquet")
    assert labels(load_long_tailed(flat)) == ["0", "1"] * 3
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "labels.parquet"
    (flat / "labels.parquet").rename(elsewhere)
    assert labels(load_long_tailed(flat, labels_from=str(elsewhere))) == ["0", "1"] * 3
    (flat / "labels.txt").write_text("".join(f"images/{row}.png {SIX[row]}\n" for row in range(6)))
    assert labels(load_long_tailed(flat, labels_from="labels.txt")) == SIX
    (flat / "labels.json").write_text(json.dumps({f"{row}.png": SIX[row] for row in range(6)}))
    assert labels(load_long_tailed(flat, labels_from="labels.json")) == SIX
    (flat / "labels.json").write_text(json.dumps([{"name": f"{row}", "kind": SIX[row]} for row in range(6)]))
    assert labels(load_long_tailed(flat, labels_from="labels.json")) == SIX
    for content in ("[", "3", '{"images": []}'):
        (flat / "labels.json").write_text(content)
        with pytest.raises(ValueError, match="labels.json is no (JSON|table)"):
            load_long_tailed(flat, labels_from="labels.json")
    (flat / "labels.xlsx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"labels.xlsx' is no table that can be read \(.csv"):
        load_long_tailed(flat, labels_from="labels.xlsx")
    with pytest.raises(FileNotFoundError, match="labels_from='label.csv': there is no such file"):
        load_long_tailed(flat, labels_from="label.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,kind\n0,a,b\n", "line 2 of labels.csv has 3 fields, but its first line has 2"),
        ("id,id\n0,a\n", "labels.csv has two columns called 'id'"),
        (
            "id,kind\n" + "".join(f"{row},{SIX[row]}\n" for row in range(6)) + "0,b\n",
            r"images/0.png is listed as 'a' and",
        ),
        (
            "id,kind\n" + "".join(f"{row},{SIX[row] if row != 2 else ''}\n" for row in range(6)),
            "line 4 of labels.csv has no",
        ),
        (
            "id,kind\n" + "".join(f"{row},{SIX[row]}\n" for row in range(6)) + "9,c\n",
            "no image is left of 1 classes: c",
        ),
        ("id,score\n" + "".join(f"{row},0.{row + 1}\n" for row in range(6)), "No label column was recognised"),
        ("id,label\n" + "".join(f"{row},-1\n" for row in range(6)), "The training split of .* has no labels"),
    ],
)
def test_tables_that_cannot_be_used(flat, text, message):
    (flat / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_long_tailed(flat)


def test_labels_as_numbers_and_beside_names(flat, silent):
    table(flat / "labels.csv", "id,label", [(row, f"{row % 2}.0") for row in range(6)])
    assert labels(load_long_tailed(flat)) == ["0", "1"] * 3
    table(flat / "labels.csv", "id,ClassId,species", [(row, row % 2, ["owl", "ant"][row % 2]) for row in range(6)])
    data = load_long_tailed(flat)  # the same classes by number and by name
    assert labels(data) == ["owl", "ant"] * 3 and data["train"].features["label"].names == ["ant", "owl"]
    table(flat / "labels.csv", "id,category,species", [(row, row % 3, ["owl", "ant"][row % 2]) for row in range(6)])
    with pytest.raises(ValueError, match=r"could be the label: category \(3 values\), species \(2 values\)"):
        load_long_tailed(flat)


def test_one_column_for_each_class(flat):
    rows = [(row, float(row % 2 == 0), float(row % 2), 0.0) for row in range(6)]
    table(flat / "labels.csv", "image,MEL,NV,UNK", rows)
    with pytest.warns(UserWarning, match="No row of labels.csv is of UNK, which become no class"):
        data = load_long_tailed(flat)
    assert labels(data) == ["MEL", "NV"] * 3
    table(flat / "labels.csv", "image,MEL,NV,UNK", [*rows[:5], (5, 1, 1, 0)])
    with pytest.raises(
        ValueError, match=r"MEL, NV, UNK of labels.csv are 0 and 1.*1 rows have several 1 and 0 have none"
    ):
        load_long_tailed(flat)
    assert labels(load_long_tailed(flat, label_column="NV")) == ["0", "1"] * 3


def test_a_table_beside_the_images_and_one_that_lists_a_part(tmp_path):
    images(tmp_path, *(f"{row}.jpg" for row in range(8)))
    table(tmp_path / "labels.csv", "id,breed", [(row, SIX[row]) for row in range(6)])
    with pytest.warns(
        UserWarning, match=r"2 of 8 images of .* are not listed in labels.csv and are left out \(.jpg 2; . 2\)"
    ):
        assert labels(load_long_tailed(tmp_path)) == SIX
    table(tmp_path / "labels.csv", "id,breed", [(row, ["a", "b"][row % 2]) for row in range(10)])
    with pytest.warns(
        UserWarning, match=r"2 of 10 rows of train name no image of .*line 10 of labels.csv \(8\).*a 1, b 1"
    ):
        assert len(labels(load_long_tailed(tmp_path))) == 8
    table(tmp_path / "labels.csv", "id,breed", [(row % 8, ["a", "b"][row % 2]) for row in range(10)])
    with pytest.warns(UserWarning, match="2 rows name an image a second time and are left out, such as line 10"):
        assert len(labels(load_long_tailed(tmp_path))) == 8


@pytest.fixture
def kaggle(tmp_path):
    """`train_images/`, `test_images/` and `train.csv`."""
    names = [*(f"train_images/{row}.jpg" for row in range(6)), "test_images/t0.jpg", "test_images/t1.jpg"]
    table(images(tmp_path, *names) / "train.csv", "image_id,label", [(f"{row}.jpg", row % 2) for row in range(6)])
    return tmp_path


def test_split_words_in_folder_names_are_no_classes(kaggle):
    (kaggle / "train.csv").unlink()
    with pytest.raises(
        ValueError, match=r"test_images/, train_images/, so they have no classes: .* are names of splits"
    ):
        load_long_tailed(kaggle)


def test_tables_for_splits(kaggle):
    table(kaggle / "sample_submission.csv", "image_id,label", [("t0.jpg", 0), ("t1.jpg", 0)])
    with pytest.warns(UserWarning, match=r"2 of 8 images of .* are not listed in train.csv.*test_images 2"):
        data = load_long_tailed(kaggle)
    assert counts(data) == {"train": {"0": 2, "1": 2}, "test": {"0": 1, "1": 1}}
    for text in (
        "image_id\nt0.jpg\nt1.jpg\n",
        "image_id,label\nt0.jpg,-1\nt1.jpg,-1\n",
        "image_id,label\nt0.jpg,\nt1.jpg,\n",
    ):
        (kaggle / "test.csv").write_text(text)
        with pytest.raises(
            ValueError, match=r"The test split of .* has no labels.*Leave it out with splits='train=train'"
        ):
            load_long_tailed(kaggle)
        assert counts(load_long_tailed(kaggle, splits="train=train")) == counts(data)
    table(kaggle / "test.csv", "image_id,label", [("t0.jpg", 1), ("t1.jpg", 0)])
    both = load_long_tailed(kaggle)
    assert counts(both) == {"train": {"0": 3, "1": 3}, "test": {"0": 1, "1": 1}} and grays(both["test"]) == [6, 7]
    table(kaggle / "extra.csv", "image_id,label", [("t0.jpg", 1), ("t1.jpg", 0)])
    with pytest.raises(ValueError, match="it is not plain what extra is for"):
        load_long_tailed(kaggle)
    assert counts(load_long_tailed(kaggle, splits="train=train,test=extra")) == counts(both)
    table(kaggle / "test.csv", "image_id,label", [("t0.jpg", 1), ("1.jpg", 1)])
    (kaggle / "extra.csv").unlink()
    with pytest.raises(
        ValueError, match=r"train_images/1.jpg is listed in train and in test \(line 3 of train.csv, line 3 "
    ):
        load_long_tailed(kaggle)


def test_a_column_or_the_folders_say_the_split(flat, silent):
    table(
        flat / "labels.csv", "id,kind,data set", [(row, SIX[row], "train" if row < 4 else "TEST") for row in range(6)]
    )
    assert counts(load_long_tailed(flat)) == {"train": {"a": 2, "b": 2}, "test": {"a": 1, "b": 1}}
    table(flat / "labels.csv", "id,kind,split", [(row, SIX[row], f"fold{row // 4}") for row in range(6)])
    with pytest.raises(ValueError, match="has the splits fold0, fold1, and it is not plain"):
        load_long_tailed(flat)
    assert len(load_long_tailed(flat, splits="train=fold0,test=fold1")["test"]) == 2


def test_one_table_over_folders_for_splits(tmp_path, silent):
    images(tmp_path, *(f"{split}/{row}.png" for split in ("train", "test") for row in range(4)))
    rows = [(f"{split}/{row}.png", "ab"[row % 2]) for split in ("train", "test") for row in range(4)]
    table(tmp_path / "labels.csv", "file,label", rows)
    data = load_long_tailed(tmp_path)
    assert {split: len(part) for split, part in data.items()} == {"train": 4, "test": 4} and grays(data["test"])[
        0
    ] == 4
    table(tmp_path / "labels.csv", "file,label", [(f"{row}.png", "ab"[row % 2]) for row in range(4)])
    with pytest.raises(
        ValueError, match=r"line 2 of labels.csv names '0.png', which could be test/0.png or train/0.png"
    ):
        load_long_tailed(tmp_path)
    (tmp_path / "labels.csv").unlink()
    for split in ("train", "test"):  # as imagefolder has them
        table(
            tmp_path / split / "metadata.csv", "file_name,label", [(f"{row}.png", "ab"[row % 2]) for row in range(4)]
        )
    assert {split: len(part) for split, part in load_long_tailed(tmp_path).items()} == {"train": 4, "test": 4}


def test_class_folders_beside_a_table_that_says_the_same(tmp_path, silent):
    """GTSRB: classes and splits by table, class folders for training, none for the test images."""
    names = [
        *(f"Train/{row % 3}/{row}.png" for row in range(9)),
        *(f"Test/{row:03}.png" for row in range(3)),
        "Meta/0.png",
    ]
    images(tmp_path, *names)
    table(tmp_path / "Train.csv", "Width,ClassId,Path", [(27, row % 3, names[row]) for row in range(9)])
    table(tmp_path / "Test.csv", "Width,ClassId,Path", [(27, row, f"Test/{row:03}.png") for row in range(3)])
    table(tmp_path / "Meta.csv", "Path,ClassId", [("Meta/0.png", 0)])
    with pytest.raises(ValueError, match="splits Meta, Test, Train, and it is not plain what Meta is for"):
        load_long_tailed(tmp_path)
    data = load_long_tailed(tmp_path, splits={"train": "Train", "test": "Test"})
    assert counts(data) == {"train": {"0": 3, "1": 3, "2": 3}, "test": {"0": 1, "1": 1, "2": 1}}


@pytest.fixture
def folders(tmp_path):
    return images(tmp_path, *(f"{name}/{row}.png" for name in ("ant", "bee") for row in range(4)))


BOTH = [(name, row) for name in ("ant", "bee") for row in range(4)]


def test_class_folders_and_a_table_that_agree_or_have_nothing_to_do_with_each_other(folders, silent):
    table(folders / "labels.csv", "file,label", [(f"{name}/{row}.png", name) for name, row in BOTH])
    assert labels(load_long_tailed(folders)) == ["ant"] * 4 + ["bee"] * 4
    table(folders / "labels.csv", "file,score", [(f"{name}/{row}.png", f"0.{row + 1}") for name, row in BOTH])
    table(folders / "classes.csv", "name,colour", [("ant", "red"), ("bee", "yellow")])
    assert labels(load_long_tailed(folders)) == ["ant"] * 4 + ["bee"] * 4


def test_folders_that_hold_several_classes_are_none(folders, silent):
    table(folders / "labels.csv", "file,label", [(f"{name}/{row}.png", f"kind {row % 2}") for name, row in BOTH])
    assert labels(load_long_tailed(folders)) == ["kind 0", "kind 1"] * 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [(name, row, "bee" if row == 3 else name) for name, row in BOTH],
            "ant/3.png could be of the class 'ant', by its",
        ),
        (
            [(name, row, name.upper()) for name, row in BOTH],
            "ant/0.png could be of the class 'ant', by its folder, or 'ANT'",
        ),
        (
            [(name, row, name) for name, row in BOTH if row],
            "labels.csv lists a part of the images in the class folders; 2 ",
        ),
    ],
)
def test_two_readings_are_refused_and_either_can_be_said(folders, rows, message):
    table(folders / "labels.csv", "file,label", [(f"{name}/{row}.png", label) for name, row, label in rows])
    either = "labels_from='labels.csv' takes the table, labels_from='folders' takes the folders"
    with pytest.raises(ValueError, match=f"{message}.*{either}"):
        load_long_tailed(folders)
    assert labels(load_long_tailed(folders, labels_from="folders")) == ["ant"] * 4 + ["bee"] * 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is not in the table is left out
        data = load_long_tailed(folders, labels_from="labels.csv")
    assert sorted(labels(data)) == sorted(label for *_, label in rows)
    assert long_tail_info(data["train"])["labels_from"] == "labels.csv"


def test_metadata_is_read_in_the_place_of_folders(folders):
    table(folders / "metadata.csv", "file_name,label", [(f"{name}/{row}.png", name) for name, row in BOTH if row])
    with pytest.warns(UserWarning, match=r"2 of 8 images .* not listed in metadata.csv .*\(.png 2; ant 1, bee 1\)"):
        assert len(labels(load_long_tailed(folders))) == 6
    table(folders / "metadata.csv", "file_name,label", [(f"ant/{row}.png", "ant") for row in range(4)])
    with pytest.raises(ValueError, match=r"not listed in metadata.csv.*no image is left of 1 classes: bee"):
        load_long_tailed(folders)


def test_several_tables(flat):
    table(flat / "kinds.csv", "id,kind", [(row, SIX[row]) for row in range(6)])
    table(flat / "colours.csv", "id,colour", [(row, "rg"[row % 2]) for row in range(6)])
    with pytest.raises(
        ValueError, match="several tables with labels: colours.csv, kinds.csv.*labels_from='colours.csv'"
    ):
        load_long_tailed(flat)
    assert labels(load_long_tailed(flat, labels_from="kinds.csv")) == SIX
    table(flat / "kinds.csv", "id,kind", [(row, SIX[row]) for row in range(3)])
    table(flat / "colours.csv", "id,kind", [(row, SIX[row]) for row in range(3, 6)])
    assert labels(load_long_tailed(flat, labels_from="kinds.csv+colours.csv")) == SIX


def test_two_images_in_a_row(tmp_path):
    images(tmp_path, *(f"{side}/{side}{row}.png" for side in ("left", "right") for row in range(4)))
    rows = [(f"left{row}.png", f"right{row}.png", SIX[row]) for row in range(4)]
    table(tmp_path / "labels.csv", "l,r,kind", rows)
    with pytest.raises(
        ValueError, match=r"Several columns of labels.csv name images: l, r\. Say which with image_column"
    ):
        load_long_tailed(tmp_path)
    with pytest.warns(UserWarning, match="4 of 8 images of .* are not listed in labels.csv.*left 4"):
        assert grays(load_long_tailed(tmp_path, image_column="r", label_column="kind")["train"])[0] >= 4


def test_tables_that_say_something_else_about_the_images(flat, silent):
    """ISIC 2018: beside the ground truth lie groups of lesions, of the same images."""
    table(flat / "ISIC_Training_GroundTruth.csv", "image,MEL,NV", [(row, row % 2, 1 - row % 2) for row in range(6)])
    table(flat / "ISIC_Training_Groups.csv", "image,lesion,confirmed", [(row, row // 2, row % 2) for row in range(6)])
    assert labels(load_long_tailed(flat)) == ["NV", "MEL"] * 3
    table(flat / "ISIC_Training_Groups.csv", "image,lesion", [(row, row // 2) for row in range(6)])
    with pytest.raises(
        ValueError, match="several tables with labels: ISIC_Training_GroundTruth.csv, ISIC_Training_Groups"
    ):
        load_long_tailed(flat)
    assert labels(load_long_tailed(flat, labels_from="ISIC_Training_GroundTruth.csv")) == ["NV", "MEL"] * 3


def test_a_test_split_of_one_dummy_label(tmp_path):
    names = [*(f"train/{row}.png" for row in range(6)), *(f"test/t{row}.png" for row in range(20))]
    images(tmp_path, *names)
    table(tmp_path / "train.csv", "id,label", [(row, row % 3) for row in range(6)])
    table(tmp_path / "test.csv", "id,label", [(f"t{row}", 0) for row in range(20)])
    with pytest.warns(
        UserWarning, match="All 20 rows of the test split of .* have the label '0'.*splits='train=train'"
    ):
        load_long_tailed(tmp_path)


def test_one_name_in_two_unicode_forms(flat, silent):
    import unicodedata

    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    (flat / "images" / "0.png").rename(flat / "images" / f"{decomposed}.png")
    rows = [(composed, decomposed), *((row, [decomposed, composed, "thé"][row % 3]) for row in range(1, 6))]
    table(flat / "labels.csv", "id,kind", rows)
    assert load_long_tailed(flat)["train"].features["label"].names == [composed, "thé"]


def test_a_table_of_paths_from_elsewhere_beside_folders_that_could_be_classes(tmp_path):
    """Not matched, it is still a sign that the folders are no classes."""
    images(tmp_path, *(f"patients/p{row}/{row}.png" for row in range(4)))
    table(tmp_path / "data.csv", "p,sex", [(f"photos/{row}.png", "fm"[row % 2]) for row in range(4)])
    with pytest.raises(
        ValueError, match="data.csv names no image of .*begins with p=photos/0.png.*labels_from='folders'"
    ):
        load_long_tailed(tmp_path)


def test_tables_whose_names_have_another_frame(flat):
    """ISIC 2019: a table of the test images without labels."""
    table(flat / "ISIC_Training_GroundTruth.csv", "image,MEL,NV", [(row, row % 2, 1 - row % 2) for row in range(4)])
    table(flat / "ISIC_Test_Metadata.csv", "image,age,sex", [(row, 50 + row, "m") for row in (4, 5)])
    with pytest.raises(ValueError, match="The test split of .* has no labels: none of its 2 rows has one"):
        load_long_tailed(flat)
    assert labels(load_long_tailed(flat, splits="train=train")) == ["NV", "MEL"] * 2


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nimage;kind\n" + "".join(f"{row}.png;{SIX[row]}\n" for row in range(6)),
        ",image,kind\r\n" + "".join(f"{row},{row}.png,{SIX[row]}\r\n" for row in range(6)) + "\r\n",
        " image , kind \n" + "".join(f" {row}.png , {SIX[row]} \n" for row in range(6)),
        "IMAGE,KIND,NOTE\n" + "".join(f'{row}.png,{SIX[row]},"a, ""quoted"" note"\n' for row in range(6)),
    ],
)
def test_what_programs_write_into_a_csv_file(flat, silent, text):
    (flat / "labels.csv").write_text(text, newline="")
    data = load_long_tailed(flat)
    assert labels(data) == SIX and not any("unnamed" in name for name in data["train"].column_names)


@pytest.mark.parametrize("text", ["", "image,label\n", "\n\n"])
def test_a_table_without_rows(flat, text):
    (flat / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match="labels.csv, beside the images of .*, has no rows"):
        load_long_tailed(flat)


def test_a_table_named_after_a_split_that_could_mean_two_images(tmp_path):
    images(tmp_path, *(f"part{part}/{row}.png" for part in (1, 2) for row in range(4)))
    table(tmp_path / "train.csv", "file,label", [(f"{row}.png", SIX[row]) for row in range(4)])
    with pytest.raises(
        ValueError, match="line 2 of train.csv names '0.png', which could be part1/0.png or part2/0.png"
    ):
        load_long_tailed(tmp_path)


def test_a_test_table_with_another_kind_of_label_has_none(kaggle):
    table(kaggle / "test.csv", "image_id,species", [("t0.jpg", "owl"), ("t1.jpg", "ant")])
    with pytest.raises(ValueError, match=r"The test split of .* has no labels.*splits='train=train'"):
        load_long_tailed(kaggle)


@pytest.mark.parametrize(
    ("name", "column"),
    [("sizes.csv", "bytes"), ("checksums.csv", "md5"), ("metadata.csv", "width"), ("x.csv", "befund")],
)
def test_values_beside_class_folders_are_no_classes_unless_somebody_says_so(folders, name, column):
    """Repeated values are no sign of labels: file sizes repeat, too."""
    table(folders / name, f"path,{column}", [(f"{name}/{row}.png", 1000 + row) for name, row in BOTH])
    with pytest.raises(ValueError, match=f"'ant', by its folder, or '1000', by {name}.*labels_from='folders' takes"):
        load_long_tailed(folders)
    assert labels(load_long_tailed(folders, labels_from="folders")) == ["ant"] * 4 + ["bee"] * 4
    assert labels(load_long_tailed(folders, labels_from=name)) == ["1000", "1001", "1002", "1003"] * 2


def test_a_table_of_splits_without_classes_is_not_left_out_in_silence(folders):
    table(
        folders / "splits.csv", "file,split", [(f"{name}/{row}.png", "test" if row else "train") for name, row in BOTH]
    )
    with pytest.warns(UserWarning, match="splits.csv has a column 'split', but none with classes, and is not read"):
        assert labels(load_long_tailed(folders)) == ["ant"] * 4 + ["bee"] * 4


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x.png", ["a/x.png", "b/x.png"]),
        ("a/x.png", ["a/x.png"]),
        ("c/x.png", []),
        ("y.png", ["b/y.png"]),
        ("b/y.png", ["b/y.png"]),
        ("c/y.png", []),
        ("y", ["b/y.jpg", "b/y.png"]),
        ("y.jpg", ["b/y.jpg"]),
        ("y.jpeg", ["b/y.jpg"]),
        ("z.png", ["z.PNG"]),
        ("Z.PNG", ["z.PNG"]),
        ("w.png", []),
    ],
)
def test_images_of_a_name(tmp_path, value, expected):
    names = ImageNames(scan(images(tmp_path, "a/x.png", "b/x.png", "b/y.png", "b/y.jpg", "z.PNG")))
    found = names.find([value], tmp_path / "t.csv", tmp_path)
    candidates = found.ambiguous.get(0, [index for index in found.images if index >= 0])
    assert [names.shown(index) for index in candidates] == expected


def test_numbers_of_classes_are_no_names_of_numbered_images(tmp_path):
    images(tmp_path, *(f"images/{row}.png" for row in range(4)))
    table(tmp_path / "labels.csv", "id,label", [(f"x{row}", row % 2) for row in range(4)])
    with pytest.raises(ValueError, match="labels.csv names no image.*begins with id=x0, label=0.*images/0.png"):
        load_long_tailed(tmp_path)
