"""ImageNet-LT, Places-LT and iNaturalist 2018 from list files, on small trees of the same form."""

import gzip
import hashlib
import warnings

import numpy as np
import pytest
from datasets import Image

from hf_ltr import class_counts, load_long_tailed
from hf_ltr.data import long_tail_info
from hf_ltr.data.datasets import DATASETS
from hf_ltr.data.sources.lists import listed
from hf_ltr.data.sources.lists.split_lists import OfficialList, official_counts, official_lists

from ...list_trees import COUNTS, WNIDS, imagenet_rows, inat_rows, write_annotations, write_images, write_lists


@pytest.fixture
def published(monkeypatch):
    """Makes small lists the published ones: `published(rows)`."""

    def publish(rows, counts=COUNTS):
        known = dict(official_lists())
        for name, lines in rows.items():
            text = "".join(f"{path} {label}\n" for path, label in lines).encode()
            per_class = np.bincount([label for _, label in lines])
            known[name] = OfficialList(
                name, len(lines), len(per_class), int(per_class.min()), int(per_class.max()), known[name].source,
                sha256=hashlib.sha256(text).hexdigest(),
            )  # fmt: skip
        monkeypatch.setattr(listed, "official_lists", lambda: known)
        monkeypatch.setattr(listed, "official_counts", lambda name: type(official_counts(name))(counts))

    return publish


@pytest.fixture
def imagenet(tmp_path, published):
    rows = imagenet_rows()
    published(rows)
    write_lists(tmp_path, rows)
    write_images(tmp_path, rows)
    return tmp_path, rows


@pytest.fixture
def inat(tmp_path, published):
    rows = inat_rows()
    published(rows)
    write_lists(tmp_path / "lists", rows)
    write_images(tmp_path, rows)
    return tmp_path, rows


def paths(split, root):
    table = split.cast_column("image", Image(decode=False))["image"]
    return [item["path"].removeprefix(f"{root}/") for item in table]


def test_names_are_listed():
    assert {"imagenet_lt", "places_lt", "inat18"} <= set(DATASETS)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("place", ["", "lists", "ImageNet_LT", "elsewhere"])
def test_imagenet_from_lists(tmp_path, published, compressed, place):
    rows, root = imagenet_rows(), tmp_path / "images"
    published(rows)
    write_images(root, rows)
    folder = tmp_path / "other" if place == "elsewhere" else root / place
    write_lists(folder, rows, compressed)
    data = load_long_tailed("imagenet_lt", data_dir=root, list_dir=folder if place == "elsewhere" else None)
    assert list(data) == ["train", "validation", "test"]
    for split, name in zip(data, rows, strict=True):
        assert paths(data[split], root) == [path for path, _ in rows[name]]
        assert data[split]["label"][:] == [label for _, label in rows[name]]
        assert data[split].features["label"].names == WNIDS
    assert class_counts(data["train"]).counts == COUNTS
    assert data["train"][4]["image"].getpixel((0, 0)) == 4  # opened where it lies
    record = long_tail_info(data["train"])
    assert record["source"] == "imagenet_lt" and record["counts"] == COUNTS and record["imbalance_factor"] is None
    assert str(tmp_path) not in str(record)


def test_rows_are_hashed_as_for_any_dataset(imagenet):
    """The short cut for data that is used as it is must give the hash of the long way."""
    from hf_ltr.data import splits

    data = load_long_tailed("imagenet_lt", data_dir=imagenet[0])
    labels = np.asarray(data["train"]["label"][:])
    pairs = sorted(zip(labels.tolist(), range(len(labels)), strict=True))
    expected = hashlib.sha256(np.asarray(pairs, dtype="<i8").tobytes()).hexdigest()
    assert long_tail_info(data["train"])["row_hash"] == expected
    mixed = np.random.default_rng(0).permutation(len(labels))
    assert splits.row_hash(labels, mixed) == expected


def test_flat_validation_folder_of_imagenet(tmp_path, published):
    rows = imagenet_rows()
    published(rows)
    write_lists(tmp_path, rows)
    flat = {**rows, "ImageNet_LT_test": [(f"val/{path.split('/')[-1]}", y) for path, y in rows["ImageNet_LT_test"]]}
    write_images(tmp_path, flat)
    data = load_long_tailed("imagenet_lt", data_dir=tmp_path)
    assert paths(data["test"], tmp_path) == [path for path, _ in flat["ImageNet_LT_test"]]
    assert data["test"]["label"][:] == [label for _, label in rows["ImageNet_LT_test"]]
    (tmp_path / flat["ImageNet_LT_test"][3][0]).unlink()
    with pytest.raises(FileNotFoundError, match=f"test lacks 1 of 24: {flat['ImageNet_LT_test'][3][0]}"):
        load_long_tailed("imagenet_lt", data_dir=tmp_path)


def test_inaturalist_has_train_and_test_in_category_order(inat):
    root, rows = inat
    data = load_long_tailed("inat18", data_dir=root)
    assert list(data) == ["train", "test"]
    assert class_counts(data["train"]).counts == COUNTS
    assert data["train"].features["label"].names == [str(index) for index in range(12)]
    assert data["test"]["label"][:] == [label for _, label in rows["iNaturalist18_val"]]
    held_out = load_long_tailed("inat18", data_dir=root, validation_per_class=1)
    assert set(class_counts(held_out["validation"]).counts) == {0, 1}
    assert len(held_out["train"]) + len(held_out["validation"]) == sum(COUNTS)


def test_inaturalist_from_inside_its_folder(tmp_path, published):
    rows = inat_rows()
    published(rows)
    write_lists(tmp_path / "train_val2018", rows)
    write_images(tmp_path, rows)
    data = load_long_tailed("inat18", data_dir=tmp_path / "train_val2018")
    assert data["train"][0]["image"].size == (4, 4)


@pytest.mark.parametrize("named", [False, True])
def test_inaturalist_from_annotations(tmp_path, published, named):
    rows = inat_rows()
    published(rows)
    names = [f"Genus species{index:02}" for index in reversed(range(12))]
    write_annotations(tmp_path, rows, names if named else None)
    write_images(tmp_path, rows)
    data = load_long_tailed("inat18", data_dir=tmp_path)
    assert paths(data["train"], tmp_path) == [path for path, _ in rows["iNaturalist18_train"]]
    assert data["train"]["label"][:] == [label for _, label in rows["iNaturalist18_train"]]
    # Names sorted otherwise than the categories do not change the order of the categories.
    assert data["train"].features["label"].names == (names if named else [str(index) for index in range(12)])


def test_annotations_are_proved(tmp_path, published):
    rows = inat_rows()
    published(rows)
    write_images(tmp_path, rows)
    swapped = {name: [(path, {10: 2, 2: 10}.get(label, label)) for path, label in v] for name, v in rows.items()}
    write_annotations(tmp_path, swapped)
    with pytest.raises(ValueError, match="another class order: .* has label"):
        load_long_tailed("inat18", data_dir=tmp_path)
    fewer = {**rows, "iNaturalist18_train": rows["iNaturalist18_train"][1:]}
    write_annotations(tmp_path, fewer)
    with pytest.raises(ValueError, match="does not have the rows per class"):
        load_long_tailed("inat18", data_dir=tmp_path)
    twice = {**rows, "iNaturalist18_train": [*rows["iNaturalist18_train"][:-1], rows["iNaturalist18_train"][-2]]}
    write_annotations(tmp_path, twice)
    with pytest.raises(ValueError, match="listed more than once|rows per class"):
        load_long_tailed("inat18", data_dir=tmp_path)
    image, owner = '{"id": 1, "file_name": "a/0/b.jpg"}', '{"image_id": 1, "category_id": 0}'
    for images, annotations, message in (
        (f"{image}, {image}", owner, "1 images share their id"),
        (image, '{"image_id": 1}', "1 entries for an annotation lack a value"),
    ):
        content = f'{{"images": [{images}], "annotations": [{annotations}], "categories": []}}'
        (tmp_path / "train2018.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            load_long_tailed("inat18", data_dir=tmp_path)
    (tmp_path / "train2018.json").write_text('{"images": [{"id": 1, "file_name": "a/0/b.jpg"}], "annotations": []}')
    with pytest.raises(ValueError, match="no annotation file|has 0 annotations"):
        load_long_tailed("inat18", data_dir=tmp_path)
    (tmp_path / "train2018.json").write_text("[1, 2")
    with pytest.raises(ValueError, match="no annotation file"):
        load_long_tailed("inat18", data_dir=tmp_path)


def test_string_sorted_categories_are_refused(inat):
    """Labels that number the folders 0, 1, 10, 11, 2, ... are the trap."""
    root, rows = inat
    position = {int(name): index for index, name in enumerate(sorted(map(str, range(12))))}
    wrong = {name: [(path, position[label]) for path, label in lines] for name, lines in rows.items()}
    write_lists(root / "lists", wrong)
    with pytest.raises(ValueError, match="is not the official list"):
        load_long_tailed("inat18", data_dir=root)
    with warnings.catch_warnings(), pytest.raises(ValueError, match=r"has label \d+, not .*0, 1, 10, 100"):
        warnings.simplefilter("ignore")
        load_long_tailed("inat18", data_dir=root, check_lists=False)


def test_other_lists(imagenet):
    root, rows = imagenet
    changed = {**rows, "ImageNet_LT_val": rows["ImageNet_LT_val"][:-1]}
    write_lists(root, changed)
    with pytest.raises(ValueError) as caught:
        load_long_tailed("imagenet_lt", data_dir=root)
    expected = listed.official_lists()["ImageNet_LT_val"].sha256
    found = hashlib.sha256((root / "ImageNet_LT_val.txt").read_bytes()).hexdigest()
    message = str(caught.value)
    assert str(root / "ImageNet_LT_val.txt") in message and expected in message and found in message
    assert "23 lines" in message and "https://github.com/" in message and "check_lists=False" in message
    with pytest.warns(UserWarning, match="ImageNet_LT_val.txt is not the official list"):
        data = load_long_tailed("imagenet_lt", data_dir=root, check_lists=False)
    assert len(data["validation"]) == 23


def test_windows_line_ends_are_the_same_list(imagenet):
    root, rows = imagenet
    file = root / "ImageNet_LT_train.txt"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    data = load_long_tailed("imagenet_lt", data_dir=root)
    assert paths(data["train"], root) == [path for path, _ in rows["ImageNet_LT_train"]]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda rows: [(rows[0][0], 3), *rows[1:]], "One class with two labels|One label with two classes"),
        (lambda rows: [(path, {0: 1, 1: 0}.get(y, y)) for path, y in rows], "two labels|class order"),
        (lambda rows: [*rows, (f"train/{WNIDS[0]}/new.JPEG", -1)], "label -1, but .* 0..9"),
        (lambda rows: [*rows, (f"train/{WNIDS[0]}/new.JPEG", 10**9)], "label 1000000000, but"),
        (lambda rows: [*rows, rows[5]], f"listed more than once, such as train/{WNIDS[1]}"),
        (lambda rows: [*rows, (f"val/{WNIDS[2]}/ILSVRC_2_1.JPEG", 2)], "listed more than once.*row 39.*row 6"),
        (lambda rows: [*rows, ("train/somewhere/x.JPEG", 2)], "cannot be proved"),
        (lambda rows: [*rows, ("train/no label.JPEG", "x")], "line 39: expected `relative/path label`"),
    ],
)
def test_lists_that_are_wrong(imagenet, change, message):
    root, rows = imagenet
    write_lists(root, {"ImageNet_LT_train": change(rows["ImageNet_LT_train"])})
    with warnings.catch_warnings(), pytest.raises(ValueError, match=message):
        warnings.simplefilter("ignore")
        load_long_tailed("imagenet_lt", data_dir=root, check_lists=False, check_images=False)


def test_all_splits_in_another_class_order(imagenet):
    """Consistent in itself, but not the order of the class counts."""
    root, rows = imagenet
    write_lists(root, {name: [(path, 11 - label) for path, label in lines] for name, lines in rows.items()})
    with warnings.catch_warnings(), pytest.raises(ValueError, match="in another class order: label 0 is"):
        warnings.simplefilter("ignore")
        load_long_tailed("imagenet_lt", data_dir=root, check_lists=False)


def test_paths_with_spaces(tmp_path):
    rows = imagenet_rows()
    rows["ImageNet_LT_train"][0] = (f"train/{WNIDS[0]}/with a space.JPEG", 0)
    write_lists(tmp_path, rows)
    write_images(tmp_path, rows)
    with pytest.warns(UserWarning, match="not the official"):
        data = load_long_tailed("imagenet_lt", data_dir=tmp_path, check_lists=False)
    assert paths(data["train"], tmp_path)[:2] == [path for path, _ in rows["ImageNet_LT_train"][:2]]


def test_missing_images_are_reported_together(imagenet):
    root, rows = imagenet
    gone = [rows["ImageNet_LT_train"][row][0] for row in (1, 4, 30)] + [rows["ImageNet_LT_val"][7][0]]
    for path in gone:
        (root / path).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load_long_tailed("imagenet_lt", data_dir=root)
    message = str(caught.value)
    assert "4 of 86 images are missing" in message and all(path in message for path in gone)
    assert "train lacks 3 of 38" in message and "validation lacks 1 of 24" in message
    assert "https://image-net.org" in message
    assert len(load_long_tailed("imagenet_lt", data_dir=root, check_images=False)["train"]) == 38


def test_many_missing_images_are_counted_and_a_few_named(imagenet):
    root, rows = imagenet
    for path, _ in rows["ImageNet_LT_train"]:
        (root / path).unlink()
    with pytest.raises(FileNotFoundError, match=r"train lacks 38 of 38: (\S+, ){5}\.\.\."):
        load_long_tailed("imagenet_lt", data_dir=root)
    (root / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="none of the 86 images is there"):
        load_long_tailed("imagenet_lt", data_dir=root / "empty", list_dir=root)


def test_what_is_needed_is_said(tmp_path):
    for name, lists in (
        ("imagenet_lt", ("ImageNet_LT_train.txt", "ImageNet_LT_val.txt", "ImageNet_LT_test.txt")),
        ("places_lt", ("Places_LT_train.txt", "Places_LT_val.txt", "Places_LT_test.txt")),
        ("inat18", ("iNaturalist18_train.txt", "iNaturalist18_val.txt", "train2018.json")),
    ):
        for options in ({}, {"data_dir": tmp_path / "nowhere"}, {"data_dir": tmp_path}):
            with pytest.raises(FileNotFoundError) as caught:
                load_long_tailed(name, **options)
            message = str(caught.value)
            assert all(part in message for part in (*lists, "https://github.com/", "data_dir must hold"))
    with pytest.raises(FileNotFoundError, match="list_dir=.* is no folder"):
        load_long_tailed("inat18", data_dir=tmp_path, list_dir=tmp_path / "nowhere")


def test_options_that_do_not_fit(imagenet, tmp_path):
    with pytest.raises(ValueError, match="long-tailed by itself"):
        load_long_tailed("imagenet_lt", data_dir=imagenet[0], imbalance_factor=10)
    with pytest.raises(ValueError, match="list_dir, check_lists and check_images are for imagenet_lt"):
        load_long_tailed("digits", list_dir=tmp_path)


def test_damaged_files(imagenet):
    root, _ = imagenet
    file = root / "ImageNet_LT_train.txt"
    (root / "ImageNet_LT_train.txt.gz").write_bytes(gzip.compress(file.read_bytes())[:-20])
    file.unlink()
    with pytest.raises(ValueError, match="cannot be uncompressed"):
        load_long_tailed("imagenet_lt", data_dir=root)


def test_subset_and_shuffle_keep_paths_and_record(imagenet):
    root, rows = imagenet
    train = load_long_tailed("imagenet_lt", data_dir=root)["train"]
    part = train.shuffle(seed=1).select(range(5))
    assert all(item["image"].size == (4, 4) for item in part)
    info = long_tail_info(part)
    assert info["source"] == "imagenet_lt" and info["counts"] == class_counts(part).counts != COUNTS
    again = load_long_tailed("imagenet_lt", data_dir=root)["train"]
    assert train._fingerprint == again._fingerprint
