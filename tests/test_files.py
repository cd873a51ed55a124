"""Files that are whole or not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_ltr.files import clear_temporaries, write_metrics


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


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files of others are only known where /proc is")
def test_what_a_living_process_writes_stays(tmp_path):
    code = "import sys; file = open(sys.argv[1], 'w'); print('open', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / ".tmpHeld")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        process.stdout.readline()
        (tmp_path / f".run.json.{process.pid}.tmp").touch()
        (tmp_path / ".tmpLeft").touch()
        assert [path.name for path in clear_temporaries(tmp_path)] == [".tmpLeft"]
    finally:
        process.communicate()
    assert len(clear_temporaries(tmp_path)) == 2


def test_a_temporary_file_of_a_number_that_another_process_has_now_is_cleared(tmp_path):
    left = tmp_path / f".run.json.{os.getppid()}.tmp"
    left.write_text("{")
    assert clear_temporaries(tmp_path) == []  # it may be writing
    os.utime(left, (0, 0))
    assert clear_temporaries(tmp_path) == [left]
