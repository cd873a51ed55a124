"""Checkpoints and data are made once: tests only read them."""

from __future__ import annotations

import pytest
import torch

from .builders import MAKERS, make_data, save


@pytest.fixture(scope="session")
def data():
    return make_data()


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Folder by kind of model."""
    root = tmp_path_factory.mktemp("checkpoints")
    folders = {}
    for name, maker in MAKERS.items():
        torch.manual_seed(0)
        folders[name] = save(maker(), root / name)
    return folders
