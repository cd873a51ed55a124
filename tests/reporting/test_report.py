import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from hf_ltr.files import write_metrics
from hf_ltr.markup import metrics_table
from hf_ltr.reporting import plot_group_accuracy, plot_group_confusion, plot_per_class_accuracy

ROWS = {
    "cross-entropy": {"accuracy": 0.8956, "many": 0.99, "medium": 0.91, "few": 0.75, "loss": 1.0},
    "MEM": {"accuracy": 0.912, "many": 1.0, "medium": 0.95},
}


def test_table():
    assert metrics_table(ROWS) == "\n".join(
        [
            "|               |  all |  many | medium |  few |",
            "| ------------- | ---: | ----: | -----: | ---: |",
            "| cross-entropy | 89.6 |  99.0 |   91.0 | 75.0 |",
            "| MEM           | 91.2 | 100.0 |   95.0 |    - |",
        ]
    )
    assert "balanced accuracy" in metrics_table(ROWS, columns=("balanced_accuracy",))
    assert len(set(map(len, metrics_table({"a": {}}, digits=3).splitlines()))) == 1


def test_table_refuses_what_is_not_a_number():
    with pytest.raises(ValueError, match="'few' of 'MEM' is nan"):
        metrics_table({"MEM": {"few": float("nan")}})


def test_metrics_file(tmp_path):
    path = tmp_path / "run" / "metrics.json"
    metrics = {
        "accuracy": np.float32(0.5),
        "steps": torch.tensor(3),
        "stages": {"mem": {"few": np.float64(0.25), "per_class_accuracy": [1.0, None]}},
        "counts": np.array([3, 2]),
        "name": "ünder",
        "finished": True,
    }
    assert write_metrics(path, metrics) == path
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "accuracy": 0.5,
        "steps": 3,
        "stages": {"mem": {"few": 0.25, "per_class_accuracy": [1.0, None]}},
        "counts": [3, 2],
        "name": "ünder",
        "finished": True,
    }


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), torch.tensor(-torch.inf)])
def test_metrics_file_is_never_half_written(tmp_path, monkeypatch, value):
    path = write_metrics(tmp_path / "metrics.json", {"accuracy": 0.5})
    before = path.read_text()
    with pytest.raises(ValueError, match=r"'stages\.mem\[1\]\.few'"):
        write_metrics(path, {"accuracy": 0.6, "stages": {"mem": [0.1, {"few": value}]}})
    with pytest.raises(TypeError, match="'model'"):
        write_metrics(path, {"model": object()})
    # The new file takes the old one's place in one step, or not at all.
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk"):
        patch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("disk")))
        write_metrics(path, {"accuracy": 0.7})
    assert path.read_text() == before
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


def drawn(path):
    """The figure as pixels; a blank one has a single colour."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    return pixels


def test_figures(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "figures" / "classes.png"
    assert plot_per_class_accuracy(path, [500, 30, 5, 0], {"CE": [0.9, 0.5, None, 0.0]}) == path
    with_two = tmp_path / "two.png"
    plot_per_class_accuracy(with_two, [500, 30, 5, 0], {"CE": [0.9, 0.5, None, 0.0], "MEM": [0.8, 0.7, 0.6, 0.1]})
    assert (drawn(path) != drawn(with_two)).any()
    drawn(plot_group_accuracy(tmp_path / "groups.png", ROWS))
    drawn(plot_group_confusion(tmp_path / "confusion.png", np.array([[9, 1], [0, 0]]), ["many", "few"], title="MEM"))
    with pytest.raises(ValueError, match="'CE' has 2 accuracies for 3"):
        plot_per_class_accuracy(path, [5, 3, 2], {"CE": [0.1, 0.2]})
    with pytest.raises(ValueError, match="2 groups"):
        plot_group_confusion(path, np.zeros((3, 3)), ["many", "few"])


def test_figures_without_matplotlib_say_what_to_install(tmp_path, monkeypatch):
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install hf_ltr\[plots\]"):
        plot_group_accuracy(tmp_path / "groups.png", ROWS)


def test_importing_the_package_is_light(repository):
    import subprocess

    code = (
        "import sys, hf_ltr.evaluation as e; e.long_tail_metrics; "
        "print([m for m in ('evaluate', 'matplotlib', 'datasets', 'transformers') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repository, check=True)
    assert answer.stdout.strip() == "[]"
