"""Processes and threads: what a launcher promised against what the run really has."""

from __future__ import annotations

import logging
import os

import torch

logger = logging.getLogger(__name__)


def available_cores() -> int:
    """Cores this process may use (its affinity mask, not the machine's total)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def check_world_size(num_processes: int) -> None:
    """
    Refuse a run in which a launcher started several processes that do not know of each other.

    Each of them would train on all the rows and write to the same folder.

    Raises:
        `RuntimeError`: when `WORLD_SIZE` and the number of processes in the distributed state differ.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched > 1 and num_processes == 1:
        raise RuntimeError(
            f"{launched} processes were launched (WORLD_SIZE={launched}) but this one believes it is alone, so each "
            "would train on everything. On a machine without GPUs start them with `torchrun --nproc_per_node "
            f"{launched} script.py --use_cpu`."
        )


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` summed over all processes, in place; itself where there is one process."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(tensor)
    return tensor


def set_cpu_threads(requested: int | None = None) -> int:
    """
    Give each local process its share of the cores.

    `accelerate launch` and `torchrun` export OMP_NUM_THREADS=1, which on a CPU leaves all other cores idle. Threads
    are raised only where that happened (or where a number is requested); any other setting is the user's.

    Args:
        requested (`int`, *optional*): Threads of this process.

    Returns:
        `int`: threads in use.
    """
    launched = any(name in os.environ for name in ("LOCAL_RANK", "ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"))
    pinned = os.environ.get("OMP_NUM_THREADS") == "1" and torch.get_num_threads() == 1
    if requested is not None:
        torch.set_num_threads(requested)
    elif launched and pinned:
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(max(1, available_cores() // local_processes))
    return torch.get_num_threads()
