"""What is written of a run, and what is not believed when it is read."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from hf_ltr.table import MethodSpecification, TableReport, load_protocol
from hf_ltr.table.results import TestSet, check_settings, decode_classes, encode_classes, read_result, result_path

ROW = MethodSpecification.parse("ldam:scale=10")


@pytest.mark.parametrize("values", [[], [0], [0, 65535, 7], np.arange(300) % 7, np.array([3, 1], dtype=np.int32)])
def test_class_ids_come_back(values):
    values = np.asarray(values, dtype=None if len(values) else np.int64)
    content = json.loads(json.dumps(encode_classes(values)))
    assert decode_classes(content).tolist() == values.tolist()
    assert decode_classes(content).dtype == np.int64


def test_predictions_are_compact():
    predictions = np.random.default_rng(0).integers(0, 100, 10_000)
    assert len(encode_classes(predictions)["data"]) < 16_000


@pytest.mark.parametrize("values", [[[1, 2]], [0.5], [-1, 3], [65536], [True]])
def test_what_is_no_class_id_is_refused(values):
    with pytest.raises(ValueError, match="Class ids must"):
        encode_classes(np.asarray(values))


def test_a_cut_or_foreign_encoding_is_refused():
    content = encode_classes(np.arange(5))
    with pytest.raises(ValueError, match="6 class ids were written but 5 are there"):
        decode_classes({**content, "images": 6})
    with pytest.raises(ValueError, match="Unknown encoding 'hex'"):
        decode_classes({**content, "encoding": "hex"})


def test_the_test_set_comes_back(tmp_path):
    test = TestSet(np.array([2, 0, 1, 1]), [500, 40, 5], "auto", "abc")
    assert TestSet.read(tmp_path) is None
    test.write(tmp_path)
    there = TestSet.read(tmp_path)
    assert there.to_dict() == test.to_dict()
    assert there.counts().grouping == "auto"
    test.check_same(there, tmp_path)
    for other in (
        TestSet(np.array([2, 0, 1, 0]), [500, 40, 5], "auto", "abc"),
        TestSet(np.array([2, 0, 1, 1]), [500, 41, 5], "auto", "abc"),
        TestSet(np.array([2, 0, 1, 1]), [500, 40, 5], "auto", "abd"),
    ):
        with pytest.raises(ValueError, match="a table of other data"):
            other.check_same(there, tmp_path)


def test_a_broken_result_is_named(tmp_path):
    path = result_path(tmp_path, ROW, 3)
    assert read_result(tmp_path, ROW, 3) is None
    path.parent.mkdir()
    for text, message in (
        ('{"format": 1', "is no JSON: .* delete that file"),
        (json.dumps({"format": 99, "row": ROW.label}), "has form 99"),
        (json.dumps({"format": 1, "row": "ldam:scale=20"}), "is the result of 'ldam:scale=20'"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_result(tmp_path, ROW, 3)


def test_every_difference_of_settings_is_named():
    content = {"settings": {"stages": {"train": {"learning_rate": 0.1, "momentum": 0.9}}}, "data": {"row_hash": "a"}}
    check_settings(content, {"settings": content["settings"]}, "x.json")
    with pytest.raises(ValueError, match="x.json.*learning_rate: 0.1 there, 0.2 here"):
        check_settings(content, {"settings": {"stages": {"train": {"learning_rate": 0.2, "momentum": 0.9}}}}, "x.json")
    with pytest.raises(ValueError, match="momentum: 0.9 there, null here"):
        check_settings(content, {"settings": {"stages": {"train": {"learning_rate": 0.1}}}}, "x.json")
    with pytest.raises(ValueError, match="row_hash"):
        check_settings(content, {"data": {"row_hash": "b"}}, "x.json")


def test_results_that_ship_are_still_reported(repository, tmp_path):
    """Written before a result knew what a given group is worth; where errors went follows from its predictions."""
    pytest.importorskip("matplotlib")
    folder = tmp_path / "cifar100_lt_40ep"
    shutil.copytree(repository / "model_cards" / "cifar100_lt_40ep", folder)
    rows = ["cross_entropy", "crt", "cross_entropy+logit_adjustment"]
    report = TableReport(load_protocol("cifar100_lt_40ep"), rows, [0], folder, baseline=rows[1:], resamples=20)
    for row, path in zip(report.rows, (f"{name}_seed0.json" for name in rows), strict=True):
        content = json.loads((folder / "results" / path).read_text(encoding="utf-8"))
        assert row.values["few"]["mean"] == pytest.approx(content["metrics"]["few"])
        assert row.group_given == {} and set(row.group_errors) == {"many", "medium", "few"}
    assert report.rows[0].group_errors["few"]["many"] > report.rows[1].group_errors["few"]["many"]
    assert {path.name for path in report.write()} >= {"README.md", "groups.png", "group_errors.png"}
    assert "group_given" not in (folder / "README.md").read_text(encoding="utf-8")
