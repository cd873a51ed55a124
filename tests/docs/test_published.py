"""Printed numbers on a page: those a reader may compare with, each once."""

from __future__ import annotations

from docs.published import PUBLISHED_COLUMNS, published_table


def _row(**changes):
    row = {
        "method": "ce",
        "combined_with": "",
        "dataset": "cifar100_lt",
        "imbalance_factor": 100,
        "backbone": "resnet32",
        "epochs": 200,
        "augmentation": "basic",
        "init": "scratch",
        "top1_all": 38.32,
        "many": None,
        "medium": None,
        "few": None,
        "source": "a",
        "copied_from_other_paper": "no",
        "confidence": "readme",
        "test_shift": "uniform",
        "variant": "",
        "doubtful": False,
    }
    return {**row, **changes}


def test_published_numbers_are_comparable_and_not_repeated():
    rows = [
        _row(),
        _row(source="b", copied_from_other_paper="yes"),
        _row(top1_all=41.4, source="c", copied_from_other_paper="yes", epochs=None, augmentation="unknown"),
        _row(top1_all=1.0, doubtful=True),
        _row(top1_all=2.0, confidence="memory"),
        _row(top1_all=3.0, test_shift="forward"),
        _row(top1_all=4.0, imbalance_factor=50),
        _row(top1_all=5.0, combined_with="pc"),
        _row(top1_all=6.0, dataset="cifar10_lt"),
        _row(top1_all=7.0, method="bsce"),
        _row(top1_all=8.0, backbone="resnet34"),
        _row(top1_all=None),
        _row(dataset="imagenet_lt", imbalance_factor=256, backbone="vit_b", init="mae_own", few=10.0, variant="e2e"),
    ]
    cells = [dict(zip(PUBLISHED_COLUMNS, row, strict=True)) for row in published_table(rows, ("ce",))]
    assert [row["all"] for row in cells] == ["38.32", "41.4", "38.32"]
    assert [row["source"] for row in cells] == ["a", "c (copied there)", "a"]
    assert (cells[1]["epochs"], cells[1]["augmentation"]) == ("not stated", "not stated")
    assert (cells[2]["network"], cells[2]["few"], cells[2]["what"]) == ("ViT-B, own MAE pretraining", "10.0", "")
    only = [_row(backbone="resnet34", method="weight_balancing")]
    assert len(published_table(only, ("weight_balancing",))) == 1
    las = [
        _row(method="las", variant="used as single-stage loss"),
        _row(method="las", variant="decoupled", source="d"),
    ]
    assert published_table(las, ("las",), "las_stage2")[0][-1] == "d"
    assert published_table(las, ("las",), "label_aware_smoothing")[0][-1] == "a"
    assert published_table(rows, ()) == []
