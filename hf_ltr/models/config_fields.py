"""
What a config says beside its classes: images, head, masked autoencoder, and the fields of transformers. What is not
given is completed, and what is wrong ends in a `ValueError` that names the field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..naming import shown
from ..validation import choice, flag, mapping, number, plain, sequence, whole_number
from .backbone import native_settings
from .heads import CENTROID_METRICS, CENTROID_TRANSFORMS
from .size_limits import (
    LARGEST_IMAGE,
    LARGEST_PIXEL,
    MOST_BLOCKS,
    MOST_CHANNELS,
    MOST_OWN_PARAMETERS,
    SMALLEST_CROP,
    WIDEST,
    check_parameters,
)

INTERPOLATIONS = ("bilinear", "bicubic")

# Options of each kind of head (`config.head_options`) with their defaults.
HEAD_OPTIONS: dict[str, dict[str, Any]] = {
    "linear": {"bias": True, "tau": None},
    "cosine": {},
    "scaled": {"bias": True},
    "centroid": {"transform": "cl2n", "metric": "l2"},
}

# Decoder of the ViT-B and ViT-L models of He et al. 2022; smaller encoders want a smaller one.
MASKED_AUTOENCODER_DEFAULTS: dict[str, Any] = {
    "mask_ratio": 0.75,
    "norm_pix_loss": True,
    "decoder_dim": 512,
    "decoder_depth": 8,
    "decoder_heads": 16,
}

# Fields of `PretrainedConfig` whose other values would load code or foreign networks, or end in its tracebacks.
_ATTENTIONS = ("eager", "sdpa")
_KERNELS = re.compile("_?[a-z]+_implementation(_internal)?")
_DTYPES = ("auto", "float16", "bfloat16", "float32", "float64")
_PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")


def resolve_image_size(given: Any, inside: Any, backbone: str) -> int:
    """The field `image_size`, or `img_size` of `backbone_kwargs` (`inside`), or the backbone's own size."""
    sizes = []
    for value in (plain(given), inside):
        if isinstance(value, (tuple, list)):
            if not value or any(side != value[0] for side in value):
                raise ValueError(f"images must be square, but the image size is {shown(tuple(value))}")
            value = value[0]
        if value is not None:
            whole_number("image_size", value, minimum=1)
            sizes.append(whole_number("image_size", value, maximum=LARGEST_IMAGE))
    if len(set(sizes)) > 1:
        raise ValueError(f"image_size is {sizes[0]} but backbone_kwargs has img_size={sizes[1]}; give one of them")
    return sizes[0] if sizes else native_settings(backbone)["image_size"]


def resolve_statistics(mean: Any, std: Any, channels: int, backbone: str, pretrained: bool) -> list[list[float]]:
    """Mean and standard deviation of pixels per channel, given as lists, as one number for all channels, or not."""
    native = native_settings(backbone)
    published = pretrained or backbone.endswith("_cifar")
    resolved = []
    for name, given, default in (("image_mean", mean, native["mean"]), ("image_std", std, native["std"])):
        if given is None:
            given = default if published else (0.5,) * len(default)
            if len(given) != channels:
                given = sum(given) / len(given)
        given = plain(given)
        if isinstance(given, (int, float)):
            given = [given] * channels
        resolved.append([float(number(name, value)) for value in sequence(name, given)])
    return resolved


def resolve_crop_ratio(given: Any, image_size: int, backbone: str, pretrained: bool) -> float:
    """Side of the evaluation crop over the shorter side after resizing."""
    if given is not None:
        return float(number("crop_ratio", given, minimum=SMALLEST_CROP, maximum=1))
    if pretrained:
        return native_settings(backbone)["crop_ratio"]
    return 224 / 256 if 96 < image_size <= 224 else 1.0


def resolve_interpolation(given: str | None, backbone: str, pretrained: bool) -> str:
    """Of the evaluation resize."""
    if given is not None:
        return given
    return native_settings(backbone)["interpolation"] if pretrained else "bicubic"


def check_image(
    image_size: Any, num_channels: Any, image_mean: Any, image_std: Any, crop_ratio: Any, interpolation: Any
) -> None:
    """Compare the resolved fields of these names with each other: any of them may have been assigned since."""
    whole_number("image_size", image_size, minimum=1, maximum=LARGEST_IMAGE)
    whole_number("num_channels", num_channels, minimum=1, maximum=MOST_CHANNELS)
    for name, given in (("image_mean", image_mean), ("image_std", image_std)):
        values = [
            number(name, value, minimum=-LARGEST_PIXEL, maximum=LARGEST_PIXEL) for value in sequence(name, given)
        ]
        if len(values) != num_channels:
            raise ValueError(f"{name} has {len(values)} values but images have {num_channels} channels")
    if min(image_std) < 1 / LARGEST_PIXEL:
        raise ValueError(f"image_std must be positive (on a scale of 0..1), not {image_std}")
    number("crop_ratio", crop_ratio, minimum=SMALLEST_CROP, maximum=1)
    choice("interpolation", interpolation, INTERPOLATIONS)


def complete_head_options(head: str | None, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """All options of a head (`None`: linear): those given, and defaults for the rest."""
    known, given = HEAD_OPTIONS[head or "linear"], mapping("head_options", options or {})
    for name in given:
        choice(f"option of a {head or 'linear'} head", name, known)
    return {**known, **given}


def check_head(head: Any, scale: Any, init_std: Any, options: Mapping[str, Any] | None) -> None:
    """Compare the fields `head`, `head_scale`, `head_init_std` and `head_options` with each other."""
    if head is not None:
        choice("head", head, HEAD_OPTIONS)
    if scale is not None:
        if head not in (None, "cosine"):
            raise ValueError(f"head_scale={scale} belongs to a cosine head, but head is {head!r}; unset one")
        number("head_scale (a positive factor)", scale, above=0)
    if init_std is not None:
        number("head_init_std", init_std, minimum=0)
        if head in ("cosine", "centroid"):
            raise ValueError(f"head_init_std belongs to a linear head, but head is {head!r}; unset one of them")
    complete = complete_head_options(head, options)
    if not isinstance(complete.get("bias", True), bool):
        raise ValueError(f"head_options['bias'] must be true or false, not {complete['bias']!r}")
    if complete.get("tau") is not None:
        number("head_options['tau']", complete["tau"])
    for name, known in (("transform", CENTROID_TRANSFORMS), ("metric", CENTROID_METRICS)):
        if name in complete:
            choice(f"head_options[{name!r}]", complete[name], known)


def complete_masked_autoencoder_options(
    given: Mapping[str, Any] | None, image_size: int, count_patches: Callable[[], int]
) -> dict[str, Any]:
    """
    All options of the masked autoencoder: those given, checked, and defaults for the rest. (How many patches an image
    has is asked for where it matters alone, because it takes a measurement.)
    """
    options = mapping("masked_autoencoder", given or {})
    for name in options:
        choice("option of the masked autoencoder", name, MASKED_AUTOENCODER_DEFAULTS)
    options = {**MASKED_AUTOENCODER_DEFAULTS, **options}
    number("mask_ratio", options["mask_ratio"], above=0, below=1)
    flag("norm_pix_loss", options["norm_pix_loss"])
    for name, most in (("decoder_dim", WIDEST), ("decoder_depth", MOST_BLOCKS), ("decoder_heads", WIDEST)):
        whole_number(name, options[name], minimum=0 if name == "decoder_depth" else 1, maximum=most)
    width, heads = options["decoder_dim"], options["decoder_heads"]
    if width % heads or width % 4:
        raise ValueError(
            f"decoder_dim ({width}) must be divisible by decoder_heads ({heads}), and by 4 for its position embedding"
        )
    check_parameters("the decoder of the masked autoencoder", 12 * options["decoder_depth"] * width**2)
    if width * image_size**2 > MOST_OWN_PARAMETERS:
        # Every pixel a patch of its own would be too much.
        check_parameters("the decoder's position embedding", width * count_patches())
    return options


def check_foreign_fields(fields: Mapping[str, Any], config_class: type) -> None:
    """Refuse, among what is left to transformers, what replaces a method, loads code or is unknown to torch."""
    for name in fields:
        own = getattr(config_class, name, None)
        if name.startswith("__") or callable(own) or (isinstance(own, property) and own.fset is None):
            raise ValueError(f"A config has no field {name!r}; that is a method. Remove it from config.json.")
    for name in ("sub_configs", "attribute_map"):
        own = getattr(config_class, name, None)
        if fields.get(name, own) != own:
            raise ValueError(f"A config of hf_ltr has no field {name!r}. Remove it from config.json.")
    if fields.get("quantization_config") is not None:
        raise ValueError("quantization_config is not supported by the models of hf_ltr; remove it from the config")
    dtype = fields.get("dtype", fields.get("torch_dtype"))
    known = [
        ("dtype", None if dtype is None else str(dtype).removeprefix("torch."), _DTYPES),
        ("problem_type", fields.get("problem_type"), _PROBLEM_TYPES),
    ]
    # Also `_attn_implementation` and its like; another value is the name of a repository with a kernel.
    known += [(name, value, _ATTENTIONS) for name, value in fields.items() if _KERNELS.fullmatch(name)]
    for name, value, valid in known:
        if value is not None:
            choice(name, value, valid)
