"""What this machine computes natively, what it emulates and at which price, and what a run really used."""

from __future__ import annotations

import functools
import math
import os
import time
import warnings
from typing import Any

import torch
from torch.nn import functional as F

HALF_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Levels of these variables at which bfloat16 is not computed in hardware, whatever the processor could do.
_ATEN_LIMITS = ("default", "avx2")
_ONEDNN_NATIVE = ("BF16", "FP16", "AMX", "AVX10", "DEFAULT", "ALL")
_WARN_FROM = 1.1
_PROBE_SECONDS = 0.2


def accelerator_available() -> bool:
    """Whether torch sees any device that is not the CPU."""
    return torch.accelerator.is_available()


def native_bf16(use_cpu: bool) -> bool:
    """
    Whether bfloat16 matrix arithmetic runs in hardware: AVX512-BF16 or AMX on x86 processors, compute capability 8 or
    more on NVIDIA GPUs. Others are not known here: choose `mixed_precision_mode="bf16"` yourself. Emulated
    bfloat16 is slower than float32, so it is not chosen by itself. A processor that ATEN_CPU_CAPABILITY or
    ONEDNN_MAX_CPU_ISA holds below AVX512-BF16 counts as one without it.
    """
    if use_cpu or not accelerator_available():
        if _held_below_bf16():
            return False
        if hasattr(torch.cpu, "_is_avx512_bf16_supported") and torch.cpu._is_avx512_bf16_supported():
            return True
        return hasattr(torch.cpu, "_is_amx_tile_supported") and torch.cpu._is_amx_tile_supported()
    if torch.cuda.is_available():
        return torch.cuda.get_device_capability()[0] >= 8
    return False


def wanted_precision(mode: str, use_cpu: bool) -> str:
    """
    What `mixed_precision_mode` comes to here: `"no"`, `"bf16"` or `"fp16"`. `"auto"` is what the launcher asks for,
    else bfloat16 where it is native.

    Raises:
        `ValueError`: if a launcher asks for something else.
    """
    if mode != "auto":
        return mode
    launcher = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launcher != "no" and launcher not in HALF_PRECISIONS:
        raise ValueError(
            f"The launcher asks for mixed precision {launcher!r}; this trainer computes in no, bf16, fp16. Launch "
            "with one of them, or set mixed_precision_mode."
        )
    return "bf16" if launcher == "no" and native_bf16(use_cpu) else launcher


def _held_below_bf16() -> bool:
    isa = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "DEFAULT").upper()
    capability = os.environ.get("ATEN_CPU_CAPABILITY", "").lower()
    return capability in _ATEN_LIMITS or not any(name in isa for name in _ONEDNN_NATIVE)


def _known_native(precision: str, device: torch.device) -> bool:
    if precision == "bf16":
        return native_bf16(use_cpu=device.type == "cpu")
    return device.type == "cuda"


def used_precisions(args: Any) -> tuple[str, str]:
    """`(training, evaluation)`: `"bf16"`, `"fp16"`, `"float32"`, or `"bf16 weights"` where those are rounded too."""
    training = args.mixed_precision if args.mixed_precision in HALF_PRECISIONS else "float32"
    rounded = "bf16" if args.bf16_full_eval else "fp16" if args.fp16_full_eval else None
    return training, f"{rounded} weights" if rounded else training


def used_memory_format(args: Any) -> str:
    """Of the weights: the name of a `torch.memory_format`."""
    return "channels_last" if args.channels_last and args.device.type in ("cpu", "cuda") else "contiguous_format"


def computation(args: Any, *, evaluation: bool = False) -> dict[str, str]:
    """
    How a run with these arguments computes, for its record: what decides about the last bits of its numbers.

    Args:
        args ([`LongTailTrainingArguments`]).
        evaluation (`bool`, defaults to `False`): Of an evaluation, not of training.

    Returns:
        `dict`: `precision`, `memory_format` (`"channels_last"` or `"contiguous_format"`), `device` (its type) and
        `capability`, the instruction set of the kernels (`"AVX2"`) or a GPU's compute capability.
    """
    device = args.device
    return {
        "precision": used_precisions(args)[evaluation],
        "memory_format": used_memory_format(args),
        "device": device.type,
        "capability": _capability(device),
    }


def _capability(device: torch.device) -> str:
    if device.type == "cuda":
        return ".".join(map(str, torch.cuda.get_device_capability(device)))
    if device.type != "cpu":
        return "unknown"
    isa = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA")
    return torch.backends.cpu.get_cpu_capability() + (f", oneDNN {isa.upper()}" if isa else "")


def warn_of_emulation(args: Any) -> None:
    """Say, once per process, what a precision costs that was asked for and that this machine has to emulate."""
    for precision in {name.split()[0] for name in used_precisions(args)} & HALF_PRECISIONS.keys():
        if _known_native(precision, args.device):
            continue
        factor = slowdown(precision, args.device, torch.get_num_threads())
        if factor >= _WARN_FROM and args.process_index == 0 and precision not in _warned:
            _warned.add(precision)
            warnings.warn(
                f"{precision} is emulated on this machine ({args.device.type}, {_capability(args.device)}): a step of "
                f"a small convolutional network took {factor:.1f} times as long as in float32, measured just now. "
                "mixed_precision_mode='auto' takes what is native.",
                stacklevel=3,
            )


_warned: set[str] = set()


@functools.cache
def slowdown(precision: str, device: torch.device, threads: int) -> float:
    """
    Time of a small convolutional step in `precision` over that in float32, measured in some hundred milliseconds.

    Args:
        precision (`str`): `"bf16"` or `"fp16"`.
        device (`torch.device`).
        threads (`int`): In use on the CPU; another number is measured again.
    """
    # Neither random numbers nor gradients of anybody are touched.
    images = torch.linspace(-1, 1, 8 * 16 * 256, device=device).view(8, 16, 16, 16)
    images = images.contiguous(memory_format=torch.channels_last)
    weights = [
        torch.linspace(-0.1, 0.1, 32 * channels * 9, device=device).view(32, channels, 3, 3).requires_grad_()
        for channels in (16, 32)
    ]
    times: dict[Any, float] = {}
    began = time.perf_counter()
    # In turns, and the best of each: other processes disturb both alike. The first round warms up.
    while len(times) < 2 or time.perf_counter() - began < _PROBE_SECONDS:
        for dtype in (None, HALF_PRECISIONS[precision]):
            times[dtype] = min(times.get(dtype, math.inf), _step_seconds(images, weights, dtype))
    return times[HALF_PRECISIONS[precision]] / times[None]


def _step_seconds(images: torch.Tensor, weights: list[torch.Tensor], dtype: torch.dtype | None) -> float:
    device = images.device
    began = time.perf_counter()
    features = images
    with torch.enable_grad():
        with torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            for weight in weights:
                features = F.relu(F.conv2d(features, weight, padding=1))
        torch.autograd.grad(features.float().mean(), weights)
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - began
