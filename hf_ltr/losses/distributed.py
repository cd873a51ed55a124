"""Rows of all processes, with gradient: what a loss needs that mixes the samples of a batch."""

from __future__ import annotations

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
