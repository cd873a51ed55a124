"""timm backbones: creation, and the features and tokens that heads and auxiliary modules read."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, Protocol, cast

import timm
import torch
from timm.models import get_pretrained_cfg, is_model
from torch import Tensor, nn

from ..naming import shown, unknown_name

# Names marked as unused are imported for what their files do: they register networks with timm.
from .backbone_options import BACKBONE_NAME, check_backbone_options
from .backbones.convolutional_vision_transformer import CONVOLUTIONAL_VISION_TRANSFORMERS  # noqa: F401
from .backbones.resnet_cifar import ResNetCifar  # noqa: F401
from .backbones.vision_transformers import SMALL_VISION_TRANSFORMERS  # noqa: F401
from .size_limits import MOST_OWN_PARAMETERS, MOST_PARAMETERS, TooLarge, limited_size

# Arguments beside which an architecture is still the one that timm knows.
_NATIVE = frozenset(("in_chans", "drop_rate", "drop_path_rate", "global_pool", "img_size"))
# What architectures raise over arguments they cannot use.
_REFUSALS = (TypeError, ValueError, AssertionError, ArithmeticError, AttributeError, LookupError, RuntimeError)


class Backbone(nn.Module):
    """What timm's models have in common, for type checkers; nothing is an instance of it."""

    forward_features: Callable[[Tensor], Any]
    forward_head: Callable[..., Tensor]
    forward_intermediates: Callable[..., tuple[Any, list[Any]]]
    get_classifier: Callable[[], nn.Module]
    reset_classifier: Callable[..., None]
    set_grad_checkpointing: Callable[[bool], None]


class BackboneFields(Protocol):
    """What a [`LongTailConfig`] says about its backbone."""

    backbone: str
    backbone_kwargs: dict[str, Any]
    image_size: int
    num_channels: int
    drop_rate: float
    drop_path_rate: float
    global_pool: str | None


def check_backbone_name(name: str) -> None:
    """
    Raise the "nearest valid names" `ValueError` unless timm knows the architecture (a `.tag` may follow it). Other
    things that `timm.create_model` takes, a folder (`local-dir:`) or a repository (`hf-hub:`), are no architecture.
    """
    if isinstance(name, str) and BACKBONE_NAME.fullmatch(name) and is_model(name.split(".", 1)[0]):
        return
    # A repository of the Hub, as people copy it: "timm/resnet18.a1_in1k", "hf-hub:timm/resnet18.a1_in1k".
    own = re.split("[/:]", name[:200])[-1] if isinstance(name, str) else ""
    if own != name and BACKBONE_NAME.fullmatch(own) and is_model(own.split(".", 1)[0]):
        raise ValueError(
            f"Unknown backbone: {shown(name)}, which is a repository; a backbone is an architecture of timm. Write "
            f"{own!r}, and backbone_pretrained=True for timm's published weights."
        )
    raise unknown_name(
        "backbone", name, timm.list_models(), "Any name that timm.list_models() prints is valid, and resnet32_cifar."
    )


def native_settings(name: str) -> dict[str, Any]:
    """
    What timm records about a backbone's input.

    Returns:
        `dict`: `image_size` (`int`), `mean`, `std` (tuples for 3 channels), `crop_ratio` (`float`), `interpolation`.
    """
    cfg = get_pretrained_cfg(name) or get_pretrained_cfg(name.split(".", 1)[0])
    if cfg is None:
        return {
            "image_size": 224,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "crop_ratio": 0.875,
            "interpolation": "bicubic",
        }
    return {
        "image_size": int(cfg.input_size[-1]),
        "mean": tuple(cfg.mean),
        "std": tuple(cfg.std),
        "crop_ratio": float(cfg.crop_pct),
        "interpolation": cfg.interpolation if cfg.interpolation in ("bilinear", "bicubic") else "bicubic",
    }


def backbone_arguments(config: BackboneFields) -> dict[str, Any]:
    """
    Keyword arguments of `timm.create_model` for a [`LongTailConfig`], without name, weights and number of classes.

    What equals timm's default is left out, because many architectures do not accept it.
    """
    arguments = check_backbone_options(config.backbone_kwargs)
    arguments["in_chans"] = config.num_channels
    for name in ("drop_rate", "drop_path_rate"):
        if getattr(config, name):
            arguments[name] = getattr(config, name)
    if config.global_pool is not None:
        arguments["global_pool"] = config.global_pool
    if "img_size" not in arguments and config.image_size != native_settings(config.backbone)["image_size"]:
        arguments["img_size"] = config.image_size
    return arguments


def create_backbone(
    name: str, arguments: dict[str, Any], num_labels: int, pretrained: bool = False
) -> tuple[Backbone, nn.Linear | None]:
    """
    Create a timm model and take its classifier off.

    The model is always created with `num_labels` classes and stripped afterwards, so that it consumes the random
    numbers of `timm.create_model(name, num_classes=num_labels)`: under the same seed, all weights are equal, those of
    the returned classifier too.

    Args:
        name (`str`): Architecture known to timm.
        arguments (`dict`): Further arguments of `timm.create_model`. `img_size` is dropped for an architecture that
            takes images of any size.
        num_labels (`int`): Classes of the classifier.
        pretrained (`bool`, *optional*, defaults to `False`): Whether timm loads its published weights (from the Hub).

    Returns:
        `tuple`: the backbone, whose `forward_head` returns pooled features, and the classifier that timm created, or
        `None` where it is not a single linear layer.

    Raises:
        `ValueError`: if the architecture does not accept an argument, or would be larger than any network.
    """
    arguments = dict(arguments)
    try:
        most = MOST_OWN_PARAMETERS if arguments.keys() - _NATIVE else MOST_PARAMETERS
        with limited_size(f"backbone {name!r} with {num_labels:,} classes", most):
            try:
                model = _create(name, pretrained, num_classes=num_labels, **arguments)
            except TypeError as error:
                if "img_size" not in arguments or "img_size" not in str(error):
                    raise
                del arguments["img_size"]
                model = _create(name, pretrained, num_classes=num_labels, **arguments)
    except TooLarge:
        raise
    except _REFUSALS as error:
        if pretrained and isinstance(error, RuntimeError | ValueError):
            # What the published weights do not fit is said better by who loads them.
            raise
        raise ValueError(
            f"timm cannot create backbone {name!r} with {arguments}: {error}. Check backbone_kwargs, image_size, "
            "global_pool and the drop rates of the config."
        ) from error
    classifier = model.get_classifier()
    _remove_classifier(model)
    return model, classifier if isinstance(classifier, nn.Linear) else None


def _create(name: str, pretrained: bool, **arguments: Any) -> Backbone:
    try:
        return cast(Backbone, timm.create_model(name, pretrained=pretrained, **arguments))
    except RuntimeError as error:
        # Published weights of a transformer that pools after its norm, wanted with a pooling before it (fc_norm): with
        # another number of classes timm leaves the old norm behind by itself, with the same number it insists on it.
        if not pretrained or "fc_norm" not in str(error):
            raise
        return cast(Backbone, timm.create_model(name, pretrained=True, pretrained_strict=False, **arguments))


def _remove_classifier(model: Backbone) -> None:
    """Replace the classifier by an identity without changing the pooling (timm 1.0.26 resets that of many)."""
    parameter = inspect.signature(model.reset_classifier).parameters.get("global_pool")
    if parameter is None or parameter.default is None:
        model.reset_classifier(0)
        return
    pool = getattr(model, "global_pool", parameter.default)
    pool = pool if isinstance(pool, str) else getattr(pool, "pool_type", parameter.default)
    model.reset_classifier(0, global_pool=pool)


def _final_norm_is_inside(backbone: nn.Module) -> bool:
    """Whether `forward_features` of a transformer ends with its norm, so that its output is not the last block's."""
    norm = getattr(backbone, "norm", None)
    transformer = hasattr(backbone, "blocks") and hasattr(backbone, "num_prefix_tokens")
    return transformer and norm is not None and not isinstance(norm, nn.Identity)


def _has_intermediates(backbone: nn.Module) -> bool:
    """Whether the output of its last block can be asked for, prefix tokens included (CaiT, XCiT and others cannot)."""
    method = getattr(backbone, "forward_intermediates", None)
    return method is not None and "return_prefix_tokens" in inspect.signature(method).parameters


def _as_tokens(backbone: nn.Module, maps: Tensor | list[Tensor]) -> Tensor:
    """Tokens `(B, N, D)` from what `forward_features` returns: tokens, a map in either layout, or a vector."""
    if isinstance(maps, (list, tuple)):  # several branches, the last of which is the deepest
        maps = maps[-1]
    if maps.ndim == 2:
        return maps.unsqueeze(1)
    if maps.ndim == 3:
        return maps
    channels_last = str(getattr(backbone, "output_fmt", "")).endswith("NHWC")
    return maps.flatten(1, 2) if channels_last else maps.flatten(2).transpose(1, 2)


def extract_features(
    backbone: Backbone, pixel_values: Tensor, with_tokens: bool = False
) -> tuple[Tensor, Tensor | None]:
    """
    Pooled features and, on demand, the tokens after the last block.

    Args:
        backbone (`nn.Module`): timm model without classifier.
        pixel_values (`Tensor` of shape `(B, C, H, W)`).
        with_tokens (`bool`, *optional*, defaults to `False`): Whether to return tokens.

    Returns:
        `tuple`: features `(B, D)`, and tokens `(B, N, D')` or `None`. The tokens of a plain transformer are those
        after its last block and before its final norm, prefix tokens first; of a CNN the H * W positions of the last
        map.
    """
    if with_tokens and _final_norm_is_inside(backbone) and _has_intermediates(backbone):
        final, intermediates = backbone.forward_intermediates(
            pixel_values, indices=1, norm=False, output_fmt="NLC", return_prefix_tokens=True
        )
        last = intermediates[-1]
        if isinstance(last, (tuple, list)):
            last = torch.cat([last[1], last[0]], dim=1)
        return backbone.forward_head(final), last
    maps = backbone.forward_features(pixel_values)
    return backbone.forward_head(maps), _as_tokens(backbone, maps) if with_tokens else None
