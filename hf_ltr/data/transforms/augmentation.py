"""
Augmentation of whole batches, with independent random numbers for every image.

Each operation is a pure function `(images, uniforms, **options)`: uint8 or float images `(B, C, H, W)` on any device,
and uniform numbers in [0, 1) of shape `(B, draws)`. Nothing is read back to the host and nothing branches on the
content of a tensor. `Augmentation` strings operations together and supplies the uniforms from the images' keys, so
that the result for an image depends only on `(seed, epoch, row, occurrence, view)`: not on the batch it is in, nor on
the process or device that makes it.

The distribution is that of the usual per-sample recipe. (torchvision's v2 transforms accept a batch, too, but draw ONE
crop and ONE flip for all of it.)

Three stages: *pixel* operations work on raw values 0..255; *policies* do so, image by image on the CPU
(`policies.py`); *normalized* operations work on the normalised float images and therefore always come last.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from ...naming import unknown_name
from ..randomness import STREAM_AUGMENTATION, uniform
from .policies import apply_policy, autoaugment_policy, randaugment_policy
from .resampling import BOX_DRAWS, crop_and_resize, random_boxes, resize_shorter_side, window_scale

MAX_VIEWS = 256
_ERASING_ATTEMPTS = 10
_NOISE_LENGTH = 1 << 20


def random_crop(images: torch.Tensor, uniforms: torch.Tensor, padding: int = 4, fill: float = 0) -> torch.Tensor:
    """
    Pad all sides and cut out a window of the original size at a uniform offset in 0..2 padding (the CIFAR crop).

    Args:
        uniforms: `(B, 2)`.
        padding (`int`): Pixels on each side.
        fill (`float`): Raw value of the padding; 0 is black, as torchvision's default.
    """
    batch, channels, height, width = images.shape
    padded = F.pad(images, (padding,) * 4, value=fill)
    offsets = (uniforms * (2 * padding + 1)).to(torch.int64)
    rows = offsets[:, 0:1] + torch.arange(height, device=images.device)
    columns = offsets[:, 1:2] + torch.arange(width, device=images.device)
    window = (rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]).view(batch, 1, height * width)
    # One gather for all images; the index is shared by the channels through a stride of 0.
    return padded.flatten(2).gather(2, window.expand(-1, channels, -1)).view(images.shape)


def horizontal_flip(images: torch.Tensor, uniforms: torch.Tensor, probability: float = 0.5) -> torch.Tensor:
    """
    Mirror each image with a probability.

    Args:
        uniforms: `(B, 1)`.
    """
    batch = len(images)
    chosen = torch.arange(batch, device=images.device) + batch * (uniforms[:, 0] < probability)
    # Selecting whole images is a block copy: five times faster than torch.where with a broadcast mask.
    return torch.cat((images, images.flip(3))).index_select(0, chosen)


def cutout(images: torch.Tensor, uniforms: torch.Tensor, size: int = 16) -> torch.Tensor:
    """
    Zero a square whose centre is uniform over the pixels; it is clipped at the border. On normalised images, so zero
    is the mean colour.

    Source: DeVries and Taylor, Improved regularization of CNNs with Cutout, 2017, and their code (16 for CIFAR-10, 8
    for CIFAR-100).

    Args:
        uniforms: `(B, 2)`.
        size (`int`): Side of the square.
    """
    height, width = images.shape[2:]
    inside = _box_masks(
        (uniforms[:, 0] * height).to(torch.int64) - size // 2,
        (uniforms[:, 1] * width).to(torch.int64) - size // 2,
        size // 2 * 2,
        size // 2 * 2,
        height,
        width,
    )
    return images * (~inside).to(images.dtype)  # several times faster than masked_fill with a broadcast mask


def _box_masks(tops, lefts, heights, widths, height: int, width: int) -> torch.Tensor:
    """Boolean `(B, 1, H, W)`, true inside each image's box; boxes may reach over the border."""
    rows = torch.arange(height, device=tops.device) - tops[:, None]
    columns = torch.arange(width, device=tops.device) - lefts[:, None]
    heights, widths = (v[:, None] if isinstance(v, torch.Tensor) else v for v in (heights, widths))
    return ((rows >= 0) & (rows < heights))[:, None, :, None] & ((columns >= 0) & (columns < widths))[:, None, None, :]


def rotation(images: torch.Tensor, uniforms: torch.Tensor, degrees: float = 15.0) -> torch.Tensor:
    """
    Rotate about the centre by an angle uniform in -degrees..degrees; nearest pixel, zero outside (torchvision's
    RandomRotation; part of the CIFAR recipe of RIDE and SADE).

    Args:
        uniforms: `(B, 1)`.
    """
    height, width = images.shape[2:]
    angle = (uniforms[:, 0] * 2 - 1) * math.radians(degrees)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Rows of the matrix from output to input coordinates; both are in -1..1, hence the aspect ratios.
    matrix = torch.stack((cos, -sin * (height / width), torch.zeros_like(cos)), dim=1)
    matrix = torch.stack((matrix, torch.stack((sin * (width / height), cos, torch.zeros_like(cos)), dim=1)), dim=1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    values = images if images.is_floating_point() else images.to(torch.float32)
    return F.grid_sample(values, grid.to(values.dtype), "nearest", "zeros", align_corners=False).to(images.dtype)


def random_resized_crop(
    images: torch.Tensor,
    uniforms: torch.Tensor,
    image_size: tuple[int, int] | None = None,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    interpolation: str = "bilinear",
) -> torch.Tensor:
    """
    Cut out a random box and stretch it to `image_size`, antialiased; see `resampling.py`.

    Args:
        uniforms: `(B, 22)`.
        image_size: Height and width of the result; default those of `images`.
        scale: Range of the box's share of the area: (0.08, 1) for supervised training, (0.2, 1) in MAE's pretraining.
        ratio: Range of width / height.
        interpolation: `"bicubic"` or `"bilinear"`.
    """
    height, width = images.shape[2:]
    everywhere = torch.ones(len(images), device=images.device)
    boxes = random_boxes(uniforms, everywhere * height, everywhere * width, scale, ratio)
    return crop_and_resize(images, boxes, image_size or (height, width), interpolation)


def random_window(
    images: torch.Tensor,
    uniforms: torch.Tensor,
    image_size: tuple[int, int] | None = None,
    shorter_side: int | None = None,
    interpolation: str = "bilinear",
) -> torch.Tensor:
    """
    Resize the shorter side, then cut out a window of `image_size` at a uniform place: "resize to 256, random 224 crop"
    (the ImageNet-LT recipe of DiVE, He et al., ICCV 2021; torchvision's Resize and RandomCrop).

    Args:
        uniforms: `(B, 2)`.
        image_size: Height and width of the result; default those of `images`.
        shorter_side (`int`, *optional*): Pixels; by default the larger side of `image_size` / 0.875, which is 256 for
            224.
        interpolation: `"bicubic"` or `"bilinear"`, antialiased.
    """
    size = image_size or tuple(images.shape[2:])
    images = resize_shorter_side(images, shorter_side or window_scale(size), interpolation)
    (height, width), (channels, rows, columns) = size, images.shape[1:]
    if height > rows or width > columns:
        raise ValueError(f"shorter_side={shorter_side} of random_window is smaller than images of {size}")
    tops = (uniforms[:, 0:1] * (rows - height + 1)).to(torch.int64)
    lefts = (uniforms[:, 1:2] * (columns - width + 1)).to(torch.int64)
    down = tops + torch.arange(height, device=images.device)
    across = lefts + torch.arange(width, device=images.device)
    window = (down[:, :, None] * columns + across[:, None, :]).view(len(images), 1, height * width)
    return images.flatten(2).gather(2, window.expand(-1, channels, -1)).view(len(images), channels, height, width)


def color_jitter(
    images: torch.Tensor,
    uniforms: torch.Tensor,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.0,
) -> torch.Tensor:
    """
    Brightness, contrast and saturation by factors uniform in max(0, 1 - x)..1 + x, and a turn of the hue uniform in
    -hue..hue, in random order per image (torchvision's ColorJitter; without hue the ImageNet-LT recipe of Kang et al.,
    ICLR 2020).

    The first three are blends with a base: black, the mean gray of the image, or the image in gray. A hue of 0.5 is
    half the colour circle; gray images have none.

    Args:
        uniforms: `(B, 8)`.
        hue (`float`): 0 .. 0.5.
    """
    if not 0 <= hue <= 0.5:
        raise ValueError(f"hue of color_jitter must lie in 0..0.5, got {hue}")
    values = images if images.is_floating_point() else images.to(torch.float32)
    lowest = [max(0.0, 1 - strength) for strength in (brightness, contrast, saturation)]
    widths = [1 + strength - low for strength, low in zip((brightness, contrast, saturation), lowest, strict=True)]
    # Column by column: a tensor of these constants would be copied to the device, with a wait, in every batch.
    columns = zip(uniforms[:, :3].to(values.dtype).unbind(1), lowest, widths, strict=True)
    factors = torch.stack([low + width * column for column, low, width in columns], dim=1)
    order = uniforms[:, 3:6].argsort(dim=1)
    if hue == 0 or values.shape[1] != 3:
        for position in range(3):
            which = order[:, position : position + 1]
            values = _blend(values, which, factors.gather(1, which))
    else:
        # Before the hue are turned 0..3 of the blends of each image, and the others after it; a factor of 1 is none.
        # (A turn at every place of the order, for the images that have it there, would cost three times as much.)
        before = (uniforms[:, 7:8] > uniforms[:, 3:6]).sum(dim=1, keepdim=True)
        for position in range(3):
            which = order[:, position : position + 1]
            values = _blend(values, which, torch.where(position < before, factors.gather(1, which), 1))
        values = _turn_hue(values, (uniforms[:, 6].to(values.dtype) * 2 - 1) * hue)
        for position in range(3):
            which = order[:, position : position + 1]
            values = _blend(values, which, torch.where(position < before, 1, factors.gather(1, which)))
    return values if images.is_floating_point() else values.round().to(images.dtype)


def _blend(values: torch.Tensor, which: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Brightness (0), contrast (1) or saturation (2) of each image; `which` and `factor` are `(B, 1)`."""
    if values.shape[1] == 3:
        gray = 0.2989 * values[:, 0:1] + 0.587 * values[:, 1:2] + 0.114 * values[:, 2:3]
    else:
        gray = values.mean(dim=1, keepdim=True)
    to_mean = (which == 1)[:, :, None, None].to(values.dtype)
    to_gray = (which == 2)[:, :, None, None].to(values.dtype)
    base = to_mean * gray.mean(dim=(2, 3), keepdim=True) + to_gray * gray
    factor = factor[:, :, None, None]
    return (factor * values + (1 - factor) * base).clamp(0, 255)


def _turn_hue(values: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """
    Add `turn` (`(B,)`, 1 is the whole circle) to the hue of RGB images, saturation and value unchanged.

    HSV in hexagon coordinates (A. R. Smith, Color gamut transform pairs, 1978): hue in 0..6, and back by channel n in
    (5, 3, 1) as `max - chroma * clamp(min(k, 4 - k), 0, 1)` with `k = (n + hue) mod 6`.
    """
    red, green, blue = values.unbind(1)
    highest, lowest = values.amax(dim=1), values.amin(dim=1)
    chroma = highest - lowest
    safe = torch.where(chroma == 0, torch.ones_like(chroma), chroma)
    hue = torch.where(
        highest == red,
        (green - blue) / safe,
        torch.where(highest == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = hue + 6 * turn[:, None, None]
    channels = []
    for number in (5, 3, 1):
        place = (number + hue).remainder(6)
        channels.append(highest - chroma * torch.minimum(place, 4 - place).clamp(0, 1))
    return torch.stack(channels, dim=1)


_noise_banks: dict[tuple[torch.device, int], torch.Tensor] = {}


def _noise(offsets: torch.Tensor, shape: Sequence[int], device: torch.device) -> torch.Tensor:
    """
    Normal noise `(B, *shape)`: for each image a window, at its own offset, of one fixed long sequence. Within an image
    the values are independent; hashing every pixel of every image instead would cost more than the training step on a
    CPU.
    """
    length = math.prod(shape)
    if (device, length) not in _noise_banks:
        generator = torch.Generator().manual_seed(0)
        _noise_banks[device, length] = torch.randn(_NOISE_LENGTH + length, generator=generator).to(device)
    windows = _noise_banks[device, length].unfold(0, length, 1)
    return windows[(offsets * _NOISE_LENGTH).to(torch.int64)].view(len(offsets), *shape)


def random_erasing(
    images: torch.Tensor,
    uniforms: torch.Tensor,
    probability: float = 0.25,
    area: tuple[float, float] = (0.02, 1 / 3),
    min_aspect: float = 0.3,
    mode: str = "pixel",
) -> torch.Tensor:
    """
    With a probability, replace a random box of a normalised image by normal noise (`mode="pixel"`) or by zero
    (`mode="const"`).

    Source: Zhong et al., Random erasing, AAAI 2020; ranges and the per-pixel noise as in timm, which MAE's fine-tuning
    recipe uses with probability 0.25.

    Args:
        uniforms: `(B, 24)`.
        probability (`float`): Share of images with a box.
        area: Range of the box's share of the area.
        min_aspect (`float`): height / width is log-uniform in min_aspect .. 1 / min_aspect.
    """
    if mode not in ("pixel", "const"):
        raise ValueError(f"mode of random_erasing must be 'pixel' or 'const', got {mode!r}")
    height, width = images.shape[2:]
    draws = uniforms.to(torch.float64)
    areas = height * width * (area[0] + (area[1] - area[0]) * draws[:, 4 : 4 + _ERASING_ATTEMPTS])
    aspects = torch.exp(-math.log(min_aspect) * (2 * draws[:, 4 + _ERASING_ATTEMPTS :] - 1))
    heights, widths = torch.round(torch.sqrt(areas * aspects)), torch.round(torch.sqrt(areas / aspects))
    fits = (heights < height) & (widths < width)
    first = fits.to(torch.int8).argmax(dim=1, keepdim=True)
    heights, widths = heights.gather(1, first)[:, 0], widths.gather(1, first)[:, 0]
    erased = fits.any(dim=1) & (draws[:, 0] < probability)
    tops = torch.floor(draws[:, 1] * (height - heights + 1))
    lefts = torch.floor(draws[:, 2] * (width - widths + 1))
    inside = _box_masks(tops, lefts, heights, widths, height, width) & erased[:, None, None, None]
    if mode == "const":
        return images.masked_fill(inside, 0)
    return torch.where(inside, _noise(uniforms[:, 3], images.shape[1:], images.device).to(images.dtype), images)


@dataclass(frozen=True)
class Operation:
    """An entry of `OPERATIONS`: the function, how many uniforms it takes per image, and the stage it belongs to."""

    function: Callable
    draws: int
    stage: str


OPERATIONS: dict[str, Operation] = {
    "random_crop": Operation(random_crop, 2, "pixel"),
    "horizontal_flip": Operation(horizontal_flip, 1, "pixel"),
    "rotation": Operation(rotation, 1, "pixel"),
    "random_resized_crop": Operation(random_resized_crop, BOX_DRAWS, "pixel"),
    "color_jitter": Operation(color_jitter, 8, "pixel"),
    "autoaugment": Operation(autoaugment_policy, 0, "policy"),
    "randaugment": Operation(randaugment_policy, 0, "policy"),
    "cutout": Operation(cutout, 2, "normalized"),
    "random_erasing": Operation(random_erasing, 4 + 2 * _ERASING_ATTEMPTS, "normalized"),
    "random_window": Operation(random_window, 2, "pixel"),
}
# They cut a part of the size of the model's input out of an image that may have any size.
CROPS = ("random_resized_crop", "random_window")
# Each operation owns a fixed range of counters: adding one to a recipe leaves the draws of the others as they are.
_FIRST_COUNTER = {name: 64 * position for position, name in enumerate(OPERATIONS)}
# Filled in by `Augmentation`, not by the user.
_SUPPLIED = ("images", "uniforms", "image_size", "image_mean", "image_side")


def check_augmentation_names(names: Sequence[str], options: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """
    Look at names alone, which needs no images.

    Args:
        names (sequence of `str`): Of augmentations; one of `["auto"]`, `["none"]` and `[]` is a choice, not a list.
        options (`dict`, *optional*): By augmentation.

    Raises:
        `ValueError`: for an augmentation, or an option of one, that does not exist, with the nearest names.
    """
    names = [] if list(names) in (["auto"], ["none"]) else list(names)
    for name in [*names, *(options or {})]:
        if name not in OPERATIONS:
            raise unknown_name("augmentation", name, [*OPERATIONS, "auto", "none"])
    for name, given in (options or {}).items():
        allowed = [one for one in inspect.signature(OPERATIONS[name].function).parameters if one not in _SUPPLIED]
        for option in given:
            if option not in allowed:
                raise unknown_name(f"option of {name}", option, allowed)


class Augmentation:
    """
    A list of operations, applied in order.

    Args:
        names: Keys of `OPERATIONS`, each at most once. Normalised operations are applied after the pixel operations
            whatever their place.
        options: `{name: {option: value}}`; the options of an operation are the keyword arguments of its function.
        image_size: Height and width of the result of `random_resized_crop` and `random_window`.
        image_mean: Mean colour in [0, 1]; RandAugment fills with it.
        interpolation: Default of the operations that have this option.

    Raises:
        ValueError: for an unknown name or option (with the nearest valid ones), or options of an operation that is not
            in the list.
    """

    def __init__(
        self,
        names: Sequence[str],
        options: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        image_size: tuple[int, int] | None = None,
        image_mean: Sequence[float] = (0.485, 0.456, 0.406),
        interpolation: str = "bilinear",
    ):
        if isinstance(names, str):
            raise ValueError(f"augmentation must be a list of names, got the string {names!r}")
        options = {name: dict(values) for name, values in (options or {}).items()}
        for name in [*names, *options]:
            if name not in OPERATIONS:
                raise unknown_name("augmentation", name, OPERATIONS)
        for name in options:
            if name not in names:
                raise ValueError(
                    f"options for {name!r}, which is not in the augmentation list {list(names)}: add it or drop them"
                )
        if len(set(names)) < len(names):
            raise ValueError(f"every augmentation may be given once, got {list(names)}")
        self.names = list(names)
        self.image_size = image_size
        supplied = {
            "image_size": image_size,
            "image_mean": tuple(image_mean),
            "image_side": min(image_size) if image_size else 224,
        }
        self.options: dict[str, dict[str, Any]] = {}
        for name in names:
            parameters = inspect.signature(OPERATIONS[name].function).parameters
            allowed = [parameter for parameter in parameters if parameter not in _SUPPLIED]
            for option in options.get(name, {}):
                if option not in allowed:
                    raise unknown_name(f"option of {name}", option, allowed)
            values = {"interpolation": interpolation} if "interpolation" in allowed else {}
            values |= {key: value for key, value in supplied.items() if key in parameters and value is not None}
            for option, value in options.get(name, {}).items():
                # YAML and JSON have lists only; ranges compare and hash as tuples.
                values[option] = tuple(value) if isinstance(value, list) else value
            self.options[name] = values
        self._counters: dict[tuple[str, torch.device], torch.Tensor] = {}
        shorter_side = self.options.get("random_window", {}).get("shorter_side")
        if shorter_side is not None and image_size and shorter_side < max(image_size):
            raise ValueError(f"shorter_side={shorter_side} of random_window is smaller than images of {image_size}")
        for name in names:
            if OPERATIONS[name].stage == "policy":
                OPERATIONS[name].function(**self.options[name])  # a bad policy fails now, not in the first batch

    def __repr__(self) -> str:
        return f"Augmentation({self.names})"

    def _part(self, names: Sequence[str]) -> Augmentation:
        part = object.__new__(Augmentation)
        part.names, part.image_size = list(names), self.image_size
        part.options = {name: self.options[name] for name in names}
        part._counters = {}
        return part

    @property
    def has_policy(self) -> bool:
        """Whether a per-image policy, and so the CPU, is needed."""
        return any(OPERATIONS[name].stage == "policy" for name in self.names)

    def split(self) -> tuple[Augmentation, Augmentation]:
        """
        (first, rest): the operations up to the last per-image policy, for loader workers on the CPU, and those after
        it, for the training device. Applying one after the other equals applying all.
        """
        pixel = [name for name in self.names if OPERATIONS[name].stage != "normalized"]
        policies = [place for place, name in enumerate(pixel) if OPERATIONS[name].stage == "policy"]
        cut = policies[-1] + 1 if policies else 0
        return self._part(pixel[:cut]), self._part([name for name in self.names if name not in pixel[:cut]])

    def without(self, name: str) -> Augmentation:
        """The same without one operation."""
        return self._part([other for other in self.names if other != name])

    def uniforms(self, stage: str, keys: torch.Tensor, seed: int, view: int = 0) -> dict[str, torch.Tensor]:
        """The uniform numbers of all operations of a stage, made in one go: `{name: (B, draws)}`."""
        names = [name for name in self.names if OPERATIONS[name].stage == stage and OPERATIONS[name].draws]
        if not names:
            return {}
        place = (stage, keys.device)
        if place not in self._counters:
            ranges = [torch.arange(OPERATIONS[name].draws) + _FIRST_COUNTER[name] for name in names]
            self._counters[place] = torch.cat(ranges).to(keys.device)
        draws = uniform(keys, seed, STREAM_AUGMENTATION + view, self._counters[place])
        return dict(zip(names, draws.split([OPERATIONS[name].draws for name in names], dim=1), strict=True))

    def apply(self, images: torch.Tensor, keys: torch.Tensor, seed: int, view: int = 0) -> torch.Tensor:
        """
        The pixel operations and policies.

        Args:
            images (`torch.Tensor` uint8 or float `(B, C, H, W)`): Raw values 0..255. Policies need uint8 on the CPU.
            keys (`torch.Tensor` int64 `(B,)`): On the device of `images`; see `randomness.py`.
            seed (`int`): The run's seed.
            view (`int`): Index of the view, 0..255; views differ in all draws.
        """
        uniforms = self.uniforms("pixel", keys, seed, view)
        for name in self.names:
            operation = OPERATIONS[name]
            if operation.stage == "pixel":
                images = operation.function(images, uniforms[name], **self.options[name])
            elif operation.stage == "policy":
                images = apply_policy(images, operation.function(**self.options[name]), keys, seed, view)
        return images

    def apply_normalized(self, images: torch.Tensor, keys: torch.Tensor, seed: int, view: int = 0) -> torch.Tensor:
        """The operations on normalised float images. Arguments as in `apply`."""
        for name, uniforms in self.uniforms("normalized", keys, seed, view).items():
            images = OPERATIONS[name].function(images, uniforms, **self.options[name])
        return images

    @property
    def crop(self) -> str | None:
        """The first operation that takes images of any size, if there is one."""
        return next((name for name in self.names if name in CROPS), None)

    def boxes(
        self, keys: torch.Tensor, heights: torch.Tensor, widths: torch.Tensor, seed: int, view: int = 0
    ) -> torch.Tensor:
        """The boxes that `random_resized_crop` cuts out of images of these sizes, int64 `(B, 4)`."""
        options = self.options["random_resized_crop"]
        uniforms = self.uniforms("pixel", keys, seed, view)["random_resized_crop"]
        ranges = {name: options[name] for name in ("scale", "ratio") if name in options}
        return random_boxes(uniforms, heights, widths, **ranges)

    def windows(
        self, images: Sequence[torch.Tensor], keys: torch.Tensor, seed: int, view: int = 0
    ) -> list[torch.Tensor]:
        """What `random_window` makes of uint8 images `(C, H, W)`, each of a size of its own: the same per image."""
        uniforms = self.uniforms("pixel", keys, seed, view)["random_window"]
        options = self.options["random_window"]
        return [
            random_window(image[None], own[None], **options)[0] for image, own in zip(images, uniforms, strict=True)
        ]
