"""The published lists themselves: checksums, counts and class order."""

import json
import shutil

import numpy as np
import pytest

from hf_ltr import ClassCounts, class_counts, load_long_tailed
from hf_ltr.data.sources.lists import class_order, listed
from hf_ltr.data.sources.lists.listed_datasets import LISTED
from hf_ltr.data.sources.lists.split_lists import (
    OfficialList,
    identify,
    official_counts,
    official_lists,
    parse_list,
    read_text,
)

SHIPPED = (
    *("ImageNet_LT_val", "ImageNet_LT_test", "Places_LT_train", "Places_LT_val", "Places_LT_test"),
    *("Places_LT_v2_train", "Places_LT_v2_val", "Places_LT_v2_test", "iNaturalist18_val"),
)


def dataset_and_split(name: str) -> tuple[str, str]:
    return next(
        (dataset, split) for dataset, spec in LISTED.items() for split, names in spec.lists.items() if name in names
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_checksum_counts_and_class_order(name, shared_data):
    file = shared_data / "lists" / f"{name}.txt.gz"
    dataset, split = dataset_and_split(name)
    spec, known = LISTED[dataset], official_lists()[name]
    candidates = [official_lists()[own] for own in spec.lists[split]]
    text = read_text(file)
    assert identify(text, candidates) == known
    damaged = bytearray(text)
    damaged[len(text) // 2] ^= 1
    assert identify(damaged, candidates) is None
    rows = parse_list(text, file)
    assert len(rows) == known.lines
    expected = official_counts(dataset) if split == "train" else ClassCounts([known.max] * known.classes)
    class_order.require_counts(rows, expected, name)
    names = class_order.class_names({split: rows}, spec.class_of_folder, spec.label_of_class)
    assert len(set(names)) == known.classes
    if spec.sorted_classes:
        class_order.require_sorted(names, name)
    if dataset == "inat18":
        assert names == [str(label) for label in range(8142)]


def test_shipped_facts_are_those_of_the_shared_copy(shared_data):
    index = json.loads((shared_data / "lists" / "index.json").read_text())
    assert set(official_lists()) == set(index)
    for name, known in official_lists().items():
        assert known.lines == index[name]["lines"]
        assert (known.sha256 or known.git_blob_sha1) in index[name].values()
    for dataset in LISTED:
        counts = json.loads((shared_data / "class_counts" / f"{dataset}.json").read_text())["counts"]
        assert official_counts(dataset).counts == counts


def test_totals_and_groups_of_the_protocols():
    sizes = {name: {group: len(c) for group, c in official_counts(name).groups.items()} for name in LISTED}
    assert sizes["imagenet_lt"] == {"many": 385, "medium": 479, "few": 136}
    assert sizes["places_lt"] == {"many": 131, "medium": 163, "few": 71}
    assert sizes["inat18"] == {"many": 842, "medium": 4076, "few": 3224}
    assert [official_counts(name).total for name in LISTED] == [115_846, 62_500, 437_513]


def test_git_blob_checksum():
    """`printf 'hello\\n' | git hash-object --stdin`"""
    known = OfficialList("x", 1, 1, 1, 1, "github:a/b:c", git_blob_sha1="ce013625030ba8dba906f756967f9e9ca394464a")
    assert identify(bytearray(b"hello\n"), [known]) is known
    assert identify(bytearray(b"hello"), [known]) is None


@pytest.mark.parametrize("version", ["", "v2_"])
def test_places_opens_with_either_version_of_its_lists(version, shared_data, tmp_path):
    """The real lists of 106,300 rows; images are not looked for, since there are none here."""
    for part in ("train", "val", "test"):
        # Both versions are published under the same file names.
        shutil.copy(shared_data / "lists" / f"Places_LT_{version}{part}.txt.gz", tmp_path / f"Places_LT_{part}.txt.gz")
    data = load_long_tailed("places_lt", data_dir=tmp_path, check_images=False)
    assert {split: len(part) for split, part in data.items()} == {"train": 62_500, "validation": 7_300, "test": 36_500}
    assert class_counts(data["train"]).counts == official_counts("places_lt").counts
    assert set(class_counts(data["validation"]).counts) == {20} and set(class_counts(data["test"]).counts) == {100}
    names = data["train"].features["label"].names
    assert names[0] == "airfield" and names[8] == "apartment_building-outdoor" and names[364] == "zen_garden"
    with pytest.raises(FileNotFoundError, match="none of the 106,300 images is there"):
        load_long_tailed("places_lt", data_dir=tmp_path)


def test_places_lists_fit_both_trees(shared_data, tmp_path):
    """The rewriting of the first lists for the tree of the second ones gives the second ones."""
    root = tmp_path / "tree"
    for part in ("train", "val", "test"):
        first, second = (
            parse_list(read_text(shared_data / "lists" / f"Places_LT_{version}{part}.txt.gz"), root)
            for version in ("", "v2_")
        )
        for row in np.linspace(0, len(second) - 1, 16).astype(int).tolist():
            file = root / second.path(row)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        rewritten = listed.in_their_layout(root, first, LISTED["places_lt"].layouts)
        assert rewritten.paths().equals(second.paths())
        assert np.array_equal(rewritten.labels, second.labels)
