"""What the classifier's last layer reads, for all images of a split, by the model's own image processor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..data.labels import read_labels
from ..data.loading.decoding import decode_image
from ..data.loading.image_sources import MAX_REPORTED, describe_problem, image_source, unreadable_images
from ..distributed import available_cores
from .head import LinearHead, logits_of

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


def default_workers(rows: int) -> int:
    """Worker processes for a split of this many rows."""
    return 0 if rows < _ROWS_FOR_WORKERS else max(0, min(8, available_cores() - 1))


@torch.no_grad()
def iterate(
    model: nn.Module,
    head: LinearHead | None,
    dataset: Any,
    processor: Any,
    *,
    device: torch.device,
    batch_size: int,
    num_workers: int | None = None,
    description: str = "Images",
    progress: bool = True,
    class_map: Sequence[int] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """
    One pass over a split.

    Args:
        model (`PreTrainedModel`): In evaluation mode, on `device`.
        head ([`LinearHead`], *optional*): Of the model; without one the logits are what is collected.
        dataset (`datasets.Dataset`): With columns `image` and `label`.
        processor: The model's image processor.
        device (`torch.device`)
        batch_size (`int`)
        num_workers (`int`, *optional*): Processes that decode and transform; none for fewer than 2,000 rows if not
            given.
        description (`str`), progress (`bool`): Of the progress bar.
        class_map (sequence of `int`, *optional*): The model's class for each of the dataset's, where it numbers them
            differently.

    Yields:
        `(features (B, D) or raw logits (B, C), labels (B,))`, float32 and int64, on the CPU.

    Raises:
        `ValueError`: naming the rows whose image cannot be read, or whose label is none of the model's.
    """
    from tqdm.auto import tqdm

    labels = read_labels(dataset, ("label", "labels"), model.config.num_labels, required=True, class_map=class_map)
    batches = ProcessedBatches(dataset, processor, number_of_channels(model.config), batch_size)
    workers = default_workers(len(labels)) if num_workers is None else num_workers
    loader = DataLoader(batches, batch_size=None, num_workers=workers, collate_fn=_as_it_is)
    bar = tqdm(total=len(labels), desc=description, unit="image", disable=not progress)
    with bar, _inputs(head) as seen:
        for rows, images in loader:
            if isinstance(images, list):
                raise unreadable_images(images[:MAX_REPORTED], complete=False)
            logits = logits_of(model(pixel_values=images.to(device, torch.float32)))
            values = logits if seen is None else seen.pop()
            bar.update(len(rows))
            yield values.float().cpu(), labels[rows.start : rows.stop]


def collect(batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """All batches of [`iterate`] at once: `(features (N, D) or raw logits (N, C), labels (N,))`."""
    values, labels = zip(*batches, strict=True)
    return torch.cat(values), torch.cat(labels)


def _inputs(head: LinearHead | None) -> Any:
    return contextlib.nullcontext() if head is None else head.inputs()


def _as_it_is(batch: Any) -> Any:
    """In place of the loader's own conversion; a function by name, for workers that are spawned."""
    return batch
