"""Sizes of what a backbone computes, measured without allocating weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from transformers.initialization import meta_device_safe_creation_ops

from .backbone import BackboneFields, backbone_arguments, create_backbone, extract_features, native_settings
from .size_limits import LARGEST_IMAGE_TRIED, MOST_PARAMETERS_TRIED, MOST_TOKENS, TooLarge, limited_size


@dataclass(frozen=True)
class BackboneShape:
    """
    Sizes of what a backbone computes from one image.

    Args:
        feature_dim (`int`): Length of the pooled feature vector that the classifier reads.
        token_dim (`int`): Length of one token: the width of a transformer, the channels of the last map of a CNN.
        num_tokens (`int`): Tokens of an image, prefix tokens included.
        num_prefix_tokens (`int`): Class and register tokens in front of the patch tokens.
    """

    feature_dim: int
    token_dim: int
    num_tokens: int
    num_prefix_tokens: int


def backbone_shape(config: BackboneFields) -> BackboneShape:
    """
    Sizes of the backbone that a [`LongTailConfig`] describes, measured once per process without allocating weights.

    Raises:
        `ValueError`: if the backbone cannot be created or cannot take images of `config.image_size` pixels.
    """
    arguments = backbone_arguments(config)
    # Drop rates change no size, and leaving them out shares the measurement.
    for name in ("drop_rate", "drop_path_rate"):
        arguments.pop(name, None)
    return _cached_shape(config.backbone, json.dumps(arguments, sort_keys=True), config.image_size)


def _measure(name: str, arguments: dict[str, Any], image_size: int, device: str) -> BackboneShape:
    channels = arguments.get("in_chans", 3)
    with torch.device(device), torch.no_grad(), meta_device_safe_creation_ops(), torch.random.fork_rng(devices=[]):
        backbone, _ = create_backbone(name, arguments, num_labels=2)
        backbone.eval()
        _check_patches(name, backbone, image_size)
        images = torch.zeros(1, channels, image_size, image_size, dtype=torch.get_default_dtype())
        features, tokens = extract_features(backbone, images, with_tokens=True)
        assert tokens is not None
    if features.ndim != 2:
        raise ValueError(
            f"backbone {name!r} returns features of shape {tuple(features.shape)[1:]} per image instead of a vector; "
            "set global_pool to a pooling it knows, for example 'avg'"
        )
    if tokens.shape[1] > MOST_TOKENS:
        raise TooLarge(
            f"backbone {name!r} would cut an image of {image_size} pixels into {tokens.shape[1]:,} patches, and at "
            f"most {MOST_TOKENS:,} are computed here: take smaller images or larger patches"
        )
    return BackboneShape(
        features.shape[1], tokens.shape[2], tokens.shape[1], getattr(backbone, "num_prefix_tokens", 0)
    )


@lru_cache(maxsize=128)
def _cached_shape(name: str, arguments_json: str, image_size: int) -> BackboneShape:
    arguments = json.loads(arguments_json)
    try:
        return _measure(name, arguments, image_size, device="meta")
    except TooLarge:
        raise
    except Exception:
        # Some architectures compute with values at construction, which the meta device has not; on the CPU only a
        # real mistake fails.
        pass
    if image_size > LARGEST_IMAGE_TRIED:
        raise ValueError(_size_error(name, image_size, "more are not tried out with this architecture"))
    try:
        with limited_size(f"backbone {name!r}", MOST_PARAMETERS_TRIED):
            return _measure(name, arguments, image_size, device="cpu")
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(_size_error(name, image_size, error)) from error


def _check_patches(name: str, backbone: nn.Module, image_size: int) -> None:
    """timm cuts off the pixels that do not fill a patch without a word; here that is an error."""
    patch_size = getattr(getattr(backbone, "patch_embed", None), "patch_size", None)
    if patch_size is None:
        return
    sides = patch_size if isinstance(patch_size, (tuple, list)) else (patch_size,)
    if any(image_size % side for side in sides):
        lower = image_size - image_size % sides[0]
        nearest = [size for size in (lower, lower + sides[0]) if size]
        raise ValueError(
            _size_error(
                name,
                image_size,
                f"its patches of {sides[0]} pixels do not divide them (they divide {' and '.join(map(str, nearest))})",
            )
        )


def _size_error(name: str, image_size: int, error: object) -> str:
    native = native_settings(name)["image_size"]
    reason = str(error).strip().rstrip(".") or type(error).__name__
    return (
        f"backbone {name!r} cannot take images of {image_size} pixels: {reason}. Its own image size is {native}; use "
        "that, a multiple of its patch (and window) size, or another backbone."
    )
