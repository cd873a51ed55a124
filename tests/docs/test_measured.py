"""Our own numbers on a page."""

from __future__ import annotations

import json
import math

import pytest

from docs.measured import MEASURED_COLUMNS, measured_table, read_results


def _write_result(folder, seed, accuracy, row="crt", name="crt", **metrics):
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "row": row,
        "seed": seed,
        "settings": {"protocol": "p"},
        "description": {"name": name, "options": {}},
        "metrics": {"accuracy": accuracy, **metrics},
    }
    (folder / f"{row}_seed{seed}.json").write_text(json.dumps(content), encoding="utf-8")


def test_measured_numbers_are_means_over_seeds(tmp_path):
    folder = tmp_path / "model_cards" / "table" / "results"
    _write_result(folder, 0, 0.40, few=0.1)
    _write_result(folder, 1, 0.42, few=0.2)
    _write_result(folder, 0, 0.5, row="crt:norm=eval")
    _write_result(folder, 0, 0.9, row="focal", name="focal")
    cells = [dict(zip(MEASURED_COLUMNS, row, strict=True)) for row in measured_table(read_results(tmp_path), "crt")]
    assert [row["what"] for row in cells] == ["`crt`", "`crt:norm=eval`"]
    assert cells[0]["all"] == f"41.0 ± {math.sqrt(2):.1f}" and cells[0]["many"] == ""
    assert (cells[0]["seeds"], cells[1]["all"], cells[1]["seeds"]) == ("2", "50.0", "1")
    assert measured_table(read_results(tmp_path), "lws") == []
    _write_result(folder, 2, float("nan"))
    with pytest.raises(ValueError, match="crt_seed2.json"):
        measured_table(read_results(tmp_path), "crt")
