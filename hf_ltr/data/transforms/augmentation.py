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

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...validation import choice
from ..randomness import STREAM_AUGMENTATION, uniform
from .color import color_jitter
from .erasing import ERASING_DRAWS, cutout, random_erasing
from .geometry import horizontal_flip, random_crop, random_resized_crop, random_window, rotation
from .policies import apply_policy, autoaugment_policy, randaugment_policy
from .resampling import BOX_DRAWS, random_boxes

MAX_VIEWS = 256


@dataclass(frozen=True)
class Operation:
    """An entry of `OPERATIONS`: the function, how many uniforms it takes per image, and the stage it belongs to."""

    function: Callable[..., Any]
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
    "random_erasing": Operation(random_erasing, ERASING_DRAWS, "normalized"),
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
        choice("augmentation", name, [*OPERATIONS, "auto", "none"])
    for name, given in (options or {}).items():
        for option in given:
            choice(f"option of {name}", option, _parameters(name, supplied=False))


def _parameters(name: str, supplied: bool) -> list[str]:
    """The arguments of an operation that `Augmentation` fills in, or those that the user may."""
    parameters = inspect.signature(OPERATIONS[name].function).parameters
    return [parameter for parameter in parameters if (parameter in _SUPPLIED) is supplied]


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
            choice("augmentation", name, OPERATIONS)
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
            allowed = _parameters(name, supplied=False)
            values: dict[str, Any] = {"interpolation": interpolation} if "interpolation" in allowed else {}
            own = {key: supplied.get(key) for key in _parameters(name, supplied=True)}
            values |= {key: value for key, value in own.items() if value is not None}
            for option, value in options.get(name, {}).items():
                choice(f"option of {name}", option, allowed)
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
        part = copy.copy(self)
        part.names, part.options = list(names), {name: self.options[name] for name in names}
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

    def split_for_decoding(self) -> tuple[str | None, Augmentation, Augmentation]:
        """
        (crop, first, rest): as `split`, without the crop, which is done while an image still has its own size.

        Raises:
            ValueError: if that crop is not the first operation, or there is another.
        """
        first, rest = self.split()
        if self.crop is None:
            return None, first, rest
        if self.names[0] != self.crop or set(CROPS) <= set(self.names):
            raise ValueError(
                f"with loading='workers' {self.crop} must come first, and be the only crop of its kind, got "
                f"{self.names}: it is done while the image still has its own size"
            )
        first, rest = (part._part([name for name in part.names if name != self.crop]) for part in (first, rest))
        return self.crop, first, rest

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
