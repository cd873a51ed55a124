"""Precision in a table: free where the protocol leaves it open, recorded, and told where rows differ."""

from __future__ import annotations

import copy
import json
from contextlib import nullcontext

import pytest

from hf_ltr.table import Table, load_protocol
from hf_ltr.table.protocol import protocol_names
from hf_ltr.table.results import check_settings
from hf_ltr.table.rows import MethodSpecification
from hf_ltr.table.statistics import TableRow
from hf_ltr.table.tables import notes

BF16 = {"precision": "bf16", "memory_format": "channels_last", "device": "cpu", "capability": "AVX512"}
FLOAT32 = {**BF16, "precision": "float32", "capability": "AVX2"}


def result(mode: str | None, used: dict | None = None, evaluation: dict | None = None) -> dict:
    arguments = {"learning_rate": 0.1} | ({} if mode is None else {"mixed_precision_mode": mode})
    stage = {"name": "train"} | ({} if used is None else {"computation": used})
    content = {"settings": {"stages": {"train": arguments}}, "stages": [stage]}
    return content if used is None else content | {"computation": evaluation or used}


@pytest.mark.parametrize(
    "mode, used, wanted, same",
    [
        ("bf16", None, "auto", True),  # a result of the protocol before it said auto
        ("bf16", None, None, True),
        (None, None, "auto", True),
        ("auto", BF16, "auto", True),
        ("auto", FLOAT32, "auto", True),
        ("auto", BF16, "bf16", True),
        ("auto", FLOAT32, "no", True),
        ("bf16", None, "bf16", True),
        ("auto", FLOAT32, "bf16", False),
        ("auto", BF16, "no", False),
        ("bf16", None, "no", False),
        ("auto", None, "no", False),
    ],
)
def test_a_precision_is_compared_where_a_protocol_names_one(mode, used, wanted, same):
    found, expected = result(mode, used), {"settings": result(wanted)["settings"]}
    before = copy.deepcopy((found, expected))
    with nullcontext() if same else pytest.raises(ValueError, match="mixed_precision_mode: .* there, .* here"):
        check_settings(found, expected, "x.json")
    assert (found, expected) == before


def row(name: str, *runs: dict) -> TableRow:
    return TableRow(MethodSpecification.parse(name), dict(enumerate(runs)))


def notes_of(rows: list[TableRow]) -> list[str]:
    return notes(rows, None, {})


def test_rows_that_differ_are_told():
    (note,) = notes_of([row("cross_entropy", result("auto", BF16)), row("focal", result("auto", FLOAT32))])
    assert "precision bf16 (cross_entropy); float32 (focal)" in note
    assert "capability AVX512 (cross_entropy); AVX2 (focal)" in note
    assert "memory format" not in note
    (note,) = notes_of([row("focal", result("auto", BF16), result("auto", BF16, FLOAT32))])
    assert "bf16, evaluated with float32 (focal)" in note


def test_results_of_earlier_versions_are_compared_by_what_they_know():
    new, old = row("cross_entropy", result("auto", BF16)), row("focal", result("bf16"))
    assert notes_of([new, old]) == []
    assert notes_of([old, row("ldam", result(None))]) == []
    (note,) = notes_of([new, row("focal", result("no")), row("ldam", result(None))])
    assert "float32 (focal); not recorded (ldam)" in note


@pytest.mark.parametrize("name", protocol_names())
def test_no_protocol_asks_for_what_a_machine_may_have_to_emulate(name):
    protocol = load_protocol(name)
    parts = [protocol.arguments, *protocol.stages.values()]
    for method in protocol.methods.values():
        parts += [method.get("arguments") or {}, *(method.get("stages") or {}).values()]
    for arguments in parts:
        assert arguments.get("mixed_precision_mode", "auto") in ("auto", "no")
        assert not {"bf16", "fp16", "bf16_full_eval", "fp16_full_eval"} & arguments.keys()


def test_no_recipe_asks_for_it(repository):
    files = sorted((repository / "recipes/configs").rglob("*.yaml"))
    assert files
    for path in files:
        text = path.read_text()
        assert not any(f"{name}:" in text for name in ("bf16", "fp16", "bf16_full_eval", "fp16_full_eval")), path
        assert "mixed_precision_mode: bf16" not in text and "mixed_precision_mode: fp16" not in text, path


def test_a_result_records_what_was_used(write_protocol, tmp_path, protocol_file, monkeypatch):
    changed = {**load_protocol(str(protocol_file)).arguments, "mixed_precision_mode": "auto", "num_train_epochs": 1}
    protocol = load_protocol(write_protocol(arguments=changed))
    from hf_ltr.trainer import precision

    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    monkeypatch.setattr(precision, "native_bf16", lambda use_cpu: False)
    (path,) = Table(protocol, ["cross_entropy"], [0], tmp_path).run()
    content = json.loads(path.read_text())
    assert content["computation"]["precision"] == content["stages"][0]["computation"]["precision"] == "float32"
    assert set(content["computation"]) == {"precision", "memory_format", "device", "capability"}
    # On another machine the same command goes on, with rows in another precision, and says so.
    monkeypatch.setattr(precision, "native_bf16", lambda use_cpu: True)
    table = Table(protocol, ["cross_entropy", "crt"], [0], tmp_path)
    (path,) = table.run()
    assert {stage["computation"]["precision"] for stage in json.loads(path.read_text())["stages"]} == {"bf16"}
    assert "precision float32 (cross_entropy); bf16 (crt)" in table.report().markdown()
    # As an earlier version wrote it.
    for key in ("computation",):
        content.pop(key)
        for stage in content["stages"]:
            stage.pop(key)
    first = tmp_path / "results" / "cross_entropy_seed0.json"
    first.write_text(json.dumps(content))
    assert "not recorded (cross_entropy)" not in table.report().markdown()
