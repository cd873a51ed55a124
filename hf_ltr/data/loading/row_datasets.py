"""
The datasets behind the loader: keys in, raw batch out. They hold nothing that lives on an accelerator, so that loader
workers can be forked or started afresh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..randomness import rows_of
from ..transforms.augmentation import Augmentation
from .image_sources import ImageSource, UnreadableImagesError
from .images import as_tensors, covering_size, decode_rows, stack_resized

Batch = dict[str, Any]


class KeyRows(Dataset):
    """Nothing but keys: the images are on the device already."""

    # Whether a batch is work, for which loader workers are of use.
    reads = False

    def __init__(self, num_rows: int):
        self.num_rows = num_rows

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, key: int) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: list[int]) -> Batch:
        return {"keys": torch.tensor(keys, dtype=torch.int64)}


@dataclass(frozen=True)
class StoredRows:
    """Resident images on the CPU, one tensor per view."""

    images: torch.Tensor

    def __len__(self) -> int:
        return len(self.images)

    def read(self, keys: torch.Tensor, num_views: int) -> list[torch.Tensor]:
        return [self.images.index_select(0, rows_of(keys))] * num_views


@dataclass(frozen=True)
class DecodedRows:
    """
    Images decoded when asked for, then brought to `image_size` for each view: by the crop that `crops` names for it
    (drawn for the image's own size), else by `resize_image` with `interpolation` and `resize_ratio`.
    """

    source: ImageSource
    num_channels: int
    image_size: tuple[int, int]
    interpolation: str
    resize_ratio: float | None
    seed: int
    views: Sequence[Augmentation]
    crops: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.source)

    def read(self, keys: torch.Tensor, num_views: int) -> list[torch.Tensor]:
        images = decode_rows(self.source, rows_of(keys).tolist(), self.num_channels, self._require_size)
        heights, widths = torch.tensor([image.shape[:2] for image in images]).unbind(1)
        results = []
        for place, (view, crop) in enumerate(zip(self.views, self.crops, strict=True)):
            if crop == "random_window":
                results.append(torch.stack(view.windows(as_tensors(images), keys, self.seed, place)))
            elif crop == "random_resized_crop":
                boxes = view.boxes(keys, heights, widths, self.seed, place)
                stretch = view.options["random_resized_crop"]["interpolation"]
                results.append(stack_resized(images, self.image_size, stretch, boxes=boxes))
            else:
                results.append(stack_resized(images, self.image_size, self.interpolation, self.resize_ratio))
        return results

    def _require_size(self, image: np.ndarray) -> np.ndarray:
        if None in self.crops:
            covering_size(image.shape[0], image.shape[1], self.image_size, self.resize_ratio)
        return image


class HostRows(KeyRows):
    """Images read on the CPU, with the part of the augmentation that has to be done there."""

    reads = True

    def __init__(self, reader: StoredRows | DecodedRows, augmentations: Sequence[Augmentation], seed: int):
        super().__init__(len(reader))
        self.reader, self.augmentations, self.seed = reader, augmentations, seed

    def __getitems__(self, keys: list[int]) -> Batch:
        batch = super().__getitems__(keys)
        try:
            images = self.reader.read(batch["keys"], len(self.augmentations))
        except UnreadableImagesError as error:
            # Raised by `BatchLoader.prepare`: on its way from a worker an exception gains a traceback.
            return {**batch, "unreadable": str(error)}
        images = [
            augmentation.apply(image, batch["keys"], self.seed, view)
            for view, (augmentation, image) in enumerate(zip(self.augmentations, images, strict=True))
        ]
        batch["images"] = images[0]
        if len(images) > 1:
            batch["extra_images"] = images[1:]
        return batch


class ReadyRows(KeyRows):
    """
    The items of a dataset that makes its own `pixel_values`, stacked; a row of another `shape` than the model takes
    (channels, height, width), of integers (nobody would scale and normalise them), or with nan is refused: networks
    that take images of any size would compute something, and say nothing.
    """

    reads = True

    def __init__(self, dataset: Any, shape: tuple[int, int, int]):
        super().__init__(len(dataset))
        self.dataset, self.shape = dataset, shape
        if len(dataset):
            self._pixels(0)

    def _pixels(self, row: int) -> torch.Tensor:
        item = self.dataset[row]
        given = item.get("pixel_values") if isinstance(item, Mapping) else item[0]
        try:
            pixels = torch.as_tensor(given)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(
                f"pixel_values of row {row} are no array of numbers (a {type(given).__name__}), but the model takes "
                f"floating-point numbers of shape {self.shape}"
            ) from None
        if not pixels.is_floating_point():
            raise ValueError(
                f"pixel_values of row {row} are {str(pixels.dtype).removeprefix('torch.')}, but ready ones must "
                "be floating-point numbers that are scaled and normalised already. Images are given as `image`, to be "
                "decoded and normalised here."
            )
        if tuple(pixels.shape) != self.shape:
            raise ValueError(
                f"pixel_values of row {row} have the shape {tuple(pixels.shape)}, but the model takes {self.shape} "
                "(channels, height, width): resize them, or build the model with that image_size and num_channels"
            )
        if not torch.isfinite(pixels).all():
            raise ValueError(f"pixel_values of row {row} hold nan or infinity: leave the row out, or mend it")
        return pixels

    def __getitems__(self, keys: list[int]) -> Batch:
        batch = super().__getitems__(keys)
        batch["pixel_values"] = torch.stack([self._pixels(row) for row in rows_of(batch["keys"]).tolist()])
        return batch
