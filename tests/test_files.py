"""Files that are whole or not there."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from hf_ltr.files import write_metrics


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
