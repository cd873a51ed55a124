"""
From a dataset to the batches of the training loop.

Small images are decoded once into one uint8 tensor on the training device; the loader then yields nothing but keys,
and `prepare` gathers, augments and normalises whole batches there. Large images are decoded, cut and resized to uint8
by loader workers, and the rest is done by `prepare` as well. Since every random number is a function of an image's key
(see `randomness.py`), a run is the same whichever place does the work, and whatever the number of workers or
processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler

from ...validation import choice
from ..labels import read_labels
from ..map_style import number_of_rows
from ..randomness import is_padding, rows_of
from ..transforms.augmentation import Augmentation
from ..transforms.mixing import Mixing, Pairing, require_even, warn_of_pairs_within_classes
from ..transforms.views import make_views
from .batches import GlobalBatchSampler, KeyedDataLoader
from .image_sources import ImageSource, UnreadableImagesError, image_source, unreadable_images
from .images import decode_resident
from .inspection import probe_images, require_rows, yields_pixel_values
from .row_datasets import Batch, DecodedRows, HostRows, KeyRows, ReadyRows, StoredRows

SMALL_SIDE = 96
LOADINGS = ("auto", "resident", "workers")
# ImageNet practice: what is cut down to 224 is stored at 256.
_STORED_RATIO = 0.875


class BatchLoader:
    """
    Reads, augments and normalises the images of one dataset.

    Args:
        dataset: One of
            - `datasets.Dataset` with an image column (any encoding, any size);
            - a map-style dataset whose items are `{image_column: image, label_column: int}` or `(image, label)`; its
              labels are taken from an attribute `labels` or `targets` if it has one, else by reading every item once;
            - a map-style dataset whose items are `{"pixel_values": float tensor, "labels": int}` or `(float tensor,
              int)`: passed through as it is, with no augmentation (its own randomness is its own affair);
            - a dict of arrays, `{image_column: uint8 (N, H, W[, C]) or tensor (N, C, H, W), label_column: (N,)}`.
        num_labels (`int`, *optional*): Number of classes; labels are checked against it. None: not checked.
        image_size (`int` or `tuple[int, int]`): Of the model's input. Images of another size are resized.
        num_channels (`int`): 1, 3 or 4; images are converted.
        image_mean, image_std: Per channel, of pixel values scaled to [0, 1].
        train (`bool`): Augment, mix and smooth; else do none of it. A dataset without labels has `labels` None (see
            `require_labels`).
        augmentation: Names (see `augmentation.OPERATIONS`), also as one comma-separated string, `"none"`, or `"auto"`:
            random crop and flip when all images have the same size of at most 96 pixels, else random resized crop and
            flip.
        augmentation_options: `{name: {option: value}}`.
        loading: `"resident"` (decode once and keep), `"workers"` (decode in every epoch), or `"auto"`: resident when
            the images are at most 96 pixels, all of the same size, and fit into `resident_limit_bytes`.
        resident_limit_bytes (`int`): For `"auto"`.
        image_column, label_column (`str`): Columns or keys.
        device: Where batches are made.
        seed (`int`): Of all augmentation and mixing.
        views: Names of the views of each image. `"train"` is augmented by `augmentation`, `"eval"` not at all, others
            by `view_augmentations[name]`. Views of the same name differ in all random draws.
        mixup_alpha, cutmix_alpha, mix_probability, switch_probability, label_smoothing: See `mixing.Mixing`. View 0 is
            mixed.
        eval_resize_ratio (`float`, *optional*): `224 / 256`: resize the shorter side to 256, then cut out the centre.
            For `train=False`; a training image without random resized crop keeps as much as fits (ratio 1).
        memory_format: `torch.channels_last`, for example.
        interpolation (`str`): `"bicubic"` or `"bilinear"`, for every resizing.
        view_augmentations: `{name of a view: augmentation list}`.
        require_labels (`bool`, *optional*): Whether a dataset without labels is an error; by default, unless `train`.
        class_map (sequence of `int`, *optional*): The model's class for each of the dataset's, where it numbers them
            differently.
        labels (`torch.LongTensor (N,)`, *optional*): Of all rows, if they were read already.

    Attributes:
        labels (`torch.LongTensor (N,)` on the CPU, or None), num_rows (`int`), loading (`"resident"`, `"workers"` or
        `"ready"`), augmentation (`list[str]`: the names in force), image_size (`tuple[int, int]`), views (list of
        [`~hf_ltr.data.transforms.augmentation.Augmentation`]), images (uint8 on the device, where they are resident).

    Raises:
        ValueError: before any training time is spent, for a missing column, a label outside the classes (the row is
            named), unreadable images (rows and files named; with `"workers"`, beyond a probe, when the row is
            reached), and unknown names and options.
        TypeError: for something that is not a map-style dataset.

    Note: with `random_resized_crop` or `random_window`, resident images larger than the input are kept at
    `image_size / 0.875`, as a centre crop: the classic pre-decoded 256-pixel store. Each box or window is cut from
    that, not from the original.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        num_labels: int | None,
        image_size: int | tuple[int, int],
        num_channels: int = 3,
        image_mean: Sequence[float],
        image_std: Sequence[float],
        train: bool,
        augmentation: Sequence[str] | str | None = "auto",
        augmentation_options: Mapping[str, Mapping[str, Any]] | None = None,
        loading: str = "auto",
        resident_limit_bytes: int = 4 << 30,
        image_column: str = "image",
        label_column: str = "label",
        device: torch.device | str = "cpu",
        seed: int = 0,
        views: Sequence[str] = ("train",),
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        mix_probability: float = 1.0,
        switch_probability: float = 0.5,
        label_smoothing: float = 0.0,
        eval_resize_ratio: float | None = None,
        memory_format: torch.memory_format | None = None,
        interpolation: str = "bicubic",
        view_augmentations: Mapping[str, Sequence[str]] | None = None,
        require_labels: bool | None = None,
        class_map: Sequence[int] | None = None,
        labels: torch.Tensor | None = None,
    ):
        require_rows(dataset)
        choice("loading", loading, LOADINGS)
        self.image_size = (image_size, image_size) if isinstance(image_size, int) else (image_size[0], image_size[1])
        self.num_channels = num_channels
        self.num_labels = num_labels
        self.train = train
        self.device = torch.device(device)
        self.seed = int(seed)
        self.memory_format = memory_format
        self._scale, self._shift = _normalisation(image_mean, image_std, num_channels, self.device)
        self._interpolation, self._resize_ratio = interpolation, None if train else eval_resize_ratio

        ready = yields_pixel_values(dataset, image_column)
        if ready and (augmentation not in ("auto", "none", None) or len(views) > 1):
            raise ValueError(
                "this dataset yields ready pixel_values, which are neither augmented nor viewed twice here: leave "
                "augmentation at 'auto', or let it yield images"
            )
        self.num_rows = number_of_rows(dataset)
        columns = ("labels", label_column) if ready else (label_column,)
        required = not train if require_labels is None else require_labels
        self.labels = read_labels(dataset, columns, num_labels, required, class_map) if labels is None else labels
        self._device_labels = None if self.labels is None else self.labels.to(self.device)
        mixing = Mixing(
            num_labels or 0, mixup_alpha, cutmix_alpha, mix_probability, switch_probability, label_smoothing, self.seed
        )
        self.mixing = self._mixing_in_force(mixing)

        source = None if ready else image_source(dataset, image_column)
        sizes, problems = probe_images(source) if source is not None else (set(), [])
        small = len(sizes) == 1 and max(max(size) for size in sizes) <= SMALL_SIDE
        self.views = make_views(
            views,
            None if ready else augmentation,
            view_augmentations or {},
            (augmentation_options if train else None) or {},
            train=train,
            small=small,
            image_size=self.image_size,
            image_mean=image_mean,
            interpolation=interpolation,
        )
        self.augmentation = self.views[0].names
        self.loading = "ready" if ready else self._choose_loading(loading, small, resident_limit_bytes)
        if problems and self.loading == "workers":
            raise unreadable_images(problems, complete=False)
        self.images: torch.Tensor | None = None
        self._device_views: Sequence[Augmentation] = self.views
        self._rows = self._open(dataset, source, image_column, sizes)

    def _mixing_in_force(self, mixing: Mixing) -> Mixing | None:
        if not self.train or not mixing.active:
            return None
        if self.labels is None or not self.num_labels:
            raise ValueError("mixup, cutmix and label smoothing need labels and num_labels")
        return mixing

    def _choose_loading(self, loading: str, small: bool, limit: int) -> str:
        if loading != "auto":
            return loading
        bytes_needed = self.num_rows * self.num_channels * self.image_size[0] * self.image_size[1]
        return "resident" if small and bytes_needed <= limit else "workers"

    def _open(
        self, dataset: Any, source: ImageSource | None, image_column: str, sizes: set[tuple[int, int]]
    ) -> KeyRows:
        """Decode what is resident, and decide which part of each view's augmentation the loader does."""
        if source is None:
            return ReadyRows(dataset, (self.num_channels, *self.image_size))
        first: Sequence[Augmentation]
        if self.loading == "workers":
            crops, first, self._device_views = zip(*(view.split_for_decoding() for view in self.views), strict=True)
            reader = DecodedRows(
                source,
                self.num_channels,
                self.image_size,
                self._interpolation,
                self._resize_ratio,
                self.seed,
                self.views,
                crops,
            )
            return HostRows(reader, first, self.seed)
        first, self._device_views = zip(*(view.split() for view in self.views), strict=True)
        images = decode_resident(
            dataset,
            self._stored_size(sizes),
            self.num_channels,
            image_column=image_column,
            interpolation=self._interpolation,
            resize_ratio=self._resize_ratio,
        )
        if any(view.has_policy for view in self.views):
            return HostRows(StoredRows(images), first, self.seed)
        self.images = images.to(self.device)
        return KeyRows(self.num_rows)

    def _stored_size(self, sizes: set[tuple[int, int]]) -> tuple[int, int]:
        """Of resident images, from some images' sizes."""
        if not sizes or any(view.crop is None for view in self.views):
            return self.image_size
        height, width = (round(side / _STORED_RATIO) for side in self.image_size)
        # Images smaller than that would gain nothing from being stored enlarged.
        enough = all(own[0] >= height and own[1] >= width for own in sizes)
        return (height, width) if enough else self.image_size

    def loader(
        self,
        batch_sampler: Sampler[list[int]],
        num_workers: int = 0,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory: bool = False,
        accumulation_steps: int = 1,
    ) -> KeyedDataLoader:
        """
        A loader of raw batches, to be passed to `prepare`: `{"keys": int64 (B,)}`, and what the loader does on the
        CPU: `"images"` uint8 `(B, C, H, W)` (`"extra_images"` for further views), or a ready dataset's
        `"pixel_values"`.

        Args:
            batch_sampler: `GlobalBatchSampler` for training, `SequentialShards` for evaluation.
            num_workers, prefetch_factor, persistent_workers, pin_memory: As in `torch.utils.data.DataLoader`. They are
                ignored where batches are nothing but keys (workers and pinning would only cost time).
            accumulation_steps (`int`): Micro-batches of an optimiser step. Where batches are mixed, `batch_sampler`
                is told to pair the rows of a step (see `mixing.py`), unless it has a `pairing` already.

        Raises:
            ValueError: if batches are to be mixed and the batch size per process is odd.
        """
        if self.mixing is not None and self.mixing.mixes and isinstance(batch_sampler, GlobalBatchSampler):
            require_even(batch_sampler.batch_size, "the batch size per process")
            if batch_sampler.pairing is None:
                rows = batch_sampler.batch_size * batch_sampler.world_size * accumulation_steps
                batch_sampler.pairing = Pairing(rows, self.seed)
            if hasattr(batch_sampler.sampler, "indices"):  # others may draw from a random state they do not own
                assert self.labels is not None
                warn_of_pairs_within_classes(self.labels.numpy()[rows_of(batch_sampler.keys())])
        options: dict[str, Any] = {}
        if self._rows.reads:
            options["pin_memory"] = pin_memory and self.device.type != "cpu"
            if num_workers > 0:
                options |= {"num_workers": num_workers, "persistent_workers": persistent_workers}
                options |= {"prefetch_factor": prefetch_factor} if prefetch_factor is not None else {}
        loader = KeyedDataLoader(self._rows, batch_sampler, **options)
        loader.batch_loader = self
        return loader

    def prepare(self, raw: Batch, step: int = 0) -> Batch:
        """
        Make the batch on the device. Reads nothing back from the device.

        Args:
            raw: From `loader`.
            step (`int`): The optimiser step, the same for all its micro-batches: decides the mixing.

        Returns:
            `dict`: `pixel_values` float32 `(B, C, H, W)`; `labels` int64 `(B,)` if the dataset has any; `index` int64
            `(B,)`, rows of the dataset; `keys` int64 `(B,)` for further draws (masks, gates; see `randomness.py`);
            `weight` float32 `(B,)`, 0 for padding rows and else 1; `targets` float32 `(B, num_labels)` only when mixed
            or smoothed; `extra_views` (list of tensors) only with more than one view.
        """
        if "unreadable" in raw:
            raise UnreadableImagesError(raw["unreadable"])
        keys = raw["keys"].to(self.device, non_blocking=True)
        rows = rows_of(keys)
        batch: Batch = {"index": rows, "keys": keys, "weight": (~is_padding(keys)).to(torch.float32)}
        if self.loading == "ready":
            pixels = [raw["pixel_values"].to(self.device, non_blocking=True, dtype=torch.float32)]
        else:
            if self.images is not None:
                images = [self.images.index_select(0, rows)] * len(self.views)
            else:
                images = [raw["images"], *raw.get("extra_images", ())]
                images = [image.to(self.device, non_blocking=True) for image in images]
            pixels = [self._finish(image, keys, view) for view, image in enumerate(images)]
        if self._device_labels is not None:
            batch["labels"] = self._device_labels.index_select(0, rows)
        if self.mixing is not None:
            pixels[0], batch["targets"] = self.mixing(pixels[0], batch["labels"], step)
        if self.memory_format is not None:
            pixels = [pixel.contiguous(memory_format=self.memory_format) for pixel in pixels]
        batch["pixel_values"] = pixels[0]
        if len(pixels) > 1:
            batch["extra_views"] = pixels[1:]
        return batch

    def _finish(self, images: torch.Tensor, keys: torch.Tensor, view: int) -> torch.Tensor:
        augmentation = self._device_views[view]
        images = augmentation.apply(images, keys, self.seed, view)
        if self.memory_format is not None:
            images = images.contiguous(memory_format=self.memory_format)  # bytes are cheaper to reorder than floats
        pixels = images.to(torch.float32).mul_(self._scale).add_(self._shift)
        return augmentation.apply_normalized(pixels, keys, self.seed, view)


def _normalisation(
    image_mean: Sequence[float], image_std: Sequence[float], num_channels: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """(scale, shift) with `pixels * scale + shift` = `(pixels / 255 - mean) / std`."""
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (image_mean, image_std))
    if mean.shape != (num_channels,) or std.shape != (num_channels,) or not bool((std > 0).all()):
        raise ValueError(
            f"image_mean and image_std must have one value per channel ({num_channels}), std positive; got "
            f"{mean.tolist()} and {std.tolist()}"
        )
    scale, shift = (v.to(torch.float32).view(1, -1, 1, 1).to(device) for v in (1.0 / (255.0 * std), -mean / std))
    return scale, shift
