"""Options that rows of a table vary, found and drawn."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from hf_ltr.reporting import plot_option_sweep
from hf_ltr.table import TableReport, load_protocol
from hf_ltr.table.results import TestSet
from hf_ltr.table.rows import MethodSpecification
from hf_ltr.table.statistics import TableRow
from hf_ltr.table.sweeps import find_sweeps, is_swept

from .test_report import COUNTS, LABELS, write

VALUES = {"accuracy": {"mean": 0.5, "low": 0.4, "high": 0.6}}


def row(text: str, defaults: dict | None = None, values: dict | None = VALUES) -> TableRow:
    specification = MethodSpecification.parse(text)
    description = specification.build(COUNTS, defaults).describe()
    return TableRow(specification, values=values or {}, description=description)


def found(rows) -> dict[str, dict[str, dict[float, str]]]:
    return {
        f"{sweep.method} {sweep.option}": {
            name: {value: row.label for value, row in line.items()} for name, line in sweep.lines.items()
        }
        for sweep in find_sweeps(rows)
    }


def test_rows_that_differ_in_one_number_are_a_sweep():
    rows = [row("cross_entropy"), row("mem:width=128"), row("mem:width=64"), row("crt:sampler=instance")]
    assert found(rows) == {"mem width": {"mem": {64: "mem:width=64", 128: "mem:width=128"}}}
    assert list(find_sweeps(rows)[0].lines["mem"]) == [64, 128]
    assert find_sweeps(rows)[0].file_name == "sweep_mem_width.png"
    assert [is_swept(one, find_sweeps(rows)) for one in rows] == [False, True, True, False]


def test_a_row_without_the_option_counts_at_its_default():
    rows = [row("mem"), row("mem:width=64"), row("mem:depth=3")]
    assert found(rows) == {
        "mem width": {"mem": {64: "mem:width=64", 256: "mem"}},
        "mem depth": {"mem": {1: "mem", 3: "mem:depth=3"}},
    }
    assert not is_swept(rows[0], find_sweeps(rows))


def test_the_default_is_that_of_the_protocol():
    rows = [row("mem", {"width": 32}), row("mem:width=64", {"width": 32})]
    assert found(rows) == {"mem width": {"mem": {32: "mem", 64: "mem:width=64"}}}


def test_of_equal_rows_the_one_that_names_the_option_is_drawn():
    for texts in (["mem", "mem:width=256", "mem:width=64"], ["mem:width=256", "mem", "mem:width=64"]):
        assert found([row(text) for text in texts])["mem width"] == {"mem": {64: "mem:width=64", 256: "mem:width=256"}}


def test_other_settings_are_other_lines():
    texts = [f"mem:width={width},depth={depth}" for width in (32, 64) for depth in (1, 2)]
    assert found([row(text) for text in texts]) == {
        "mem depth": {
            f"mem:width={width}": {depth: f"mem:depth={depth},width={width}" for depth in (1, 2)} for width in (32, 64)
        },
        "mem width": {
            f"mem:depth={depth}": {width: f"mem:depth={depth},width={width}" for width in (32, 64)} for depth in (1, 2)
        },
    }
    texts = [f"ldam:scale={scale}{post}" for scale in (10, 20) for post in ("", "+logit_adjustment")]
    assert set(found([row(text) for text in texts])["ldam scale"]) == {"ldam", "ldam+logit_adjustment"}


@pytest.mark.parametrize(
    "texts",
    [
        ["mem:width=64,depth=1", "mem:width=128,depth=2"],  # two options at once
        ["crt:sampler=instance", "crt:sampler=square_root"],  # words
        ["mem:detach_magnitude=true", "mem:detach_magnitude=false"],  # switches
        ["crt:representation=(ldam:scale=10)", "crt:representation=(ldam:scale=20)"],  # another method's option
        ["ldam:scale=10", "mem:width=64"],
        ["mem:width=64"],
    ],
)
def test_what_is_no_sweep(texts):
    assert found([row(text) for text in texts]) == {}


def test_rows_that_are_not_run_have_no_place():
    rows = [row("mem:width=64"), row("mem:width=128", values=None)]
    assert found(rows) == {}
    rows.append(row("mem:width=32"))
    assert list(found(rows)["mem width"]["mem"]) == [32, 64]


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_the_report_draws_sweeps_and_what_groups_cost(tmp_path):
    pytest.importorskip("matplotlib")
    protocol = load_protocol("cifar100_lt_200ep")
    TestSet(LABELS, COUNTS).write(tmp_path)
    rows = ["cross_entropy", "ldam", "ldam:scale=10", "ldam:scale=20"]
    for number, name in enumerate(rows):
        generator = np.random.default_rng(number)
        guess = np.where(generator.random(300) < 0.5, LABELS, generator.integers(0, 10, 300))
        write(tmp_path, protocol, name, 0, guess)
    report = TableReport(protocol, rows, [0], tmp_path)
    assert found(report.rows) == {"ldam scale": {"ldam": {10: rows[2], 20: rows[3], 30.0: "ldam"}}}
    names = [path.name for path in report.write()]
    assert names[3:] == ["groups.png", "sweep_ldam_scale.png", "group_errors.png"]
    assert "![Accuracy of ldam over scale with 95 % intervals](sweep_ldam_scale.png)" in (
        tmp_path / "README.md"
    ).read_text(encoding="utf-8")
    # The figure is that of the rows' own values.
    line = {float(value): report.rows[place].values for value, place in ((30, 1), (10, 2), (20, 3))}
    again = plot_option_sweep(tmp_path / "again.png", "scale", {"ldam": line})
    assert (pixels(again) == pixels(tmp_path / "sweep_ldam_scale.png")).all()
    # One row of the option alone is no sweep, and leaves no figure in the page.
    page = TableReport(protocol, rows[:2], [0], tmp_path)
    assert [path.name for path in page.write()][3:] == ["groups.png", "group_errors.png"]
    assert "sweep" not in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_errors_and_given_groups_are_those_of_all_seeds(tmp_path):
    pytest.importorskip("matplotlib")
    protocol = load_protocol("cifar100_lt_200ep")
    TestSet(LABELS, COUNTS).write(tmp_path)
    groups = {"many": [1, 3, 6], "medium": [0, 4, 7, 8], "few": [2, 5, 9]}
    group_of = {index: name for name, classes in groups.items() for index in classes}
    wrong = {name: dict.fromkeys(groups, 0) for name in groups}
    for seed in (0, 1):
        guess = np.random.default_rng(seed).integers(0, 10, 300)
        for label, predicted in zip(LABELS.tolist(), guess.tolist(), strict=True):
            wrong[group_of[label]][group_of[predicted]] += label != predicted
        known = {f"oracle_{name}": 0.25 * (seed + 2) for name in ("accuracy", *groups)}
        metrics = {"accuracy": float((guess == LABELS).mean()), **dict.fromkeys(groups, 0.25)}
        write(tmp_path, protocol, "cross_entropy", seed, guess, metrics={**metrics, **known})
    report = TableReport(protocol, ["cross_entropy"], [0, 1], tmp_path)
    only = report.rows[0]
    for name, row_of_group in wrong.items():
        expected = {other: 100 * count / sum(row_of_group.values()) for other, count in row_of_group.items()}
        assert only.group_errors[name] == pytest.approx(expected)
    assert only.group_given["oracle_few"] == pytest.approx(0.625) and only.group_given["few"] == 0.25
    assert [path.name for path in report.write()][3:] == ["groups.png", "group_errors.png", "group_given.png"]


def test_a_row_with_other_groups_says_nothing_about_given_groups(tmp_path):
    protocol = load_protocol("cifar100_lt_200ep")
    TestSet(LABELS, COUNTS).write(tmp_path)
    known = {"accuracy": 1.0, "oracle_accuracy": 1.0}
    data = {"row_hash": "a" * 64, "class_counts": [9, *COUNTS[1:]], "group_scheme": "thresholds"}
    write(tmp_path, protocol, "cross_entropy", 0, LABELS, metrics=known)
    write(tmp_path, protocol, "focal", 0, LABELS, metrics=known, data=data)
    first, second = TableReport(protocol, ["cross_entropy", "focal"], [0], tmp_path).rows
    assert first.group_given == known and second.group_given == {}
    # Nothing is misclassified: a row of shares would be 0 / 0.
    assert first.group_errors == {}


def with_run(text: str, stages: dict, post_hoc: dict | None = None) -> TableRow:
    """A finished row with the settings that its result would hold."""
    made = row(text)
    made.runs = {3: {"settings": {"stages": stages, "post_hoc": post_hoc}}}
    return made


def test_training_arguments_and_tau_are_swept_as_options_are():
    rows = [
        with_run("crt", {"classifier": {"learning_rate": 0.1, "seed": 3}}),
        with_run("crt:classifier.learning_rate=0.01", {"classifier": {"learning_rate": 0.01, "seed": 4}}),
        with_run("crt:norm=eval", {"classifier": {"learning_rate": 0.1, "seed": 3}}),
    ]
    rows += [
        with_run(f"cross_entropy+logit_adjustment{own}", {}, {"logit_adjustment": {"tau": tau}})
        for own, tau in (("", 1.0), (":tau=0.5", 0.5))
    ]
    name = "cross_entropy+logit_adjustment"
    assert found(rows) == {
        "crt classifier.learning_rate": {"crt": {0.01: rows[1].label, 0.1: "crt"}},
        "cross_entropy tau": {name: {0.5: f"{name}:tau=0.5", 1.0: name}},
    }
    assert [is_swept(one, find_sweeps(rows)) for one in rows] == [False, True, False, False, True]


def test_rows_of_other_arguments_are_no_line():
    rows = [
        with_run("ldam:scale=10", {"train": {"learning_rate": 0.1}}),
        with_run("ldam:scale=20,train.learning_rate=1", {"train": {"learning_rate": 1.0}}),
    ]
    assert found(rows) == {}
