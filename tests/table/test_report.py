"""The report of known predictions: its numbers, its words and its files."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pytest

from hf_ltr.data import ClassCounts
from hf_ltr.evaluation import bootstrap_intervals, long_tail_metrics, mcnemar_test
from hf_ltr.files import write_json
from hf_ltr.table import MethodSpecification, TableReport, load_protocol
from hf_ltr.table.plans import Plan
from hf_ltr.table.results import FORMAT, TestSet, encode_classes, result_path
from hf_ltr.table.tables import results_csv

# Unsorted: 3 many, 4 medium, 3 few.
COUNTS = [30, 500, 5, 150, 70, 12, 300, 100, 20, 3]
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 30))
ROWS = ["cross_entropy", "balanced_softmax", "crt", "ldam_drw"]
SHARES = {"cross_entropy": 0.4, "balanced_softmax": 0.6, "crt": 0.5}


def predict(row: str, seed: int) -> np.ndarray:
    generator = np.random.default_rng([seed, len(row)])
    return np.where(generator.random(300) < SHARES[row], LABELS, generator.integers(0, 10, 300))


def write(folder, protocol, label, seed, predictions, **changes):
    row = MethodSpecification.parse(label)
    plan = Plan.make(protocol, row, seed, COUNTS)
    metrics = long_tail_metrics(predictions, LABELS, COUNTS)
    content = {
        "format": FORMAT,
        "row": row.label,
        "seed": seed,
        "settings": plan.settings(row.post_hoc),
        "description": plan.method.describe(),
        "data": {"row_hash": "a" * 64, "class_counts": COUNTS, "group_scheme": "thresholds"},
        "metrics": metrics,
        "predictions": encode_classes(predictions),
        "stages": [{"name": stage.name, "seconds": 90.0, "steps": 10} for stage in plan.stages],
        "selection": "last epoch",
        "processes": 1,
        "hardware": "2 cores of a test",
        "versions": {"torch": "2.0"},
        "commit": "c" * 40,
        "date": "2025-01-02T03:04:05+00:00",
        "command": f"hf-ltr table --seeds {seed}",
        **changes,
    }
    write_json(result_path(folder, row, seed), content)


@pytest.fixture
def protocol():
    return load_protocol("cifar100_lt_200ep")


@pytest.fixture
def folder(tmp_path, protocol):
    """Two seeds of three rows; of the third row only one."""
    TestSet(LABELS, COUNTS).write(tmp_path)
    for row in SHARES:
        for seed in (0, 1) if row != "crt" else (1,):
            write(tmp_path, protocol, row, seed, predict(row, seed))
    return tmp_path


@pytest.fixture
def report(folder, protocol):
    return TableReport(protocol, ROWS, [0, 1], folder)


def table_rows(text: str, first: str) -> dict[str, list[str]]:
    """Cells by first cell of the Markdown table whose head begins with `first`."""
    lines = text.split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith("|") and line[1:].split("|")[0].strip() == first)
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        rows[cells[0]] = cells[1:]
    return rows


def test_accuracies_are_means_over_seeds(report):
    for row in report.rows[:2]:
        metrics = [long_tail_metrics(predict(row.label, seed), LABELS, COUNTS) for seed in (0, 1)]
        assert list(row.values) == ["accuracy", "balanced_accuracy", "many", "medium", "few"]
        for name, value in row.values.items():
            own = [metric[name] for metric in metrics]
            assert value["mean"] == pytest.approx(np.mean(own), abs=1e-12)
            assert (value["min"], value["max"], value["runs"]) == (pytest.approx(min(own)), pytest.approx(max(own)), 2)
            assert value["low"] < value["mean"] < value["high"]
    assert report.rows[2].values["few"]["runs"] == 1
    assert report.rows[3].values == {} and report.rows[3].runs == {}


def test_differences_are_paired_over_common_seeds(report):
    assert report.baseline == "cross_entropy" and report.rows[0].differences == {}
    both = report.rows[1].differences["cross_entropy"]
    right = {row: np.stack([predict(row, seed) == LABELS for seed in (0, 1)]) for row in ROWS[:2]}
    difference = right["balanced_softmax"].mean(0) - right["cross_entropy"].mean(0)
    intervals = bootstrap_intervals(difference, LABELS, COUNTS)
    assert (both["accuracy"]["low"], both["accuracy"]["high"]) == intervals["accuracy"]
    assert both["accuracy"]["mean"] == pytest.approx(difference.mean())
    groups = ClassCounts(COUNTS).groups
    assert both["few"]["mean"] == pytest.approx(
        np.mean([difference[LABELS == index].mean() for index in groups["few"]])
    )
    tests = [
        mcnemar_test(predict("balanced_softmax", seed), predict("cross_entropy", seed), LABELS, COUNTS)
        for seed in (0, 1)
    ]
    for group in ("accuracy", *groups):
        assert both[group]["p"] == max(test[group]["p"] for test in tests)
    assert report.rows[2].differences["cross_entropy"]["accuracy"]["seeds"] == [1]


def test_the_text_has_numbers_words_and_published_numbers(report):
    text = report.markdown()
    rows = table_rows(text, "")
    assert list(rows) == ROWS
    values = report.rows[0].values["few"]
    assert rows["cross_entropy"][4] == rows["cross_entropy"][4].strip()
    shown = (
        f"{100 * values['mean']:.1f} ({100 * values['min']:.1f} to {100 * values['max']:.1f}) "
        f"[{100 * values['low']:.1f}, {100 * values['high']:.1f}]"
    )
    assert rows["cross_entropy"][4] == shown
    assert rows["cross_entropy"][-2:] == ["38.3", "200 epochs, crop+flip; zhangyongshun/BagofTricks-LT"]
    assert rows["balanced_softmax"][-2] == "43.0" and rows["ldam_drw"][-2] == "42.5"
    assert rows["ldam_drw"][:5] == ["not run", "-", "-", "-", "-"]
    assert rows["crt"][0] == "1 of 2" and "to" not in rows["crt"][1]
    assert "Not run: ldam_drw" in text
    differences = table_rows(text, "minus cross_entropy")
    assert list(differences) == ["balanced_softmax", "crt"]
    part = report.rows[1].differences["cross_entropy"]["accuracy"]
    assert differences["balanced_softmax"][0].startswith(f"{100 * part['mean']:+.1f} [")
    assert re.search(r"p (<0\.001|[01]\.\d{3})$", differences["balanced_softmax"][0])
    assert "nan" not in text.lower() and "inf" not in re.sub(r"inference|infor", "", text.lower())


def test_notes_of_published_numbers_are_printed_once(tmp_path, protocol):
    rows = ["cross_entropy", "logit_adjustment", "cross_entropy+logit_adjustment", "las_stage2", "focal"]
    report = TableReport(protocol, rows, [0], tmp_path)
    text = report.markdown()
    cells = table_rows(text, "")
    assert cells["cross_entropy"][-1].endswith("BagofTricks-LT")
    assert cells["logit_adjustment"][-1].endswith("(note 1)")
    assert cells["cross_entropy+logit_adjustment"][-1].endswith("(note 1)")
    assert cells["las_stage2"][-1].endswith("(note 2)")
    assert cells["focal"][-2:] == ["-", "-"]
    assert "Notes on published numbers. 1: imbalance factor not printed in the README (100 inferred); weight" in text
    assert text.count("weight decay counted twice in this port") == 1
    assert " 2: val/meta 10 images per class held out" in text
    assert "weight decay counted twice" in results_of(report).split("logit_adjustment")[1]


def test_the_strength_of_an_adjustment_decides_what_stands_beside_it(tmp_path, write_protocol):
    from .conftest import PROTOCOL

    data = {"data": {"dataset": "cifar100", "imbalance_factor": 100}, "model": {"backbone": "resnet32_cifar"}}
    for tau, shown in ((1.0, True), (1.5, False)):
        path = write_protocol(**{**PROTOCOL, **data, "post_hoc": {"logit_adjustment": {"tau": tau}}})
        row = TableReport(load_protocol(path), ["cross_entropy+logit_adjustment"], [0], tmp_path).rows[0]
        assert bool(row.published) == shown


def test_another_baseline(folder, protocol):
    report = TableReport(protocol, ROWS, [0, 1], folder, baseline="balanced-softmax")
    assert list(table_rows(report.markdown(), "minus balanced_softmax")) == ["cross_entropy", "crt"]
    with pytest.raises(ValueError, match="Unknown baseline: 'focal'|Unknown method|must be one of the rows"):
        TableReport(protocol, ROWS, [0, 1], folder, baseline="focal")
    assert TableReport(protocol, ["crt", "ldam_drw"], [0], folder).baseline == "crt"


def test_several_baselines_have_a_table_each(folder, protocol):
    report = TableReport(protocol, ROWS, [0, 1], folder, baseline=["crt", "cross_entropy", "crt"])
    assert report.baseline == "crt" and report.baselines == ["crt", "cross_entropy"]
    text = report.markdown()
    assert list(table_rows(text, "minus crt")) == ["cross_entropy", "balanced_softmax"]
    assert list(table_rows(text, "minus cross_entropy")) == ["balanced_softmax", "crt"]
    assert text.count("Difference to crt and to cross_entropy in points") == 1
    single = TableReport(protocol, ROWS, [0, 1], folder).rows[1].differences["cross_entropy"]
    assert report.rows[1].differences["cross_entropy"] == single
    rows = list(csv.DictReader(io.StringIO(results_of(report))))
    assert float(rows[1]["few_minus_cross_entropy_mean"]) == pytest.approx(100 * single["few"]["mean"], abs=1e-3)
    assert float(rows[1]["all_difference_mean"]) == pytest.approx(
        100 * report.rows[1].differences["crt"]["accuracy"]["mean"], abs=1e-3
    )


def test_a_baseline_that_is_not_run_tests_nothing(folder, protocol):
    text = TableReport(protocol, ROWS, [0, 1], folder, baseline="ldam_drw").markdown()
    assert "minus" not in text


def test_three_seeds_have_a_standard_deviation(folder, protocol):
    write(folder, protocol, "cross_entropy", 2, predict("cross_entropy", 2))
    row = TableReport(protocol, ["cross_entropy"], [0, 1, 2], folder).rows[0]
    own = [long_tail_metrics(predict("cross_entropy", seed), LABELS, COUNTS)["many"] for seed in (0, 1, 2)]
    assert row.values["many"]["std"] == pytest.approx(np.std(own, ddof=1))
    assert (
        f"±{100 * np.std(own, ddof=1):.1f} [" in TableReport(protocol, ["cross_entropy"], [0, 1, 2], folder).markdown()
    )


def test_files(report, folder):
    paths = report.write()
    names = [path.name for path in paths]
    assert names[:3] == ["README.md", "results.csv", "published.csv"]
    pytest.importorskip("matplotlib")
    # These results do not know what a given group is worth, and no option is varied.
    assert names[3:] == ["groups.png", "group_errors.png"]
    assert all((folder / name).stat().st_size > 5000 for name in names[3:])
    page = (folder / "README.md").read_text()
    assert all(f"]({name})" in page for name in names[3:])
    assert report.markdown() in page and "![" in page
    for fact in ("hf-ltr table --seeds 0", "hf-ltr table --seeds 1", "2 cores of a test", "`" + "c" * 40 + "`"):
        assert fact in page
    for fact in ("cifar100_lt_200ep", "lr_milestones", "last epoch", "`" + "a" * 64 + "`", "2025-01-02", "torch 2.0"):
        assert fact in page
    rows = list(csv.DictReader(io.StringIO((folder / "results.csv").read_text())))
    assert [row["row"] for row in rows] == ROWS
    assert [row["status"] for row in rows] == ["run", "run", "run", "not run"]
    assert float(rows[0]["few_mean"]) == pytest.approx(100 * report.rows[0].values["few"]["mean"], abs=1e-3)
    assert float(rows[1]["all_p"]) == report.rows[1].differences["cross_entropy"]["accuracy"]["p"]
    assert not any("minus" in column for column in rows[0])
    assert rows[0]["all_p"] == rows[3]["all_mean"] == rows[0]["all_std"] == ""
    assert float(rows[0]["minutes"]) == 1.5 and float(rows[2]["minutes"]) == 3.0
    assert (rows[0]["published_top1_all"], rows[0]["published_epochs"]) == ("38.32", "200")
    published = list(csv.DictReader(io.StringIO((folder / "published.csv").read_text())))
    own = [line for line in published if line["row"] == "cross_entropy"]
    assert len(own) == len(report.rows[0].published) > 3
    assert all(line["source"] and line["top1_all"] for line in published)
    assert "nan" not in (folder / "results.csv").read_text().lower()


def test_the_page_says_how_runs_were_computed_where_they_know(folder, protocol):
    used = {"precision": "bf16", "memory_format": "channels_last", "device": "cpu", "capability": "AVX512"}
    assert "Computed with" not in readme_of(folder, protocol)
    write(folder, protocol, "crt", 1, predict("crt", 1), computation=used)
    assert "- Computed with: bf16, channels_last, cpu, AVX512\n" in readme_of(folder, protocol)


def test_a_commit_that_was_entered_afterwards_is_said_to_be(folder, protocol):
    assert "entered afterwards" not in readme_of(folder, protocol)
    write(folder, protocol, "crt", 1, predict("crt", 1), commit="d" * 40, commit_entered_afterwards=True)
    assert f"`{'d' * 40}` (entered afterwards)" in readme_of(folder, protocol)


def readme_of(folder, protocol) -> str:
    return TableReport(protocol, ROWS, [0, 1], folder).page()


def test_a_report_of_nothing_is_all_not_run(tmp_path, protocol):
    report = TableReport(protocol, ROWS, [0], tmp_path / "nothing")
    rows = table_rows(report.markdown(), "")
    assert [cells[0] for cells in rows.values()] == ["not run"] * 4
    assert {path.name for path in report.write()} == {"README.md", "results.csv", "published.csv"}


def test_runs_of_another_protocol_are_refused(folder):
    other = load_protocol("cifar100_lt_200ep", learning_rate=0.2)
    with pytest.raises(ValueError, match="learning_rate: 0.1 there, 0.2 here"):
        TableReport(other, ROWS, [0, 1], folder).markdown()


def test_predictions_that_do_not_fit_their_metrics_are_refused(folder, protocol):
    write(folder, protocol, "crt", 1, predict("crt", 1), metrics={"accuracy": 0.99})
    with pytest.raises(ValueError, match="crt, seed 1.*0.990000 is written"):
        TableReport(protocol, ROWS, [0, 1], folder).markdown()


def test_results_without_a_test_set_are_refused(folder, protocol):
    (folder / "test_set.json").unlink()
    with pytest.raises(ValueError, match="no test_set.json"):
        TableReport(protocol, ROWS, [0, 1], folder).markdown()


def test_cost_stands_beside_accuracy(folder, protocol):
    stage = {"name": "train", "ratio": 1.234, "milliseconds": 2.0, "baseline_milliseconds": 1.6}
    cost = {
        "baseline": "cross_entropy",
        "rows": {
            "balanced_softmax": {"stages": [stage], "memory": {"ratio": 1.05}},
            "crt": {"stages": [{**stage, "ratio": 1.0}, {**stage, "ratio": 0.4}], "memory": {"ratio": 1.0}},
        },
    }
    (folder / "cost.json").write_text(json.dumps(cost))
    report = TableReport(protocol, ROWS, [0], folder)
    rows = {line["row"]: line for line in csv.DictReader(io.StringIO(results_of(report)))}
    assert rows["balanced_softmax"]["step_ratio"] == "1.234" and rows["crt"]["step_ratio"] == "1.000 + 0.400"
    text = report.markdown()
    lines = [line for line in text.split("\n") if line.startswith("| crt")]
    assert re.search(r"1\.00 \+ 0\.40 +\| 1\.00 +\| -", lines[-1]), lines
    assert "over that of cross_entropy" in text


def results_of(report) -> str:
    return results_csv(report.rows, report.baselines)
