"""What this machine computes natively."""

from __future__ import annotations

import torch


def accelerator_available() -> bool:
    """Whether torch sees any device that is not the CPU."""
    return torch.accelerator.is_available()


def native_bf16(use_cpu: bool) -> bool:
    """
    Whether bfloat16 matrix arithmetic runs in hardware: AVX512-BF16 or AMX on x86 processors, compute capability 8 or
    more on NVIDIA GPUs. Others are not known here: choose `mixed_precision_mode="bf16"` yourself. Emulated
    bfloat16 is slower than float32, so it is not chosen by itself.
    """
    if use_cpu or not accelerator_available():
        if hasattr(torch.cpu, "_is_avx512_bf16_supported") and torch.cpu._is_avx512_bf16_supported():
            return True
        return hasattr(torch.cpu, "_is_amx_tile_supported") and torch.cpu._is_amx_tile_supported()
    if torch.cuda.is_available():
        return torch.cuda.get_device_capability()[0] >= 8
    return False
