"""Tables small enough to be made in a test: digits, a handful of steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hf_ltr import LongTailTrainer
from hf_ltr.table import Protocol, Table

PROTOCOL = {
    "name": "tiny",
    "title": "Digits, a handful of steps",
    "source": "this test",
    "data": {"dataset": "digits", "imbalance_factor": 50},
    "model": {"backbone": "resnet20_cifar", "image_size": 16, "num_channels": 1},
    "arguments": {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 128,
        "learning_rate": 0.02,
        "warmup_epochs": 0,
        "augmentation": ["random_crop"],
        "augmentation_options": {"random_crop": {"padding": 2}},
        "mixed_precision_mode": "no",
        "use_cpu": True,
        "cpu_threads": 1,
    },
    "stages": {"classifier": {"num_train_epochs": 1}},
}


def quiet(protocol: Protocol, rows: list[str], folder: Path, seeds: tuple[int, ...] = (0,)) -> Table:
    """A table that announces nothing."""
    return Table(protocol, rows, seeds, folder, log=lambda text: None)


def result(folder: Path, row: str, seed: int = 0) -> dict:
    """What the file of a finished run holds."""
    return json.loads((folder / "results" / f"{row}_seed{seed}.json").read_text())


@pytest.fixture(scope="session")
def protocol_file(tmp_path_factory):
    """Path of the tiny protocol."""
    path = tmp_path_factory.mktemp("protocols") / "tiny.yaml"
    path.write_text(yaml.safe_dump(PROTOCOL), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def write_protocol(tmp_path_factory):
    """A function that writes the tiny protocol with changes and returns its path."""

    def write(**changes) -> str:
        path = tmp_path_factory.mktemp("protocols") / "changed.yaml"
        path.write_text(yaml.safe_dump({**PROTOCOL, **changes}), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def trainings(monkeypatch):
    """The methods that were trained, in order."""
    seen = []
    train = LongTailTrainer.train

    def counted(self, *args, **kwargs):
        seen.append(self.method.name)
        return train(self, *args, **kwargs)

    monkeypatch.setattr(LongTailTrainer, "train", counted)
    return seen
