"""
What loading a checkpoint changes in its tensors: names of other libraries, and position embeddings of another size.

`LongTailPreTrainedModel` calls `convert_checkpoint` where transformers has found the files and before it reads them
into the model, so that all that `from_pretrained` can do (revisions, shards, types, devices, reports) stays its own.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import Any

import torch
from safetensors import safe_open
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from transformers import PreTrainedModel
from transformers.initialization import meta_device_safe_creation_ops
from transformers.modeling_utils import load_state_dict
from transformers.utils import logging

from ..backbone import BackboneFields, backbone_arguments, create_backbone
from ..position_embedding import resample_position_embedding
from .vit_checkpoints import convert_vit_tensors, is_vit_checkpoint

logger = logging.get_logger(__name__)

_POSITIONS = "backbone.pos_embed"
_PATCHES = "backbone.patch_embed."
# What decides whether the weights of one vision transformer mean the same in another.
_SIZES = ("type", "width", "blocks", "heads", "MLP width", "patch size", "prefix tokens")

# Arguments of timm that change no weight, or only the position embeddings and the norm behind the pooling.
_NO_ARCHITECTURE = ("drop_rate", "drop_path_rate", "global_pool", "img_size")


def convert_checkpoint(
    model: PreTrainedModel,
    state_dict: dict[str, Tensor] | None,
    checkpoint_files: list[str] | None,
    ignore_mismatched_sizes: bool = False,
    **reading: Any,
) -> dict[str, Tensor] | None:
    """
    The tensors of a checkpoint as `model` wants them, or `None` if they fit as they are.

    Args:
        model ([`LongTailPreTrainedModel`]): May be on the meta device.
        state_dict (`dict[str, Tensor]`, *optional*): Tensors that are there already.
        checkpoint_files (`list[str]`, *optional*): Otherwise the files, all shards. Only their headers are read
            unless something has to be changed.
        ignore_mismatched_sizes (`bool`, *optional*, defaults to `False`): Leave tensors that cannot be brought into
            shape to the loader, which then begins them anew.
        reading: Further arguments of `transformers.modeling_utils.load_state_dict`.

    Returns:
        `dict[str, Tensor]` or `None`.

    Raises:
        `ValueError`: if the checkpoint has another patch size, or position embeddings of no square image.
    """
    if state_dict is not None:
        shapes = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
    elif checkpoint_files and checkpoint_files[0].endswith((".safetensors", ".bin")):
        shapes = {name: shape for file in checkpoint_files for name, shape in _shapes(file, reading).items()}
    else:
        return None
    foreign = is_vit_checkpoint(shapes)
    if not foreign and not _has_other_patches(model, shapes):
        return None
    if state_dict is None:
        state_dict = {}
        for file in checkpoint_files or ():
            state_dict.update(load_state_dict(file, **reading))
    if foreign:
        state_dict = convert_vit_tensors(state_dict, _decoder_grid(model, shapes))
        shapes = {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
    if not ignore_mismatched_sizes:
        _check_patch_size(model, shapes)
    return _with_positions_resampled(model, state_dict, ignore_mismatched_sizes)


def check_same_encoder(stored: BackboneFields, given: BackboneFields, where: str) -> None:
    """
    Compare the vision transformer that a checkpoint holds with the one that is to be built.

    Tensors of other shapes are refused by the loader anyway; another number of blocks or heads it would not notice.

    Raises:
        `ValueError`: naming the checkpoint (`where`) and the sizes that differ.
    """
    if _architecture(stored) == _architecture(given):
        return
    if stored.num_channels != given.num_channels:
        raise ValueError(
            f"The weights of {where} are for images of {stored.num_channels} channels, but the config says "
            f"num_channels={given.num_channels}. Set num_channels={stored.num_channels}, or start from another "
            "checkpoint."
        )
    theirs, ours = encoder_sizes(stored), encoder_sizes(given)
    if theirs == ours:
        return
    if theirs is None or ours is None:
        differences = f"its backbone is {stored.backbone!r}, but the config describes {given.backbone!r}"
    else:
        differences = "its encoder has " + ", ".join(
            f"{name} {there} (the config: {here})"
            for name, there, here in zip(_SIZES, theirs, ours, strict=True)
            if there != here
        )
    raise ValueError(
        f"The weights of {where} do not fit: {differences}. Build the config with backbone={stored.backbone!r}"
        + (f" and backbone_kwargs={stored.backbone_kwargs}" if stored.backbone_kwargs else "")
        + ", or start from another checkpoint."
    )


def encoder_sizes(config: BackboneFields) -> tuple[Any, ...] | None:
    """`_SIZES` of the vision transformer that a config describes; `None` for other backbones. Measured once."""
    return _cached_sizes(*_architecture(config))


def _architecture(config: BackboneFields) -> tuple[str, str]:
    arguments = backbone_arguments(config)
    for name in _NO_ARCHITECTURE:
        arguments.pop(name, None)
    return config.backbone.split(".", 1)[0], json.dumps(arguments, sort_keys=True)


@lru_cache(maxsize=128)
def _cached_sizes(name: str, arguments_json: str) -> tuple[Any, ...] | None:
    with torch.device("meta"), torch.no_grad(), meta_device_safe_creation_ops(), torch.random.fork_rng(devices=[]):
        try:
            backbone, _ = create_backbone(name, json.loads(arguments_json), num_labels=2)
        except Exception:
            # Some other architectures compute with values at construction, which the meta device has not.
            return None
    if not isinstance(backbone, VisionTransformer):
        return None
    first = backbone.blocks[0]
    hidden = getattr(getattr(first.mlp, "fc1", None), "out_features", None)
    return (
        type(backbone).__name__,
        backbone.embed_dim,
        len(backbone.blocks),
        first.attn.num_heads,
        hidden,
        tuple(backbone.patch_embed.patch_size),
        backbone.num_prefix_tokens,
    )


def _shapes(file: str, reading: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    if file.endswith(".safetensors"):
        with safe_open(file, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    return {name: tuple(tensor.shape) for name, tensor in load_state_dict(file, **reading).items()}


def _has_other_patches(model: PreTrainedModel, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether the patches of the checkpoint differ in size or number from the model's."""
    table = _positions(model)
    if table is not None and shapes.get(_POSITIONS, tuple(table.shape)) != tuple(table.shape):
        return True
    return bool(_patch_sizes(model, shapes))


def _positions(model: PreTrainedModel) -> Tensor | None:
    """The model's table of position embeddings on a grid of patches, if it has one."""
    table = getattr(model.backbone, "pos_embed", None)
    return table if isinstance(table, Tensor) and table.ndim == 3 and _grid(model) is not None else None


def _grid(model: PreTrainedModel) -> tuple[int, int] | None:
    """The model's rows and columns of patches, if it has patches."""
    return getattr(getattr(model.backbone, "patch_embed", None), "grid_size", None)


def _patch_sizes(model: PreTrainedModel, shapes: dict[str, tuple[int, ...]]) -> list[tuple[tuple[int, ...], ...]]:
    """Sides of the convolutions that cut patches, in the checkpoint and in the model, where they differ."""
    return [
        (shapes[name][2:], tuple(parameter.shape[2:]))
        for name, parameter in model.named_parameters()
        if name.startswith(_PATCHES) and parameter.ndim == 4 and len(shapes.get(name, ())) == 4
        if shapes[name][2:] != tuple(parameter.shape[2:])
    ]


def _check_patch_size(model: PreTrainedModel, shapes: dict[str, tuple[int, ...]]) -> None:
    for there, here in _patch_sizes(model, shapes):
        raise ValueError(
            f"The checkpoint cuts images into patches of {there[0]} x {there[1]} pixels, backbone "
            f"{model.config.backbone!r} as configured into {here[0]} x {here[1]}. Position embeddings are resampled "
            "for another image_size; for another patch size there are no weights: choose the image_size so that the "
            "patches stay as they were, or pretrain with the new ones."
        )


def _with_positions_resampled(
    model: PreTrainedModel, tensors: dict[str, Tensor], ignore_mismatched_sizes: bool
) -> dict[str, Tensor]:
    table, grid, old = _positions(model), _grid(model), tensors.get(_POSITIONS)
    if table is None or grid is None or old is None or old.ndim != 3 or old.shape[1] == table.shape[1]:
        return tensors
    prefix = table.shape[1] - grid[0] * grid[1]
    old_grid = _grid_like(grid, old.shape[1] - prefix)
    if old_grid is None:
        if ignore_mismatched_sizes:
            return tensors
        raise ValueError(
            f"The checkpoint has {old.shape[1]} position embeddings, which is no square image's number of patches "
            f"with {prefix} prefix tokens, as backbone {model.config.backbone!r} has them: is it another backbone?"
        )
    logger.warning(
        f"Position embeddings were resampled from {old_grid[0]} x {old_grid[1]} to {grid[0]} x {grid[1]} patches "
        "(bicubic): the checkpoint is for another image size."
    )
    return {**tensors, _POSITIONS: resample_position_embedding(old, old_grid, grid, prefix)}


def _grid_like(grid: tuple[int, int], patches: int) -> tuple[int, int] | None:
    """The grid of that many patches with the proportions of `grid`, or `None`; images are square in all sizes."""
    rows = math.isqrt(max(patches, 0) * grid[0] // grid[1])
    columns = rows * grid[1] // grid[0]
    return (rows, columns) if rows and rows * columns == patches and rows * grid[1] == columns * grid[0] else None


def _decoder_grid(model: PreTrainedModel, shapes: dict[str, tuple[int, ...]]) -> tuple[int, int] | None:
    """Patches per column and row of the checkpoint, where the model has a decoder to check its positions for."""
    shape, grid = shapes.get("decoder.decoder_pos_embed"), _grid(model)
    if shape is None or grid is None or _positions(model) is None or not hasattr(model, "decoder"):
        return None
    return _grid_like(grid, shape[1] - 1)
