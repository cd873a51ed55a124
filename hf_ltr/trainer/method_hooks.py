"""
Hooks of a method that may draw random numbers: they draw a function of the seed, and the random state of the process,
from which a resumed run would start, stays where it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from ..methods import LongTailMethod
from ..methods.host import MethodHost
from ..models import LongTailForImageClassification
from .method_state import Progress


def begin_epoch(method: LongTailMethod, host: MethodHost, progress: Progress, epoch: int) -> None:
    """The method's `on_epoch`, once per epoch however often the run is interrupted in it."""
    if epoch >= progress.epochs_begun:
        # Of seed and epoch: the state of the generator differs in a run resumed between epochs.
        with _own_random_numbers(host.args.device, (host.args.seed * 1_000_003 + epoch) % 2**63):
            method.on_epoch(host, epoch)
        progress.epochs_begun = epoch + 1


def finalize(method: LongTailMethod, host: MethodHost) -> None:
    """The method's `finalize`; what only training needed is no part of the model any more."""
    with _own_random_numbers(host.args.device, host.args.seed):
        method.finalize(host)
    if isinstance(host.model, LongTailForImageClassification):
        host.model.drop_training_modules()


@contextlib.contextmanager
def _own_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
