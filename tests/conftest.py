"""Shared fixtures. Everything runs offline; images outside the repository are optional and reported when missing."""

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# What is remembered of checked images is the user's own as well.
os.environ["HF_LTR_CACHE"] = tempfile.mkdtemp(prefix="hf-ltr-tests-")
atexit.register(shutil.rmtree, os.environ["HF_LTR_CACHE"], ignore_errors=True)
# A shell starts what it puts into the background with Ctrl-C ignored, which everything below would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Tiny tensors: a second thread only waits for the first, and the suite runs one worker per core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Datasets loaded from folders are cached by content; a suite must neither read nor fill the user's cache.
os.environ.setdefault("MPLBACKEND", "Agg")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with cifar100/, cifar100_if10/, grocery96/, lists/; set HF_LTR_SHARED to the folder above `data`."""
    root = Path(os.environ.get("HF_LTR_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not (root / "cifar100").is_dir():
        pytest.skip(f"real images not found under {root}; set HF_LTR_SHARED to the folder that holds data/cifar100")
    return root
