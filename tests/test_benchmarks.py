"""Benchmarks leave out what the machine emulates, and say so."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PillowImage

from hf_ltr.trainer import precision


@pytest.fixture
def training_step(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    threads = torch.get_num_threads()
    yield importlib.import_module("training_step")
    torch.set_num_threads(threads)
    for name in ("training_step", "common"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "native, options, timed",
    [(False, [], False), (True, [], True), (False, ["--emulated"], True), (False, ["--variants", "fp32"], False)],
)
def test_an_emulated_precision_is_left_out(training_step, monkeypatch, native, options, timed):
    pixels = [PillowImage.fromarray(np.zeros((32, 32, 3), np.uint8))] * 4
    features = Features({"image": Image(), "label": ClassLabel(num_classes=100)})
    data = Dataset.from_dict({"image": pixels, "label": [0, 1, 2, 3]}, features=features)
    monkeypatch.setattr(training_step, "load_images", lambda rows: data)
    monkeypatch.setattr(training_step, "interleave", lambda variants, rounds: {name: [1.0] for name in variants})
    monkeypatch.setattr(precision, "native_bf16", lambda use_cpu: native)
    told: list[str] = []
    times = training_step.main(["--rounds", "1", "--threads", "1", *options], told.append)
    assert ("bf16_channels_last" in times) is timed
    assert "fp32" in times and training_step.BARE in times
    left_out = any("bf16_channels_last is left out" in line for line in told)
    assert left_out is (not timed and "--variants" not in options)
