"""The terms of a loss: exact means over micro-batches and processes, and their log."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist

from ..methods import LongTailMethod
from ..methods.batch import Batch, sample_weights

ROWS = "rows"
_SCALE = "term_scale"


def attach_term_scales(method: LongTailMethod, batches: list[Batch], world_size: int) -> None:
    """
    Give every micro-batch of one optimizer step the factor of each of its terms.

    A term is a mean over its mass. Its factor is `mass of the micro-batch x world size / mass of the whole step`, so
    that the sum over micro-batches and DDP's average over processes together give the mean over the whole step,
    however it was cut. A term whose mass is 0 everywhere gets factor 0. Nothing is read back to the host.

    Args:
        method ([`LongTailMethod`]).
        batches (`list[dict]`): All micro-batches of the step on this process; changed in place.
        world_size (`int`): Number of processes.
    """
    masses = []
    for batch in batches:
        named = {ROWS: sample_weights(batch).sum()}
        named.update(method.term_mass(batch))
        # Shares of a whole must add up to it: double precision wherever the device has it.
        dtype = torch.float32 if named[ROWS].device.type == "mps" else torch.float64
        masses.append({name: mass.detach().to(dtype) for name, mass in named.items()})
    if not masses:
        return
    names = list(masses[0])
    local = torch.stack([torch.stack([mass[name] for name in names]) for mass in masses])
    total = local.sum(dim=0)
    if world_size > 1:
        dist.all_reduce(total)
    factors = torch.where(total > 0, local * world_size / torch.where(total > 0, total, 1.0), 0.0)
    for batch, row in zip(batches, factors, strict=True):
        batch[_SCALE] = dict(zip(names, row.unbind(), strict=True))


def scaled_sum(terms: dict[str, torch.Tensor], batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """
    The loss of a micro-batch and each term's share of the step's mean.

    Terms named `log/...` are averaged like the others but not added to the loss.
    """
    scales = batch[_SCALE]
    unknown = scales.keys() - terms.keys() - {ROWS}
    if unknown:
        raise ValueError(f"term_mass names {sorted(unknown)}, but training_loss returned the terms {sorted(terms)}")
    shares = {name: value * scales.get(name, scales[ROWS]).to(value.dtype) for name, value in terms.items()}
    loss = sum(share for name, share in shares.items() if not name.startswith("log/"))
    return loss, {name: share.detach() for name, share in shares.items()}


class TermLog:
    """
    Sums of the terms over the optimizer steps since the last log, kept on the device.

    Args:
        step (`int`, defaults to 0): The optimizer step after which it begins.
    """

    def __init__(self, step: int = 0):
        self.begun = step
        self._sums: dict[str, torch.Tensor] = {}

    def add(self, shares: dict[str, torch.Tensor]) -> None:
        """Add the shares of a micro-batch; a single term is the loss itself, which is logged anyway."""
        if len(shares) > 1:
            for name, share in shares.items():
                previous = self._sums.get(name)
                self._sums[name] = share if previous is None else previous + share

    def means(self, step: int, world_size: int) -> dict[str, float]:
        """Of every term over the steps up to `step` and all processes, by the name under which it is logged."""
        steps = step - self.begun
        if not self._sums or steps <= 0:
            return {}
        sums = torch.stack(list(self._sums.values()))
        if world_size > 1:
            dist.all_reduce(sums)
            sums /= world_size
        means = zip(self._sums, (sums / steps).tolist(), strict=True)
        return {name if name.startswith("log/") else f"loss/{name}": value for name, value in means}


def require_finite(loss: float, step: int, folder: str) -> None:
    """Refuse to go on with a loss that is no number any more."""
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"The training loss is {loss} at step {step}. Checkpoints written before are in {folder}. Lower "
            "learning_rate, lengthen warmup_epochs or set mixed_precision_mode='no'."
        )
