"""
Learned and random augmentation policies (AutoAugment, RandAugment), applied image by image on the CPU.

Policies choose different operations for different images, so they cannot be batched. They take their random numbers
from global generators; here these are seeded from the image's key before each image and restored after the batch, so
that the result is a function of the key and the caller's random states are untouched.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torchvision.transforms import v2

from ...validation import choice
from ..randomness import KEY_MASK, STREAM_POLICY, bits

AUTOAUGMENT_POLICIES = ("cifar10", "imagenet", "svhn")


@contextmanager
def isolated_random_state() -> Iterator[Callable[[int], None]]:
    """
    Yields a function `seed(value)` that seeds Python's, numpy's and torch's CPU generators; on exit all three are as
    they were before.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def seed(value: int) -> None:
        random.seed(value)
        np.random.seed(value & 0xFFFFFFFF)
        torch.default_generator.manual_seed(value)  # torch.manual_seed would touch the accelerators, too

    try:
        yield seed
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@lru_cache(maxsize=16)
def autoaugment_policy(policy: str = "cifar10") -> Callable:
    """
    AutoAugment (Cubuk et al., CVPR 2019), torchvision's implementation on uint8 tensors.

    Args:
        policy: `"cifar10"`, `"imagenet"` or `"svhn"`.
    """
    choice("AutoAugment policy", policy, AUTOAUGMENT_POLICIES)
    return v2.AutoAugment(v2.AutoAugmentPolicy(policy))


@lru_cache(maxsize=16)
def randaugment_policy(
    policy: str | None = "rand-m9-mstd0.5-inc1",
    num_ops: int = 2,
    magnitude: int = 9,
    interpolation: str = "bicubic",
    image_mean: tuple[float, ...] = (0.485, 0.456, 0.406),
    image_side: int = 224,
) -> Callable:
    """
    RandAugment (Cubuk et al., NeurIPS 2020).

    Args:
        policy (`str`, *optional*): A timm configuration string; the default is MAE's fine-tuning recipe. With `None`,
            torchvision's RandAugment with `num_ops` and `magnitude` is used instead. They differ: timm applies each
            operation with probability 1/2 and jitters the magnitude (`mstd`).
        num_ops, magnitude (`int`): For `policy=None`.
        interpolation, image_mean, image_side: As timm's `create_transform` hands them on: translations up to 0.45 of
            the side, uncovered areas filled with the mean colour.
    """
    if policy is None:
        return v2.RandAugment(num_ops=num_ops, magnitude=magnitude)
    if not policy.startswith("rand"):
        raise ValueError(f"a RandAugment policy is a timm string such as 'rand-m9-mstd0.5-inc1', got {policy!r}")
    hyperparameters = {
        "translate_const": int(image_side * 0.45),
        "img_mean": tuple(min(255, round(255 * value)) for value in image_mean),
        "interpolation": Image.Resampling[interpolation.upper()],
    }
    transform = rand_augment_transform(policy, hyperparameters)

    def apply(image: torch.Tensor) -> torch.Tensor:
        channels = image.shape[0]
        array = image.permute(1, 2, 0).numpy() if channels > 1 else image[0].numpy()
        # Gray images pass through RGB: timm fills and blends with three-channel colours.
        result = transform(Image.fromarray(np.ascontiguousarray(array)).convert("RGB"))
        result = np.array(result if channels == 3 else result.convert("L"))
        return torch.from_numpy(result).reshape(*image.shape[1:], channels).permute(2, 0, 1)

    return apply


def apply_policy(images: torch.Tensor, policy: Callable, keys: torch.Tensor, seed: int, view: int = 0) -> torch.Tensor:
    """
    Apply a policy to each image with the random numbers of its key.

    Args:
        images (`torch.Tensor` uint8 `(B, C, H, W)`): On the CPU, 1 or 3 channels.
        policy: From `autoaugment_policy` or `randaugment_policy`.
        keys (`torch.Tensor` int64 `(B,)`), seed (`int`), view (`int`): See `randomness.py`.
    """
    if images.device.type != "cpu" or images.dtype != torch.uint8:
        raise ValueError(f"policies work on uint8 images on the CPU, got {images.dtype} on {images.device}")
    if images.shape[1] not in (1, 3):
        raise ValueError(f"policies work on gray or RGB images, got {images.shape[1]} channels")
    seeds = (bits(keys.cpu(), seed, STREAM_POLICY + view, 1)[:, 0] & KEY_MASK).tolist()
    result = torch.empty_like(images)
    with isolated_random_state() as seed_all:
        for place, image, image_seed in zip(result, images, seeds, strict=True):
            seed_all(image_seed)
            place.copy_(policy(image))
    return result
