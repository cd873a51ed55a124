"""
Processes and threads: what a launcher promised against what the run really has, sums and rows of all processes.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _GatherRows(torch.autograd.Function):
    """All-gather of padded blocks; the backward pass adds the processes' gradients and hands each its own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int], rank: int) -> Tensor:
        ctx.start, ctx.size = sum(sizes[:rank]), sizes[rank]
        # Collectives need equal shapes; torch.distributed has no gather of uneven rows on every backend.
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: rows.shape[0]] = rows
        blocks = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(blocks, padded)
        return torch.cat([block[:size] for block, size in zip(blocks, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[ctx.start : ctx.start + ctx.size], None, None


def gather_rows(tensor: Tensor) -> Tensor:
    """
    The rows of all processes, in rank order; the tensor itself where there is one process.

    Batch sizes may differ between the processes, and one may have no row. The backward pass is the derivative of the
    *sum* of all processes' losses: when every process computes the same loss of the gathered rows, the gradient of its
    own rows is world-size times that of the loss, and DDP's averaging of the parameter gradients makes it exact.

    Sizes are exchanged first, which reads a few integers to the host: once per step in batch-coupled losses only.

    Args:
        tensor (`torch.Tensor` of shape `(rows, ...)`): Same type and trailing shape on all processes. Integer tensors
            (labels) are gathered without gradient.

    Returns:
        `torch.Tensor` of shape `(rows of all processes, ...)`.
    """
    if tensor.ndim == 0:
        raise ValueError("`gather_rows` gathers along the first dimension and got a tensor without dimensions.")
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensor
    own_size = torch.tensor([tensor.shape[0]], dtype=torch.int64, device=tensor.device)
    sizes = [torch.empty_like(own_size) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, own_size)
    return _GatherRows.apply(tensor, torch.cat(sizes).tolist(), dist.get_rank())


def available_cores() -> int:
    """Cores this process may use (its affinity mask, not the machine's total)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def check_world_size(num_processes: int) -> None:
    """
    Refuse a run in which a launcher started several processes (`WORLD_SIZE`) that do not know of each other: each of
    them would train on all the rows and write to the same folder.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched > 1 and num_processes == 1:
        raise RuntimeError(
            f"{launched} processes were launched (WORLD_SIZE={launched}) but this one believes it is alone, so each "
            "would train on everything. On a machine without GPUs start them with `torchrun --nproc_per_node "
            f"{launched} script.py --use_cpu`."
        )


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """`tensor` summed over all processes, in place; itself where there is one process."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(tensor)
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
