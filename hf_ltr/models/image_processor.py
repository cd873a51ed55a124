"""Image processors: resize, centre crop, rescale and normalise, as evaluation during training does."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend, TorchvisionBackend
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import ChannelDimension, PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs

from ..data.loading.decoding import decode_image, require_area
from ..data.loading.pixel_arrays import channels_lead, integers_to_eight_bits
from ..validation import number, sequence, whole_number
from .checkpoints.code_files import SavesCode
from .fetching import fetch_image
from .size_limits import LARGEST_IMAGE, LARGEST_PIXEL, LARGEST_RESIZED, MOST_CHANNELS

_RESAMPLING = {"bilinear": PILImageResampling.BILINEAR, "bicubic": PILImageResampling.BICUBIC}

# Weights of red, green and blue in Pillow's mode "L" (ITU-R 601-2), as 16 bit fixed point with rounding.
_LUMA = (19595, 38470, 7471)


class LongTailImageProcessorKwargs(ImagesKwargs, total=False):
    """
    num_channels (`int`):
        Channels of the images that the model takes: 3, or 1 for grey images.
    """

    num_channels: int


class _ChannelsMixin(SavesCode, BaseImageProcessor):
    """Brings any image to the number of channels of the model before anything else is done to it."""

    valid_kwargs = LongTailImageProcessorKwargs
    resample = PILImageResampling.BICUBIC
    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]
    size = {"shortest_edge": 32}
    crop_size = {"height": 32, "width": 32}
    default_to_square = False
    do_resize = True
    do_center_crop = True
    do_rescale = True
    do_normalize = True
    num_channels = 3

    @classmethod
    def from_config(cls, config: Any, **overrides: Any) -> Any:
        """
        The processor that fits a [`LongTailConfig`].

        Args:
            config ([`LongTailConfig`]): Image size, crop ratio, interpolation, mean, std and channels are taken from
                it.
            overrides: Attributes to set differently, for example `do_center_crop=False`; also `crop_ratio`.
        """
        crop_ratio = overrides.pop("crop_ratio", config.crop_ratio)
        options = {
            "size": {"shortest_edge": round(config.image_size / crop_ratio)},
            "crop_size": {"height": config.image_size, "width": config.image_size},
            "resample": _RESAMPLING[config.interpolation],
            "image_mean": list(config.image_mean),
            "image_std": list(config.image_std),
            "num_channels": config.num_channels,
        }
        return cls(**{**options, **overrides})

    def _standardize_kwargs(self, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # has keywords only
        # Called where a processor is made (also from a file) and for the options of every call.
        options = super()._standardize_kwargs(**kwargs)
        _check_options(options, self.num_channels if options.get("num_channels") is None else options["num_channels"])
        return options

    def fetch_images(self, images: Any) -> Any:
        # Files are decoded here as in training; transformers would do it otherwise.
        if isinstance(images, (list, tuple)):
            return [self.fetch_images(image) for image in images]
        return fetch_image(images) if isinstance(images, (str, os.PathLike, bytes)) else images

    def _prepare_images_structure(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        # transformers refuses grey arrays without a channel axis.
        many = isinstance(images, (list, tuple))
        images = [_with_channel_axis(image) for image in images] if many else _with_channel_axis(images)
        return super()._prepare_images_structure(images, *args, **kwargs)

    def resize(self, image: Any, size: SizeDict, *args: Any, **kwargs: Any) -> Any:
        # As in the evaluation of training: the longer side is rounded (transformers cuts the fraction off).
        if size.shortest_edge and not size.longest_edge:
            height, width = image.shape[-2:]
            scale = size.shortest_edge / min(height, width)
            rows, columns = round(height * scale), round(width * scale)
            require_area(rows, columns, (height, width))
            size = SizeDict(height=rows, width=columns)
        return super().resize(image, size, *args, **kwargs)  # type: ignore[misc]  # of the backend, the other base

    def process_image(
        self,
        image: Any,
        *args: Any,
        num_channels: int | None = None,
        input_data_format: Any = None,
        do_rescale: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        num_channels = self.num_channels if num_channels is None else num_channels
        do_rescale = self.do_rescale if do_rescale is None else do_rescale
        if isinstance(image, Image.Image):
            image = decode_image(image, num_channels).transpose(2, 0, 1).copy()
            input_data_format = ChannelDimension.FIRST
        else:
            if input_data_format is None:
                leads = channels_lead(image.shape, first=True, more=num_channels)
                input_data_format = ChannelDimension.FIRST if leads else ChannelDimension.LAST
            image = _eight_bit_array(image, do_rescale)
        kwargs["do_convert_rgb"] = False
        image = super().process_image(image, *args, input_data_format=input_data_format, **kwargs)
        return _convert_channels(image, num_channels)


class LongTailImageProcessor(_ChannelsMixin, TorchvisionBackend):
    """
    Prepares images for [`LongTailForImageClassification`] with torchvision.

    Images are decoded as in training (`hf_ltr/data/loading/decoding.py`: upright, 16 bits scaled to 8, `num_channels`
    channels, grey with Pillow's weights); arrays and tensors hold 0..255 (uint8 or float) or 0..65535 (uint16). Their
    shorter side is resized to `size["shortest_edge"]`, the centre of `crop_size` is cut out, and values are scaled to
    0..1 and normalised.

    Args:
        size (`dict`, *optional*): `{"shortest_edge": pixels}`.
        crop_size (`dict`, *optional*): `{"height": pixels, "width": pixels}`.
        resample (`PIL.Image.Resampling`, *optional*, defaults to bicubic).
        image_mean, image_std (list of `float`, *optional*): Per channel, on a scale of 0..1.
        num_channels (`int`, *optional*, defaults to 3).

    Example:

    ```python
    >>> processor = LongTailImageProcessor.from_config(model.config)
    >>> logits = model(**processor(image, return_tensors="pt")).logits
    ```
    """


class LongTailImageProcessorPil(_ChannelsMixin, PilBackend):
    """The same processor with Pillow and numpy; `AutoImageProcessor.from_pretrained(..., backend="pil")` gives it."""


def _check_options(options: dict[str, Any], num_channels: int) -> None:
    """
    A preprocessor_config.json is data: sizes are compared before memory is taken, and no option makes NaN of pixels.

    Raises:
        `ValueError`: naming the option.
    """
    whole_number("num_channels", num_channels, minimum=1, maximum=MOST_CHANNELS)
    resample = options.get("resample")
    if isinstance(resample, int) and resample not in list(PILImageResampling):
        raise ValueError(f"resample must be one of Pillow's filters, 0 to {max(PILImageResampling)}, got {resample}")
    for name in ("size", "crop_size", "pad_size"):
        for side, value in dict(options.get(name) or {}).items():
            most = LARGEST_IMAGE if side in ("height", "width") else LARGEST_RESIZED
            whole_number(f"{name}[{side!r}]", value, minimum=1)
            whole_number(f"{name}[{side!r}]", value, maximum=most)
    if options.get("rescale_factor") is not None:
        number("rescale_factor", options["rescale_factor"], above=0)
    for name, least in (("image_mean", -LARGEST_PIXEL), ("image_std", 1 / LARGEST_PIXEL)):
        given = options.get(name)
        values = [] if given is None else sequence(name, given) if hasattr(given, "__len__") else [given]
        for value in values:
            number(name, value, minimum=least, maximum=LARGEST_PIXEL)
        if len(values) > 1 and len(values) != num_channels:
            raise ValueError(f"{name} has {len(values)} values but images have {num_channels} channels")


def _with_channel_axis(image: Any) -> Any:
    is_flat = isinstance(image, (np.ndarray, torch.Tensor)) and image.ndim == 2
    return image[None] if is_flat else image


def _eight_bit_array(image: Any, do_rescale: bool) -> Any:
    """
    An array or tensor as uint8: integers by the rules of decoding, floats of 0..255 rounded. Floats that are not to be
    rescaled stay as they are.
    """
    is_tensor = isinstance(image, torch.Tensor)
    if 0 in image.shape:
        raise ValueError(f"an image array of shape {tuple(image.shape)} holds no pixel")
    floating = image.is_floating_point() if is_tensor else np.issubdtype(image.dtype, np.floating)
    if not floating:
        if image.dtype in (torch.uint8, np.uint8):
            # Pillow's memory is read-only, of which torch warns.
            return image if is_tensor or image.flags.writeable else image.copy()
        array = integers_to_eight_bits(image.cpu().numpy() if is_tensor else image)
        return torch.from_numpy(array).to(image.device) if is_tensor else array
    if do_rescale:
        low, high = float(image.min()), float(image.max())
        if not 0 <= low <= high <= 255:
            raise ValueError(f"pixels must lie in 0..255, got {low:g} to {high:g}")
        if 0 < high <= 1:
            raise ValueError(
                "pixels of 0..1 would be divided by 255 once more: give uint8 images, or do_rescale=False with these"
            )
        return image.round().to(torch.uint8) if is_tensor else np.rint(image).astype(np.uint8)
    return image


def _convert_channels(image: Any, num_channels: int) -> Any:
    """Channels of an array or tensor `(channels, height, width)`: repeat grey, weight colours, drop transparency."""
    channels = image.shape[0]
    if channels == num_channels:
        return image
    if channels == 4:
        image, channels = image[:3], 3
    if channels == num_channels:
        return image
    if channels == 2:
        image, channels = image[:1], 1
    if channels == 1:
        repeated = (num_channels, *image.shape[1:])
        return image.expand(repeated) if isinstance(image, torch.Tensor) else np.broadcast_to(image, repeated).copy()
    if channels == 3 and num_channels == 1:
        return _luma(image)
    raise ValueError(
        f"an image with {channels} channels cannot be converted to the {num_channels} channels of the model"
    )


def _luma(image: Any) -> Any:
    is_tensor = isinstance(image, torch.Tensor)
    integer = not image.dtype.is_floating_point if is_tensor else np.issubdtype(image.dtype, np.integer)
    red, green, blue = (
        channel.to(torch.int64) if is_tensor and integer else channel.astype(np.int64) if integer else channel
        for channel in image
    )
    value = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]
    value = (value + 0x8000) >> 16 if integer else value / 65536
    return value.to(image.dtype)[None] if is_tensor else value.astype(image.dtype)[None]
