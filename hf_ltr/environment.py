"""Where and with what a run was made, for cards and metadata."""

from __future__ import annotations

import datetime
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from .version import __version__

PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "accelerate",
    "datasets",
    "timm",
    "huggingface_hub",
    "safetensors",
    "numpy",
)


def provenance() -> dict[str, Any]:
    """With what, from which commit and when something is made, for a file of results."""
    return {
        "hardware": hardware(),
        "versions": package_versions(),
        "commit": git_commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def package_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """
    The installed versions of `packages` and of Python, read from their metadata without importing them, and of hf_ltr
    itself. A package that is not installed is absent.
    """
    versions = {"python": platform.python_version(), "hf_ltr": __version__}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def hardware() -> str:
    """
    The machine in one line: GPUs with memory if PyTorch sees any, else the processor, with the cores this process may
    use. Example: `"2 cores of Intel(R) Xeon(R) Platinum 8481C"`, `"1 x NVIDIA H100 80GB HBM3 (79 GiB)"`.
    """
    import torch

    from .distributed import available_cores

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        memory = properties.total_memory / 2**30
        return f"{torch.cuda.device_count()} x {properties.name} ({memory:.0f} GiB)"
    return f"{available_cores()} cores of {_processor()}"


def _processor() -> str:
    """The processor's marketing name on Linux, the platform's own words elsewhere."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def git_commit() -> str | None:
    """
    The commit checked out in the current folder or, where that is in no working tree, in the checkout that this
    package is run from, with `-dirty` behind it when tracked files differ from it; `None` where there is none.
    """
    commit = _commit_of(Path.cwd())
    here = Path(__file__)
    # A package installed below somebody's repository is not part of it: only a tracked file is.
    if commit is None and _git(here.parent, "ls-files", "--error-unmatch", here.name) is not None:
        commit = _commit_of(here.parent)
    return commit


def _commit_of(folder: Path) -> str | None:
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    return f"{commit}-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails or is not there."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
