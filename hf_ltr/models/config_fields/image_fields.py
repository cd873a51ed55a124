"""What a config says about the images a model takes; what is not given follows from the backbone."""

from __future__ import annotations

from typing import Any

from ...naming import shown
from ...validation import choice, number, plain, sequence, whole_number
from ..backbone import native_settings
from ..size_limits import LARGEST_IMAGE, LARGEST_PIXEL, MOST_CHANNELS, SMALLEST_CROP

INTERPOLATIONS = ("bilinear", "bicubic")


def resolve_image_size(given: Any, inside: Any, backbone: str) -> int:
    """
    Args:
        given: The field `image_size`.
        inside: `img_size` of `backbone_kwargs`, which must agree with it.
        backbone (`str`): Whose own size it is otherwise.
    """
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
    """
    Args:
        image_size, num_channels, image_mean, image_std, crop_ratio, interpolation: The fields of these names.

    Raises:
        `ValueError`: saying which field is wrong.
    """
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
