"""The paths that a file names never lead out of the folder they are for."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hf_ltr import load_long_tailed
from hf_ltr.data.sources.lists.coco_lists import read_annotations
from hf_ltr.data.sources.lists.list_rows import Rows
from hf_ltr.data.sources.lists.split_lists import parse_list

from ...list_trees import WNIDS, imagenet_rows, write_lists

OUTSIDE = [
    "../secret.jpg",
    "..",
    "train/../../secret.jpg",
    "train/..",
    "/etc/passwd",
    "//server/share/x.jpg",
    "C:/Users/x.jpg",
    "c:x.jpg",
    "C:\\Users\\x.jpg",
    "\\\\server\\share\\x.jpg",
    "..\\secret.jpg",
    "train\\..\\..\\secret.jpg",
    "file:///etc/passwd",
    "https://somewhere/x.jpg",
    "s3://bucket/x.jpg",
    "train/x.jpg\x00.png",
]
INSIDE = [
    "x.jpg",
    "train/ant/x.jpg",
    "a..b/x..jpg",
    "...",
    "train/...jpg",
    ".hidden/x.jpg",
    "~/x.jpg",
    "a b/ü.jpg",
    "./x.jpg",
]


def listed(*paths):
    return Rows.of_paths(Path("list.txt"), pa.array(paths), np.zeros(len(paths), dtype=np.int64))


@pytest.mark.parametrize("path", OUTSIDE)
def test_paths_that_leave(path):
    with pytest.raises(ValueError, match="list.txt names .*outside of data_dir"):
        listed("train/1.jpg", path).require_inside()


def test_paths_that_stay():
    listed(*INSIDE).require_inside()


@pytest.mark.parametrize("path", ["../outside/{}/x.JPEG", "/etc/{}/x.JPEG", "C:/{}/x.JPEG", "train/{}/..", "..\\{}/x"])
def test_unchecked_lists_stay_inside_data_dir(tmp_path, path):
    rows = imagenet_rows()
    outside = (path.format(WNIDS[0]), 0)
    write_lists(tmp_path, {**rows, "ImageNet_LT_test": [*rows["ImageNet_LT_test"], outside]})
    with (
        warnings.catch_warnings(),
        pytest.raises(ValueError, match="ImageNet_LT_test.txt names .*outside of data_dir"),
    ):
        warnings.simplefilter("ignore")
        load_long_tailed("imagenet_lt", data_dir=tmp_path, check_lists=False)


@pytest.mark.parametrize("path", OUTSIDE)
def test_annotations_stay_inside(tmp_path, path):
    content = {"images": [{"id": 1, "file_name": path}], "annotations": [{"image_id": 1, "category_id": 0}]}
    file = tmp_path / "train2018.json"
    file.write_text(json.dumps({**content, "categories": [{"id": 0, "name": "ant"}]}))
    with pytest.raises(ValueError, match="outside of data_dir|no annotation file"):
        read_annotations(file)[0].require_inside()


@pytest.mark.parametrize("path", [path for path in OUTSIDE if "\x00" not in path])
def test_rows_of_a_list_stay_inside(tmp_path, path):
    with pytest.raises(ValueError, match="outside of data_dir"):
        parse_list(bytearray(f"train/1.jpg 0\n{path} 1\n".encode()), tmp_path / "list.txt").require_inside()
