"""Figures: what they draw is what they were given. Pixels are compared, since a file alone says nothing."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from hf_ltr import ClassCounts
from hf_ltr.reporting import (
    plot_group_accuracy,
    plot_group_confusion,
    plot_group_errors,
    plot_group_given,
    plot_group_intervals,
    plot_option_sweep,
    plot_per_class_accuracy,
)
from hf_ltr.reporting.drawing import colour_of
from hf_ltr.reporting.finished_run import draw_figures

pytest.importorskip("matplotlib")

ERRORS = {
    "many": {"many": 80.0, "medium": 15.0, "few": 5.0},
    "medium": {"many": 73.6, "medium": 22.2, "few": 4.2},
    "few": {"many": 71.2, "medium": 27.2, "few": 1.6},
}
METRICS = {"accuracy": 0.5, "many": 0.7, "medium": 0.4, "few": 0.249}
GIVEN = {"oracle_accuracy": 0.65, "oracle_many": 0.75, "oracle_medium": 0.6, "oracle_few": 0.679}
POINT = {name: {"mean": value, "low": value - 0.01, "high": value + 0.02} for name, value in METRICS.items()}


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def texts(monkeypatch):
    """What is written into a figure, read when it is saved."""
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    seen = []
    original = Figure.savefig

    def savefig(self, *args, **kwargs):
        original(self, *args, **kwargs)
        seen[:] = [text.get_text() for text in self.findobj(Text) if text.get_text()]

    monkeypatch.setattr(Figure, "savefig", savefig)
    return seen


def test_the_errors_of_a_group_are_written_into_their_row(tmp_path, texts):
    path = plot_group_errors(tmp_path / "deep" / "errors.png", {"cross_entropy": ERRORS})
    assert path.is_file()
    for row in ERRORS.values():
        for value in row.values():
            assert f"{value:.1f}" in texts
    assert "cross_entropy" in texts and texts.count("-") == 0
    # In the order of the groups: rows are true groups, columns predicted ones.
    numbers = [text for text in texts if text in {f"{value:.1f}" for row in ERRORS.values() for value in row.values()}]
    assert numbers == ["80.0", "15.0", "5.0", "73.6", "22.2", "4.2", "71.2", "27.2", "1.6"]


def test_a_group_without_errors_is_an_empty_line(tmp_path, texts):
    some = {name: row for name, row in ERRORS.items() if name != "many"}
    plot_group_errors(tmp_path / "errors.png", {"a": ERRORS, "b": some, "c": {}, "d": some, "e": ERRORS})
    assert texts.count("-") == 3 + 9 + 3
    assert not [text for text in texts if "nan" in text.lower()]
    assert [text for text in texts if text in "abcde"] == list("abcde")
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_group_errors(tmp_path / "errors.png", {"a": {}})


def test_bars_with_and_without_the_group_stand_side_by_side(tmp_path, texts):
    rows = {"CE": {**METRICS, **GIVEN}, "MEM": {**METRICS, **GIVEN, "few": 0.368}}
    plot_group_given(tmp_path / "given.png", rows)
    for text in ("67.9", "24.9", "36.8", "CE", "CE, group given", "MEM", "MEM, group given", "all", "few"):
        assert text in texts, text
    assert texts.count("67.9") == 2 and texts.count("24.9") == 1
    # A group that a result lacks, or knows one half of, has no bars.
    half = {name: value for name, value in rows["MEM"].items() if name not in ("oracle_few", "medium")}
    plot_group_given(tmp_path / "half.png", {"CE": rows["CE"], "MEM": half})
    assert texts.count("67.9") == 1 and "36.8" not in texts and texts.count("60.0") == 1
    with pytest.raises(ValueError, match="group given"):
        plot_group_given(tmp_path / "given.png", {"CE": METRICS})


def test_every_bar_of_many_methods_has_its_number(tmp_path, texts):
    rows = {
        f"method {number}": {name: value + number / 1000 for name, value in METRICS.items()} for number in range(12)
    }
    plot_group_accuracy(tmp_path / "groups.png", rows)
    for number in range(12):
        assert f"{24.9 + number / 10:.1f}" in texts
    few = tmp_path / "few.png"
    plot_group_accuracy(few, dict(list(rows.items())[:2]))
    assert pixels(tmp_path / "groups.png").shape[1] > 2 * pixels(few).shape[1]
    assert len({colour_of(number) for number in range(20)}) == 20


def test_a_sweep_draws_its_values(tmp_path, texts):
    line = {32: POINT, 64: {**POINT, "few": {"mean": 0.3, "low": 0.25, "high": 0.35}}}
    first = plot_option_sweep(tmp_path / "sweep.png", "width", {"mem": line})
    assert {"width", "32", "64", "all", "many", "medium", "few"} <= set(texts) and "mem" not in texts
    second = plot_option_sweep(tmp_path / "two.png", "width", {"mem": line, "mem:depth=2": {32: POINT, 512: POINT}})
    assert {"mem", "mem:depth=2", "512"} <= set(texts)
    assert pixels(first).shape != pixels(second).shape
    changed = plot_option_sweep(tmp_path / "changed.png", "width", {"mem": {32: POINT, 64: POINT}})
    assert (pixels(changed) != pixels(first)).any()
    # A value without a group has no point there.
    without = {name: value for name, value in POINT.items() if name != "few"}
    plot_option_sweep(tmp_path / "without.png", "width", {"mem": {32: without, 64: without}})
    assert "few" not in texts
    with pytest.raises(ValueError, match="no results over width"):
        plot_option_sweep(tmp_path / "none.png", "width", {"mem": {32: {}}})


def test_an_interval_beside_its_mean_is_drawn(tmp_path):
    beside = {"accuracy": {"mean": 0.5, "low": 0.51, "high": 0.52}}
    assert plot_option_sweep(tmp_path / "sweep.png", "width", {"mem": {1: beside, 2: beside}}).is_file()
    assert plot_group_intervals(tmp_path / "intervals.png", {"mem": beside}).is_file()


def test_a_run_draws_what_its_rows_know(tmp_path):
    counts, per_class = ClassCounts(range(200, 0, -20)), {"earlier version": [0.5] * 10}
    rows = {"earlier version": METRICS}
    assert set(draw_figures(tmp_path, rows, per_class, counts).values()) == {
        *("figures/groups.png", "figures/per_class.png")
    }
    rows["MEM"] = {**METRICS, **GIVEN, "group_errors": ERRORS}
    figures = draw_figures(tmp_path, rows, per_class | {"MEM": [0.5] * 10}, counts)
    assert list(figures.values()) == [
        *("figures/groups.png", "figures/per_class.png", "figures/group_errors.png", "figures/group_given.png")
    ]
    for path in figures.values():
        assert pixels(tmp_path / path).std() > 10
    # Only the row that knows is in them.
    alone = plot_group_errors(tmp_path / "alone.png", {"MEM": ERRORS})
    assert (pixels(alone) == pixels(tmp_path / "figures/group_errors.png")).all()


def test_a_run_whose_groups_are_one_draws_no_groups(tmp_path):
    rows = {"all right": {"accuracy": 1.0, "many": 1.0, "group_errors": {}}}
    assert list(draw_figures(tmp_path, rows, {}, None).values()) == ["figures/groups.png"]


def test_every_figure_is_drawn_from_what_it_is_given(tmp_path):
    path = tmp_path / "figures" / "classes.png"
    assert plot_per_class_accuracy(path, [500, 30, 5, 0], {"CE": [0.9, 0.5, None, 0.0]}) == path
    with_two = tmp_path / "two.png"
    plot_per_class_accuracy(with_two, [500, 30, 5, 0], {"CE": [0.9, 0.5, None, 0.0], "MEM": [0.8, 0.7, 0.6, 0.1]})
    assert (pixels(path) != pixels(with_two)).any()
    groups = plot_group_accuracy(tmp_path / "groups.png", {"CE": METRICS, "MEM": {"accuracy": 0.9, "many": 1.0}})
    confusion = np.array([[9, 1], [0, 0]])
    heat = plot_group_confusion(tmp_path / "confusion.png", confusion, ["many", "few"], title="MEM")
    assert all(pixels(figure).std() > 10 for figure in (groups, heat))
    with pytest.raises(ValueError, match="'CE' has 2 accuracies for 3"):
        plot_per_class_accuracy(path, [5, 3, 2], {"CE": [0.1, 0.2]})
    with pytest.raises(ValueError, match="2 groups"):
        plot_group_confusion(path, np.zeros((3, 3)), ["many", "few"])


def test_figures_without_matplotlib_say_what_to_install(tmp_path, monkeypatch):
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install hf_ltr\[plots\]"):
        plot_group_accuracy(tmp_path / "groups.png", {"CE": METRICS})
