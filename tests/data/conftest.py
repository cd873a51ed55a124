"""Small datasets on disk, and a cache of `datasets` apart from the user's."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def _datasets_cache_folder(tmp_path_factory):
    # One for the session: the real images of a folder are converted once.
    return tmp_path_factory.mktemp("datasets-cache")


@pytest.fixture
def datasets_cache(_datasets_cache_folder, monkeypatch):
    """Folder where `load_dataset` keeps what it has converted."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", _datasets_cache_folder)
    return _datasets_cache_folder


def encoded_image(value: int) -> bytes:
    """A PNG of 4x4 pixels, all of the gray `value`."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, dtype=np.uint8), mode="L").save(buffer, format="PNG")
    return buffer.getvalue()


def write_image_folder(root: Path, counts: dict[str, int], start: int = 0) -> Path:
    """`<root>/<class>/<number>.png`; each image has a gray of its own, counted up from `start` in this order."""
    value = start
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / name / f"{number:03}.png").write_bytes(encoded_image(value))
            value += 1
    return root
