import warnings

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value

from hf_ltr.data.sources.columns import class_names, find_columns, numeric_order, standardize

from ..conftest import encoded_image

PNG = [encoded_image(value) for value in (10, 20, 30)]


def rows(**columns):
    """A dataset of three rows; columns are (values, feature) or values."""
    features = {
        name: column[1] if isinstance(column, tuple) else Value("int64" if isinstance(column[0], int) else "string")
        for name, column in columns.items()
    }
    values = {name: column[0] if isinstance(column, tuple) else column for name, column in columns.items()}
    return Dataset.from_dict(values, features=Features(features))


def unchecked(labels, names):
    """Labels as a file of others may hold them: `ClassLabel` itself would refuse to encode them."""
    data = rows(image=(PNG, Value("binary")), label=(labels, Value("int64")))
    data.info.features = Features({"image": Image(), "label": ClassLabel(names=names)})
    return data


def one(data, image_column=None, label_column=None, **options):
    image_column, label_column = find_columns(data, image_column, label_column)
    return standardize(data, image_column, label_column, class_names({"train": data}, label_column), **options)


PICTURES = {
    "feature": ([{"bytes": png, "path": None} for png in PNG], Image()),
    "struct": ([{"bytes": png, "path": None} for png in PNG], {"bytes": Value("binary"), "path": Value("string")}),
    "bytes": (PNG, Value("binary")),
    "large bytes": (PNG, Value("large_binary")),
    "struct of bytes": ([{"bytes": png} for png in PNG], {"bytes": Value("binary")}),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_images_in_any_form_under_any_name(kind):
    data = one(rows(note=["x", "y", "z"], photo_of_it=PICTURES[kind], species=["owl", "ant", "owl"]))
    assert data.column_names[:2] == ["note", "image"] and isinstance(data.features["image"], Image)
    assert [row["image"].getpixel((0, 0)) for row in data] == [10, 20, 30]
    assert data.features["label"].names == ["ant", "owl"] and data["label"][:] == [1, 0, 1]


def test_paths_are_meant_from_the_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for number, png in enumerate(PNG):
        (tmp_path / "sub" / f"{number}.png").write_bytes(png)
    names = ["sub/0.png", "sub/1.png", str(tmp_path / "sub" / "2.png")]
    data = one(rows(file_name=names, label=[0, 1, 1]), folder=tmp_path)
    assert [row["image"].getpixel((0, 0)) for row in data] == [10, 20, 30]
    assert data.column_names == ["image", "label"]


@pytest.mark.parametrize("dtype", ["string", "large_string"])
def test_text_of_both_kinds(tmp_path, dtype):
    for number, png in enumerate(PNG):
        (tmp_path / f"{number}.png").write_bytes(png)
    names = ([f"{number}.png" for number in range(3)], Value(dtype))
    data = one(rows(path=names, label=(["b", "a", "b"], Value(dtype))), folder=tmp_path)
    assert [row["image"].getpixel((0, 0)) for row in data] == [10, 20, 30]
    assert data.features["label"].names == ["a", "b"] and data["label"][:] == [1, 0, 1]


def test_a_struct_that_is_no_image():
    boxes = ([{"bytes": png, "size": 4} for png in PNG], {"bytes": Value("binary"), "size": Value("int64")})
    with pytest.raises(ValueError, match="No image column was recognised"):
        find_columns(rows(box=boxes, label=[0, 1, 2]), None, None)


def test_a_note_is_not_taken_for_a_path():
    with pytest.raises(
        ValueError, match=r"No image column was recognised.*note \(string\), label \(int64\).*image_column="
    ):
        find_columns(rows(note=["x", "y", "z"], label=[0, 1, 2]), None, None)


def test_image_column_is_preferred_and_others_are_ambiguous():
    image = PICTURES["feature"]
    assert find_columns(rows(depth=image, image=image, label=[0, 1, 2]), None, None)[0] == "image"
    with pytest.raises(ValueError, match=r"Several columns could be the image: depth, rgb\..*image_column="):
        find_columns(rows(depth=image, rgb=image, label=[0, 1, 2]), None, None)
    assert find_columns(rows(depth=image, rgb=image, label=[0, 1, 2]), "rgb", None)[0] == "rgb"


def test_label_column_is_preferred_then_the_one_class_label_then_a_usual_name():
    image, classes = PICTURES["feature"], ([0, 1, 1], ClassLabel(names=["a", "b"]))
    assert find_columns(rows(img=image, coarse=classes, label=[5, 6, 7]), None, None) == ("img", "label")
    assert find_columns(rows(img=image, coarse=classes, target=[5, 6, 7]), None, None) == ("img", "coarse")
    assert find_columns(rows(img=image, rank=[1, 2, 3], target=[5, 6, 7]), None, None) == ("img", "target")
    with pytest.raises(ValueError, match="Several columns could be the label: coarse, fine"):
        find_columns(rows(img=image, coarse=classes, fine=classes), None, None)
    with pytest.raises(ValueError, match="Several columns could be the label: class, target"):
        find_columns(rows(img=image, **{"class": [0, 1, 2]}, target=[5, 6, 7]), None, None)
    with pytest.raises(
        ValueError, match=r"No label column was recognised\. The columns are img \(Image\), rank \(int64\)"
    ):
        find_columns(rows(img=image, rank=[1, 2, 3]), None, None)


def test_named_columns_must_be_there_and_fit():
    data = rows(img=PICTURES["feature"], score=([0.5, 1.0, 2.0], Value("float32")), label=[0, 1, 2])
    with pytest.raises(
        ValueError, match=r"no image column 'picture'; the columns are img \(Image\), score \(float32\)"
    ):
        find_columns(data, "picture", None)
    with pytest.raises(ValueError, match="no label column 'class'"):
        find_columns(data, None, "class")
    with pytest.raises(ValueError, match="image_column='label' does not hold images"):
        find_columns(data, "label", None)
    with pytest.raises(ValueError, match="label_column='score' does not hold classes"):
        find_columns(data, None, "score")


def test_columns_in_the_way_are_kept_under_another_name():
    image = PICTURES["feature"]
    data = one(rows(image=["x", "y", "z"], label=[7, 8, 9], img=image, fine=["b", "a", "b"]), "img", "fine")
    assert data.column_names == ["image_original", "label_original", "image", "label"]
    assert data["image_original"][:] == ["x", "y", "z"] and data["label_original"][:] == [7, 8, 9]
    assert data["label"][:] == [1, 0, 1]


def test_strings_are_sorted_and_numbers_as_numbers():
    assert class_names({"train": rows(label=["b", "C", "a"])}, "label") == ["C", "a", "b"]
    data = one(rows(image=PICTURES["bytes"], label=["10", "2", "0"]))
    assert data.features["label"].names == ["0", "2", "10"] and data["label"][:] == [2, 1, 0]
    assert numeric_order(["10", "9", "x"]) == ["10", "9", "x"]


def test_classes_are_those_of_all_splits():
    splits = {"train": rows(label=["b", "c", "b"]), "test": rows(label=["a", "b", "c"])}
    assert class_names(splits, "label") == ["a", "b", "c"]
    splits = {"train": rows(label=[0, 1, 1]), "test": rows(label=[2, 1, 0])}
    assert class_names(splits, "label") == ["0", "1", "2"]


def test_splits_are_matched_by_class_name():
    train = rows(image=PICTURES["bytes"], label=([0, 2, 1], ClassLabel(names=["c", "a", "b"])))
    test = rows(image=PICTURES["bytes"], label=([0, 1, 1], ClassLabel(names=["a", "b"])))
    names = class_names({"train": train, "test": test}, "label")
    assert names == ["c", "a", "b"]
    matched = standardize(test, "image", "label", names, "test")
    assert matched.features["label"].names == names and matched["label"][:] == [1, 2, 2]
    assert standardize(train, "image", "label", names)["label"][:] == [0, 2, 1]
    foreign = rows(label=([0, 1, 2], ClassLabel(names=["a", "b", "x"])))
    with pytest.raises(ValueError, match="do not have the same classes: test names 1 that train does not, such as x"):
        class_names({"train": train, "test": foreign}, "label")
    with pytest.raises(ValueError, match="names its classes in train, but not in test"):
        class_names({"train": train, "test": rows(label=[0, 1, 1])}, "label")


def test_numbers_in_the_order_of_strings_are_put_right_with_their_labels():
    names = ["0", "1", "10", "11", "2"]
    data = rows(image=PICTURES["bytes"], label=([2, 4, 0], ClassLabel(names=names)))
    with pytest.warns(UserWarning, match=r"order of strings \(0, 1, 10, 11, \.\.\.\).*numeric order \(0, 1, 2, 10"):
        fixed = one(data)
    assert fixed.features["label"].names == ["0", "1", "2", "10", "11"]
    feature = fixed.features["label"]
    assert feature.int2str(fixed["label"][:]) == data.features["label"].int2str(data["label"][:]) == ["10", "2", "0"]


@pytest.mark.parametrize("names", [["10", "2", "0"], ["zebra", "ant", "10"], ["0", "1", "2"]])
def test_any_other_declared_order_stays(names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = one(rows(image=PICTURES["bytes"], label=([2, 1, 0], ClassLabel(names=names))))
    assert data.features["label"].names == names and data["label"][:] == [2, 1, 0]


def test_unnamed_integers_are_the_classes_up_to_the_largest():
    with pytest.warns(UserWarning, match=r"No image has label 0, 2 in column 'label'.*classes 0\.\.3"):
        data = one(rows(image=PICTURES["bytes"], label=[1, 3, 1]))
    assert data.features["label"].names == ["0", "1", "2", "3"] and data["label"][:] == [1, 3, 1]
    with pytest.raises(ValueError, match="integers up to 1600000000, which are ids"):
        one(rows(image=PICTURES["bytes"], label=[0, 1, 1_600_000_000]))


@pytest.mark.parametrize("bad", [2, -1])
def test_labels_outside_the_names_are_refused_with_their_row(bad):
    with pytest.raises(
        ValueError, match=rf"Row 1 of test has label {bad}, but the label column names 2 classes, 0\.\.1"
    ):
        one(unchecked([0, bad, 1], ["a", "b"]), split="test")


def test_missing_and_negative_labels_are_refused_with_their_row():
    with pytest.raises(ValueError, match=r"Row 2 of train has label -1; labels must not be negative"):
        one(rows(image=PICTURES["bytes"], label=[0, 1, -1]))
    with pytest.raises(ValueError, match=r"Row 1 of train has no label in column 'label' \(1 such rows\)"):
        one(rows(image=PICTURES["bytes"], label=["a", None, "b"]))
    with pytest.raises(ValueError, match=r"Row 1 of train has no label in column 'label'"):
        one(rows(image=PICTURES["bytes"], label=([0, None, 1], ClassLabel(names=["a", "b"]))))


def test_large_strings():
    """What polars and pandas 3 write."""
    labels = (["b", "a", "b"], Value("large_string"))
    data = one(rows(image=PICTURES["large bytes"], label=labels))
    assert data.features["label"].names == ["a", "b"] and data["label"][:] == [1, 0, 1]


def test_dictionary_encoded_strings():
    table = pa.table({"img": PNG, "class": pa.array(["b", "a", "b"]).dictionary_encode()})
    data = one(Dataset(table))
    assert data.features["label"].names == ["a", "b"] and data["label"][:] == [1, 0, 1]
