"""What a training run took: steps, memory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from ..files import write_json

TRAINING_FILE = "training.json"
COST_FILE = "cost.json"


class TrainingMeasures(TrainerCallback):
    """Writes steps and peak memory of a stage into its folder when its training ends."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        reset_peak_memory(args.device)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            record = {"steps": state.global_step, "peak_memory": peak_memory(args.device)}
            write_json(Path(args.output_dir) / TRAINING_FILE, record)


def reset_peak_memory(device: torch.device) -> None:
    """Start to measure; on a CPU where the system allows it (Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        # 5 resets the high-water mark of the resident set (proc(5)).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


def peak_memory(device: torch.device) -> dict[str, Any]:
    """
    The most memory used since [`reset_peak_memory`].

    Returns:
        `dict`: `bytes`, and `kind`: on a GPU what tensors took, else the resident set of the whole process, which
            contains Python, the libraries and the decoded images.
    """
    if device.type == "cuda":
        return {"bytes": torch.cuda.max_memory_allocated(device), "kind": "tensors on the GPU"}
    return {"bytes": _status("VmHWM"), "kind": "resident set of the process"}


def resident_memory() -> int:
    """Bytes of this process that are in memory now (where the system does not say, the most there ever were)."""
    return _status("VmRSS")


def _status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        import resource  # not on Windows

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most  # macOS counts bytes
