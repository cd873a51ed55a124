"""What a classifier's head reads, for all images of a split, by the model's own image processor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from ..data.labels import read_labels
from ..data.loading.decoding import decode_image
from ..data.loading.image_sources import MAX_REPORTED, describe_problem, image_source, unreadable_images
from ..distributed import available_cores
from .linear_head import Head

# Fewer rows than this are not worth the start of worker processes.
_ROWS_FOR_WORKERS = 2000


class ProcessedBatches(Dataset):
    """
    Batches of a split as the model takes them. Item `i` is `(rows, pixel values)`, or `(rows, problems)` with one
    line for every image that cannot be read: an exception would gain a traceback on its way from a worker.

    Args:
        dataset: What `image_source` takes.
        processor: The image processor of the model; its defaults are the evaluation transform.
        num_channels (`int`): 1 or 3, what images are decoded to.
        batch_size (`int`)
        image_column (`str`)
    """

    def __init__(self, dataset: Any, processor: Any, num_channels: int, batch_size: int, image_column: str = "image"):
        self.source = image_source(dataset, image_column)
        self.processor, self.num_channels, self.batch_size = processor, num_channels, batch_size

    def __len__(self) -> int:
        return -(-len(self.source) // self.batch_size)

    def __getitem__(self, batch: int) -> tuple[range, Tensor | list[str]]:
        first = batch * self.batch_size
        rows = range(first, min(first + self.batch_size, len(self.source)))
        images, problems = [], []
        for row, item in zip(rows, self.source.items(rows), strict=True):
            try:
                array = decode_image(item, self.num_channels)
            except Exception as error:
                problems.append(describe_problem(self.source, row, error))
                continue
            images.append(Image.fromarray(array[:, :, 0] if self.num_channels == 1 else array))
        return rows, problems or pixel_values(self.processor, images)


def pixel_values(processor: Any, images: list[Image.Image]) -> Tensor:
    """Images as the model takes them, `(B, channels, H, W)`."""
    return processor(images=images, return_tensors="pt")["pixel_values"]


def number_of_channels(config: Any) -> int:
    """Channels of a model's images: 1, or 3 for all others."""
    channels = getattr(config, "num_channels", None)
    pretrained = getattr(config, "pretrained_cfg", None)
    if channels is None and isinstance(pretrained, dict) and pretrained.get("input_size"):
        channels = pretrained["input_size"][0]
    return 1 if channels == 1 else 3


@dataclass(frozen=True)
class FeatureReader:
    """
    Passes over the images of splits.

    Args:
        head ([`LinearHead`] or [`OtherHead`]): Its model is in evaluation mode, on `device`.
        processor: The model's image processor.
        device (`torch.device`)
        batch_size (`int`)
        num_workers (`int`, *optional*): Processes that decode and transform; none for fewer than 2,000 rows if not
            given.
        progress (`bool`): Show bars.
    """

    head: Head
    processor: Any
    device: torch.device
    batch_size: int
    num_workers: int | None = None
    progress: bool = True

    def batches(
        self, dataset: Any, class_map: Sequence[int] | None, description: str
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """
        One pass over a split.

        Args:
            dataset (`datasets.Dataset`): With columns `image` and `label`.
            class_map (sequence of `int`, *optional*): The model's class for each of the dataset's, where it numbers
                them differently.
            description (`str`): Of the progress bar.

        Yields:
            `(features (B, D) or raw logits (B, C), labels (B,))`, float32 and int64, on the CPU.

        Raises:
            `ValueError`: naming the rows whose image cannot be read, or whose label is none of the model's.
        """
        config = self.head.model.config
        labels = read_labels(dataset, ("label", "labels"), config.num_labels, required=True, class_map=class_map)
        assert labels is not None  # they are required
        batches = ProcessedBatches(dataset, self.processor, number_of_channels(config), self.batch_size)
        workers = _default_workers(len(labels)) if self.num_workers is None else self.num_workers
        loader = DataLoader(batches, batch_size=None, num_workers=workers, collate_fn=_as_it_is)
        with tqdm(total=len(labels), desc=description, unit="image", disable=not self.progress) as bar:
            for rows, images in loader:
                if isinstance(images, list):
                    raise unreadable_images(images[:MAX_REPORTED], complete=False)
                values = self.head.rows(images.to(self.device, torch.float32))
                bar.update(len(rows))
                yield values.float().cpu(), labels[rows.start : rows.stop]

    def all(self, dataset: Any, class_map: Sequence[int] | None, description: str) -> tuple[Tensor, Tensor]:
        """All batches of a pass at once: `(features (N, D) or raw logits (N, C), labels (N,))`."""
        values, labels = zip(*self.batches(dataset, class_map, description), strict=True)
        return torch.cat(values), torch.cat(labels)


def _default_workers(rows: int) -> int:
    return 0 if rows < _ROWS_FOR_WORKERS else max(0, min(8, available_cores() - 1))


def _as_it_is(batch: Any) -> Any:
    """In place of the loader's own conversion; a function by name, for workers that are spawned."""
    return batch
