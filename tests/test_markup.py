"""Markdown: tables, cells, code."""

from __future__ import annotations

import pytest

from hf_ltr.markup import cell, code_block, figure_text, markdown, markdown_code, markdown_table, metrics_table


def test_tables_line_up_or_are_short():
    header, rows = ["name", "n"], [["a|b", "1"], ["c", "23456"]]
    assert markdown_table(header, rows, align="lr").splitlines() == [
        "| name |     n |",
        "| ---- | ----: |",
        r"| a\|b |     1 |",
        "| c    | 23456 |",
    ]
    assert markdown_table(header, rows, padded=False).splitlines() == [
        "| name | n |",
        "| --- | --- |",
        r"| a\|b | 1 |",
        "| c | 23456 |",
    ]


def test_metrics_are_shown_in_percent():
    rows = {
        "cross-entropy": {"accuracy": 0.8956, "many": 0.99, "medium": 0.91, "few": 0.75, "loss": 1.0},
        "MEM": {"accuracy": 0.912, "many": 1.0, "medium": 0.95},
    }
    assert metrics_table(rows) == "\n".join(
        [
            "|               |  all |  many | medium |  few |",
            "| ------------- | ---: | ----: | -----: | ---: |",
            "| cross-entropy | 89.6 |  99.0 |   91.0 | 75.0 |",
            "| MEM           | 91.2 | 100.0 |   95.0 |    - |",
        ]
    )
    assert "balanced accuracy" in metrics_table(rows, columns=("balanced_accuracy",))
    assert len(set(map(len, metrics_table({"a": {}}).splitlines()))) == 1


def test_table_refuses_what_is_not_a_number():
    with pytest.raises(ValueError, match="'few' of 'MEM' is nan"):
        metrics_table({"MEM": {"few": float("nan")}})


def test_markdown_keeps_ordinary_names_as_they_are():
    for name in ("CIFAR-100-LT, imbalance factor 100", "balanced_softmax on digits", "tau 1.5 (few)", "a+b=c; d/e"):
        assert markdown(name) == name and markdown_code(name) == f"`{name}`" and cell(name) == name
        assert figure_text(name) == name


def test_code_is_closed_by_no_name():
    assert markdown_code("a`b") == "``a`b``" and markdown_code("`") == "`` ` ``" and markdown_code("") == "`  `"
    assert code_block("a\n```\nb\x00", "bash") == "````bash\na\n```\nb \n````"


def test_cells():
    assert (
        cell("a|b") == r"a\|b"
        and cell(r"a\|b") == r"a\|b"
        and cell("a\\\\|b") == "a\\\\\\|b"
        and cell("a\nb") == "a b"
    )
    lines = metrics_table({"a | b\n# c": {"accuracy": 0.5}}, columns=["accuracy"]).splitlines()
    assert len(lines) == 3 and lines[2] == r"| a \| b # c | 50.0 |"
