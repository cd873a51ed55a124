"""Small plain vision transformers for images of 16, 32 and 96 pixels, registered with timm."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer

# Name and image size.
SMALL_VISION_TRANSFORMERS = {"vit_pico_patch4_16": 16, "vit_tiny_patch4_32": 32, "vit_tiny_patch8_96": 96}


def vision_transformer_cfg(size: int, **fields: Any) -> dict[str, Any]:
    """What timm is told about a transformer for square images of one size; `fields` are what differs."""
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, size, size),
        "fixed_input_size": True,
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "first_conv": "patch_embed.proj",
        "classifier": "head",
        **fields,
    }


default_cfgs = generate_default_cfgs(
    {name: vision_transformer_cfg(size) for name, size in SMALL_VISION_TRANSFORMERS.items()}
)


def _create(variant: str, pretrained: bool, architecture: dict[str, Any], kwargs: dict[str, Any]) -> VisionTransformer:
    return build_model_with_cfg(VisionTransformer, variant, pretrained, **{**architecture, **kwargs})


@register_model
def vit_pico_patch4_16(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT for 16 pixel images: 16 patches of 4 pixels, width 96, 4 blocks of 3 heads (the quickstart's encoder)."""
    architecture = {"img_size": 16, "patch_size": 4, "embed_dim": 96, "depth": 4, "num_heads": 3}
    return _create("vit_pico_patch4_16", pretrained, architecture, kwargs)


@register_model
def vit_tiny_patch4_32(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT-Tiny (width 192, 12 blocks of 3 heads) for 32 pixel images: 64 patches of 4 pixels."""
    architecture = {"img_size": 32, "patch_size": 4, "embed_dim": 192, "depth": 12, "num_heads": 3}
    return _create("vit_tiny_patch4_32", pretrained, architecture, kwargs)


@register_model
def vit_tiny_patch8_96(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT-Tiny (width 192, 12 blocks of 3 heads) for 96 pixel images: 144 patches of 8 pixels."""
    architecture = {"img_size": 96, "patch_size": 8, "embed_dim": 192, "depth": 12, "num_heads": 3}
    return _create("vit_tiny_patch8_96", pretrained, architecture, kwargs)
