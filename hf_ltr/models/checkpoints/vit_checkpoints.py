"""Checkpoints of transformers' ViT and ViTMAE, read as a config and tensors of this package."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.utils import cached_file, logging

from ...reading import read_json
from ..position_embedding import sine_cosine_position_embedding
from .initial_weights import weights_of_checkpoint

logger = logging.get_logger(__name__)

# Model types of transformers whose encoder is a plain vision transformer with a class token.
VIT_MODEL_TYPES = ("vit_mae", "vit")

# Width, blocks, heads and patch size of timm's architectures, all with an MLP of four times the width.
_ARCHITECTURES = {
    (192, 12, 3, 16): "vit_tiny_patch16_224",
    (384, 12, 6, 16): "vit_small_patch16_224",
    (768, 12, 12, 16): "vit_base_patch16_224",
    (768, 12, 12, 32): "vit_base_patch32_224",
    (1024, 24, 16, 16): "vit_large_patch16_224",
    (1280, 32, 16, 14): "vit_huge_patch14_224",
}
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
# timm's transformers normalise with this under the root, as facebookresearch/mae does.
_TIMM_EPSILON = 1e-6

_PATCHES = re.compile(r"^(vit\.)?embeddings\.patch_embeddings\.projection\.weight$")
# Files hold the names of transformers 4, its models those of transformers 5.
_BLOCK = re.compile(r"^(?:vit\.)?(?:encoder\.layer|layers)\.(\d+)\.(.+)\.(weight|bias)$")
_DECODER_BLOCK = re.compile(r"^decoder\.(?:decoder_layers|decoder_encoder\.layer|layers)\.(\d+)\.(.+)\.(weight|bias)$")
_BLOCK_PARTS = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "attention.o_proj": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "mlp.fc1": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "mlp.fc2": "mlp.fc2",
}
_QUERY_KEY_VALUE = {
    "attention.attention.query": 0,
    "attention.q_proj": 0,
    "attention.attention.key": 1,
    "attention.k_proj": 1,
    "attention.attention.value": 2,
    "attention.v_proj": 2,
}
_OTHER_PARTS = {
    "embeddings.cls_token": "backbone.cls_token",
    "embeddings.position_embeddings": "backbone.pos_embed",
    "embeddings.patch_embeddings.projection.weight": "backbone.patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "backbone.patch_embed.proj.bias",
    "layernorm.weight": "backbone.norm.weight",
    "layernorm.bias": "backbone.norm.bias",
    "decoder.mask_token": "decoder.mask_token",
    "decoder.decoder_embed.weight": "decoder.embedding.weight",
    "decoder.decoder_embed.bias": "decoder.embedding.bias",
    "decoder.decoder_norm.weight": "decoder.norm.weight",
    "decoder.decoder_norm.bias": "decoder.norm.bias",
    "decoder.decoder_pred.weight": "decoder.prediction.weight",
    "decoder.decoder_pred.bias": "decoder.prediction.bias",
}
_DECODER_POSITIONS = "decoder.decoder_pos_embed"
# Heads of other tasks, and the mask token of another pretraining (whose decoder is one convolution).
_LEFT_BEHIND = re.compile(r"^(vit\.)?(pooler\.|embeddings\.mask_token$)|^classifier\.|^decoder\.\d+\.")


def is_vit_checkpoint(names: Iterable[str]) -> bool:
    """Whether these are the names of tensors of transformers' ViT or ViTMAE."""
    return any(_PATCHES.match(name) for name in names)


def knows_no_classes(config: PretrainedConfig) -> bool:
    """Whether only the encoder of a checkpoint with this config is used, so that its classes do not matter."""
    return any(name == "MaskedAutoencoder" or name.startswith("ViT") for name in config.architectures or [])


def convert_vit_config(stored: dict[str, Any], source: str, **hub: Any) -> dict[str, Any]:
    """
    The content of a `config.json` of transformers' ViT or ViTMAE as fields of [`LongTailConfig`].

    The backbone is timm's architecture of these sizes where there is one, else `vit_base_patch16_224` with the sizes
    in `backbone_kwargs`. Classes are not carried over: the weights are read as an encoder.

    Args:
        stored (`dict`): Content of `config.json`.
        source (`str`): Hub id or folder that it was read from, where `preprocessor_config.json` is looked for: its
            mean and standard deviation are those of the training. Without it, ImageNet's for a masked autoencoder
            and 0.5 for another ViT.
        hub: `revision`, `token`, `cache_dir` and other arguments of `transformers.utils.cached_file`.

    Returns:
        `dict`: Fields of [`LongTailConfig`], `initial_weights` and `architectures` among them.

    Raises:
        `ValueError`: naming what timm's vision transformer cannot express.
    """
    # A config.json leaves out what is transformers' default.
    defaults = CONFIG_MAPPING[stored["model_type"]]().to_dict()
    sizes = {**defaults, **stored}
    is_masked_autoencoder = stored["model_type"] == "vit_mae"
    width, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    patch_size, image_size = _side(source, "patch_size", sizes), _side(source, "image_size", sizes)
    if sizes["hidden_act"] != "gelu":
        raise ValueError(
            f"{source}: its activation is {sizes['hidden_act']!r}, but timm's vision transformers have 'gelu'"
        )
    if width % heads:
        raise ValueError(f"{source}: its width {width} is not divisible by its {heads} heads")
    if sizes["layer_norm_eps"] > 2 * _TIMM_EPSILON:
        logger.warning(
            f"{source} has layer_norm_eps={sizes['layer_norm_eps']:g}, timm's vision transformers {_TIMM_EPSILON:g}: "
            "their features differ slightly."
        )
    depth, mlp_ratio = sizes["num_hidden_layers"], sizes["intermediate_size"] / width
    backbone, arguments = _ARCHITECTURES.get((width, depth, heads, patch_size)), {}
    if backbone is None or mlp_ratio != 4:
        backbone, arguments = "vit_base_patch16_224", {"patch_size": patch_size, "depth": depth, "num_heads": heads}
        arguments |= {"embed_dim": width, "mlp_ratio": mlp_ratio}
    if not sizes["qkv_bias"]:
        arguments["qkv_bias"] = False
    fields = {
        "model_type": "long_tail",
        "architectures": stored.get("architectures") or ["ViTMAEModel" if is_masked_autoencoder else "ViTModel"],
        "backbone": backbone,
        "backbone_kwargs": arguments,
        "image_size": image_size,
        "num_channels": sizes["num_channels"],
        **_statistics(stored, source, sizes["num_channels"], hub),
        "initial_weights": weights_of_checkpoint(source, stored),
    }
    if is_masked_autoencoder:
        # Who reads features with transformers sets the ratio to 0; nothing can be pretrained so.
        masked = 0 < sizes["mask_ratio"] < 1
        fields["masked_autoencoder"] = {
            "mask_ratio": sizes["mask_ratio"] if masked else defaults["mask_ratio"],
            "norm_pix_loss": sizes["norm_pix_loss"],
            "decoder_dim": sizes["decoder_hidden_size"],
            "decoder_depth": sizes["decoder_num_hidden_layers"],
            "decoder_heads": sizes["decoder_num_attention_heads"],
        }
    for name in ("dtype", "torch_dtype"):
        if stored.get(name) is not None:
            fields[name] = stored[name]
    return fields


def convert_vit_tensors(tensors: dict[str, Tensor], grid: tuple[int, int] | None = None) -> dict[str, Tensor]:
    """
    Tensors of transformers' ViT or ViTMAE under the names of this package: query, key and value stacked into timm's
    `qkv`, the encoder as `backbone`, the decoder of a masked autoencoder as that of [`MaskedAutoencoder`].

    Args:
        tensors (`dict[str, Tensor]`): Under the names of transformers 4 (files) or 5 (models in memory), with or
            without the prefix `vit.`.
        grid (`tuple[int, int]`, *optional*): Patches per column and row. If given, a warning says when the decoder's
            table of position embeddings is not the fixed one, which [`MaskedAutoencoder`] computes by itself.

    Returns:
        `dict[str, Tensor]`: poolers, classifiers and the mask token of other pretrainings are left out; names that
        are not known are kept.

    Raises:
        `ValueError`: if query, key or value of a block is missing.
    """
    converted: dict[str, Tensor] = {}
    thirds: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        if name == _DECODER_POSITIONS:
            _check_decoder_positions(tensor, grid)
            continue
        if _LEFT_BEHIND.match(name):
            continue
        for pattern, place in ((_DECODER_BLOCK, "decoder"), (_BLOCK, "backbone")):
            match = pattern.match(name)
            if match:
                block, part, kind = match.groups()
                target = f"{place}.blocks.{block}"
                if part in _QUERY_KEY_VALUE:
                    thirds.setdefault(f"{target}.attn.qkv.{kind}", {})[_QUERY_KEY_VALUE[part]] = tensor
                else:
                    converted[f"{target}.{_BLOCK_PARTS.get(part, part)}.{kind}"] = tensor
                break
        else:
            converted[_OTHER_PARTS.get(name.removeprefix("vit."), name)] = tensor
    for name, parts in thirds.items():
        if sorted(parts) != [0, 1, 2]:
            lacking = [("query", "key", "value")[index] for index in range(3) if index not in parts]
            raise ValueError(f"the checkpoint has no {' and '.join(lacking)} for {name}")
        converted[name] = torch.cat([parts[index] for index in range(3)])
    return converted


def _side(source: str, name: str, sizes: dict[str, Any]) -> int:
    value = sizes[name]
    sides = value if isinstance(value, list | tuple) else [value]
    if len(set(sides)) != 1:
        raise ValueError(f"{source}: its {name} is {tuple(sides)}, but images and patches must be square")
    return int(sides[0])


def _statistics(stored: dict[str, Any], source: str, channels: int, hub: dict[str, Any]) -> dict[str, list[float]]:
    """Mean and standard deviation of the images that the checkpoint was trained with."""
    try:
        place = cached_file(
            str(Path(source).parent) if Path(source).is_file() else source, "preprocessor_config.json", **hub
        )
        processor = read_json(place, strict=False) if place else {}
    except (OSError, ValueError):
        processor = {}
    if all(len(processor.get(name) or ()) == channels for name in _IMAGENET):
        return {name: [float(value) for value in processor[name]] for name in _IMAGENET}
    return dict(_IMAGENET) if stored["model_type"] == "vit_mae" and channels == 3 else {}


def _check_decoder_positions(table: Tensor, grid: tuple[int, int] | None) -> None:
    if grid is None or table.ndim != 3 or table.shape[1] != 1 + grid[0] * grid[1]:
        return
    expected = sine_cosine_position_embedding(table.shape[2], *grid, num_prefix_tokens=1)
    if (table[0].float().cpu() - expected).abs().max() > 1e-2:
        logger.warning(
            "The decoder of this checkpoint was trained with other position embeddings than the fixed sine-cosine "
            "table that MaskedAutoencoder computes: its predictions begin worse than they were."
        )
