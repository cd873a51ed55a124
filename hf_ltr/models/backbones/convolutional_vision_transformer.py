"""Vision transformers behind convolutional stages (ConvMAE's encoder), registered with timm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any, Literal

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import DropPath, resample_abs_pos_embed
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from .convolutional_patch_embedding import ConvolutionalPatchEmbed
from .vision_transformers import vision_transformer_cfg

CONVOLUTIONAL_VISION_TRANSFORMERS = ("convvit_tiny_patch4_32", "convvit_base_patch16_224")


class ConvolutionalVisionTransformer(VisionTransformer):
    """
    The encoder of ConvMAE (Gao et al. 2022, "ConvMAE: Masked Convolution Meets Masked Autoencoders", arXiv
    2205.03892), which MEM calls CVit: stages of masked depthwise convolutions, then a vision transformer without
    class token on their output.

    It is timm's `VisionTransformer` with [`ConvolutionalPatchEmbed`] for its patch embedding, so layer-wise decay
    (convolutional stages at the rate of the embeddings, block i at `i + 1`, as in the published code), pooling,
    checkpointing and feature extraction are timm's. Classification uses the mean of the tokens, `fc_norm` and a linear
    head; the multi-scale fusion of the paper belongs to pretraining alone and lives in [`MaskedAutoencoder`].

    Stochastic depth rises linearly over all blocks, the convolutional ones included. Initial values follow the
    published code: those of timm for linear layers and position embeddings, torch's for convolutions.

    Args:
        img_size (`int` or pair, *optional*, defaults to 224): Pixels per side, or height and width.
        patch_sizes (sequence of `int`, *optional*, defaults to `(4, 2, 2)`): Reduction of every convolutional stage
            and, last, of the embedding before the transformer; a token covers their product.
        in_chans (`int`, *optional*, defaults to 3): Channels of the images.
        num_classes (`int`, *optional*, defaults to 1000): Outputs of the head; 0 for none.
        global_pool (`str`, *optional*, defaults to `"avg"`): `"avg"`, `"avgmax"`, `"max"`, `"map"` or `""`.
        stage_dims (sequence of `int`, *optional*, defaults to `(256, 384)`): Channels of the convolutional stages.
        stage_depths (sequence of `int`, *optional*, defaults to `(2, 2)`): Their blocks.
        embed_dim (`int`, *optional*, defaults to 768): Width of the transformer.
        depth (`int`, *optional*, defaults to 11): Its blocks.
        num_heads (`int`, *optional*, defaults to 12): Its attention heads.
        mlp_ratio (`float`, *optional*, defaults to 4.0): Hidden width of every block's perceptron over its width.
        qkv_bias (`bool`, *optional*, defaults to `True`): Whether queries, keys and values have a bias.
        fc_norm (`bool`, *optional*): Norm after pooling instead of before it; by default for mean and maximum pooling.
        drop_rate (`float`, *optional*, defaults to 0.0): Dropout before the head.
        pos_drop_rate (`float`, *optional*, defaults to 0.0): Dropout after the position embedding.
        proj_drop_rate (`float`, *optional*, defaults to 0.0): Dropout in perceptrons and after attention.
        attn_drop_rate (`float`, *optional*, defaults to 0.0): Dropout on attention weights.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last block.

    Raises:
        `ValueError`: if the stages are not described in equal numbers, or for a pooling that needs a class token.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_sizes: Sequence[int] = (4, 2, 2),
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: Literal["", "avg", "avgmax", "max", "token", "map"] = "avg",
        stage_dims: Sequence[int] = (256, 384),
        stage_depths: Sequence[int] = (2, 2),
        embed_dim: int = 768,
        depth: int = 11,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        fc_norm: bool | None = None,
        drop_rate: float = 0.0,
        pos_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        if not len(stage_dims) == len(stage_depths) == len(patch_sizes) - 1:
            raise ValueError(
                "a convolutional vision transformer needs one entry per stage in stage_dims and stage_depths, and one "
                f"more in patch_sizes, not {len(stage_dims)}, {len(stage_depths)} and {len(patch_sizes)}"
            )
        if global_pool == "token":
            raise ValueError("a convolutional vision transformer has no class token; use global_pool='avg'")
        rates = torch.linspace(0, drop_path_rate, sum(stage_depths) + depth, device="cpu").tolist()
        stage_rates = [
            rates[sum(stage_depths[:index]) : sum(stage_depths[: index + 1])] for index in range(len(stage_depths))
        ]

        def embed(img_size: int | tuple[int, int], in_chans: int, embed_dim: int, **unused: Any) -> nn.Module:
            return ConvolutionalPatchEmbed(
                img_size,
                patch_sizes=patch_sizes,
                stage_dims=stage_dims,
                in_chans=in_chans,
                embed_dim=embed_dim,
                mlp_ratio=mlp_ratio,
                drop=proj_drop_rate,
                drop_paths=stage_rates,
            )

        super().__init__(
            img_size=img_size,
            patch_size=prod(patch_sizes),
            in_chans=in_chans,
            num_classes=num_classes,
            global_pool=global_pool,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            class_token=False,
            fc_norm=fc_norm,
            drop_rate=drop_rate,
            pos_drop_rate=pos_drop_rate,
            proj_drop_rate=proj_drop_rate,
            attn_drop_rate=attn_drop_rate,
            embed_layer=embed,
        )
        # timm counts the blocks of the transformer alone.
        for block, rate in zip(self.blocks, rates[sum(stage_depths) :], strict=True):
            if rate > 0.0:
                block.drop_path1, block.drop_path2 = DropPath(rate), DropPath(rate)


# Parts of a convolutional block: published name, name here.
_BLOCK_PARTS = {"conv1": "conv_in", "attn": "depthwise", "conv2": "conv_out"}
# Of the published pretraining model, not of its encoder.
_PRETRAINING_ONLY = ("decoder_", "mask_token", "stage1_output_decode.", "stage2_output_decode.")
# Fine-tuning begins with new values of these where a checkpoint has none.
_FRESH = ("norm.", "fc_norm.", "head.")


def _own_name(name: str) -> str:
    """The name here of a parameter of Alpha-VL/ConvMAE (`patch_embed1` ... `blocks3`); own names stay as they are."""
    module, _, rest = name.partition(".")
    if module in ("patch_embed1", "patch_embed2"):
        return f"patch_embed.stages.{int(module[-1]) - 1}.{rest}"
    if module in ("blocks1", "blocks2"):
        block, part, rest = rest.split(".", 2)
        return f"patch_embed.stages.{int(module[-1]) - 1}.blocks.{block}.{_BLOCK_PARTS.get(part, part)}.{rest}"
    prefix = {"patch_embed3": "patch_embed", "patch_embed4": "patch_embed.linear", "blocks3": "blocks"}.get(module)
    return name if prefix is None else f"{prefix}.{rest}"


def convert_released_checkpoint(
    state_dict: dict[str, Any], model: ConvolutionalVisionTransformer
) -> dict[str, Tensor]:
    """
    Weights of Alpha-VL/ConvMAE (MIT), pretrained or fine-tuned, under the names of this file.

    `model.backbone.load_state_dict(convert_released_checkpoint(torch.load(file, weights_only=True), model.backbone))`
    starts from a file. The decoder and the fusion of a pretrained model are left behind, position embeddings are
    resampled to the model's grid, and a norm or head that the checkpoint has not keeps its initial values.
    """
    state_dict = state_dict.get("model", state_dict)
    own = model.state_dict()
    converted = {_own_name(key): value for key, value in state_dict.items() if not key.startswith(_PRETRAINING_ONLY)}
    converted = {key: value for key, value in converted.items() if key in own or not key.startswith(_FRESH)}
    positions = converted.get("pos_embed")
    if positions is not None and positions.shape != own["pos_embed"].shape:
        converted["pos_embed"] = resample_abs_pos_embed(
            positions, new_size=list(model.patch_embed.grid_size), num_prefix_tokens=0
        )
    fresh = {key: value for key, value in own.items() if key.startswith(_FRESH) and key not in converted}
    return {**converted, **fresh}


_FIRST = "patch_embed.stages.0.proj"
_IMAGENET = {"crop_pct": 0.875, "mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
default_cfgs = generate_default_cfgs(
    {
        "convvit_tiny_patch4_32": vision_transformer_cfg(32, first_conv=_FIRST),
        "convvit_base_patch16_224": vision_transformer_cfg(224, first_conv=_FIRST, **_IMAGENET),
    }
)


_create = partial(
    build_model_with_cfg,
    ConvolutionalVisionTransformer,
    pretrained_filter_fn=convert_released_checkpoint,
    feature_cfg={"out_indices": 3, "feature_cls": "getter"},
)


@register_model
def convvit_tiny_patch4_32(pretrained: bool = False, **kwargs: Any) -> ConvolutionalVisionTransformer:
    """
    A narrow ConvViT for 32 pixel images: convolutional stages of 64 channels at 32 x 32 and 96 channels at 16 x 16
    positions, two blocks each, then 64 tokens of width 192, 11 blocks of 3 heads: the proportions of ConvMAE-B.
    """
    architecture = {
        "img_size": 32,
        "patch_sizes": (1, 2, 2),
        "stage_dims": (64, 96),
        "stage_depths": (2, 2),
        "embed_dim": 192,
        "depth": 11,
        "num_heads": 3,
    }
    return _create("convvit_tiny_patch4_32", pretrained, **{**architecture, **kwargs})


@register_model
def convvit_base_patch16_224(pretrained: bool = False, **kwargs: Any) -> ConvolutionalVisionTransformer:
    """
    ConvMAE-B, MEM's "CVit-Base", for 224 pixel images: convolutional stages of 256 channels at 56 x 56 and 384
    channels at 28 x 28 positions, two blocks each, then 196 tokens of width 768, 11 blocks of 12 heads. 85.4 M
    parameters with 1000 classes; the 88 M of the paper count the fusion of pretraining (4.3 M) and no head.
    """
    return _create("convvit_base_patch16_224", pretrained, **kwargs)
