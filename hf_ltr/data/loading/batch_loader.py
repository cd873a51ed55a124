"""
From a dataset to the batches of the training loop.

Small images are decoded once into one uint8 tensor on the training device; the loader then yields nothing but keys,
and `prepare` gathers, augments and normalises whole batches there. Large images are decoded, cut and resized to uint8
by loader workers, and the rest is done by `prepare` as well. Since every random number is a function of an image's key
(see `randomness.py`), a run is the same whichever place does the work, and whatever the number of workers or
processes.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler

from ...naming import unknown_name
from ..labels import read_labels
from ..map_style import is_arrow_dataset, require_column, require_map_style
from ..randomness import is_padding, rows_of
from ..transforms.augmentation import CROPS, MAX_VIEWS, Augmentation
from ..transforms.mixing import Mixing, Pairing, require_even, warn_of_pairs_within_classes
from .batches import GlobalBatchSampler, KeyedDataLoader
from .decoding import image_dimensions, is_wide
from .images import (
    MAX_REPORTED,
    ImageSource,
    UnreadableImagesError,
    decode_resident,
    describe_problem,
    describe_row,
    image_source,
    unreadable_images,
)
from .ranges import RangeTally, used_range
from .row_datasets import Batch, DecodedRows, HostRows, KeyRows, ReadyRows, StoredRows

SMALL_SIDE = 96
LOADINGS = ("auto", "resident", "workers")
_PROBED = 64
_DECODED_PROBES = 16
_LARGE = 1 << 18
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
        `"ready"`), augmentation (`list[str]`: the names in force), image_size (`tuple[int, int]`).

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
        _require_rows(dataset)
        if loading not in LOADINGS:
            raise unknown_name("loading", loading, LOADINGS)
        if not 1 <= len(views) <= MAX_VIEWS:
            raise ValueError(f"views must name between 1 and {MAX_VIEWS} views, got {list(views)}")
        self.image_size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        self.num_channels = num_channels
        self.num_labels = num_labels
        self.train = train
        self.device = torch.device(device)
        self.seed = int(seed)
        self.memory_format = memory_format
        self._scale, self._shift = _normalisation(image_mean, image_std, num_channels, self.device)
        self._resize = {"interpolation": interpolation, "resize_ratio": None if train else eval_resize_ratio}

        ready = _is_ready(dataset, image_column)
        self.num_rows = len(dataset[image_column]) if isinstance(dataset, Mapping) else len(dataset)
        names = ("labels", label_column) if ready else (label_column,)
        required = not train if require_labels is None else require_labels
        self.labels = read_labels(dataset, names, num_labels, required, class_map) if labels is None else labels
        self._device_labels = None if self.labels is None else self.labels.to(self.device)
        self.mixing = self._make_mixing(
            mixup_alpha, cutmix_alpha, mix_probability, switch_probability, label_smoothing
        )

        source = None if ready else image_source(dataset, image_column)
        sizes, problems = _probe(source) if source is not None else (set(), [])
        small = len(sizes) == 1 and max(max(size) for size in sizes) <= SMALL_SIDE
        if ready and (augmentation not in ("auto", "none", None) or len(views) > 1):
            raise ValueError(
                "this dataset yields ready pixel_values, which are neither augmented nor viewed twice here: leave "
                "augmentation at 'auto', or let it yield images"
            )
        lists = self._augmentation_lists(augmentation, views, view_augmentations or {}, small, ready)
        self.augmentation = lists[0]
        self._views = [
            Augmentation(
                names,
                _options_of(names, lists, augmentation_options if train else None),
                image_size=self.image_size,
                image_mean=image_mean,
                interpolation=interpolation,
            )
            for names in lists
        ]
        self.loading = "ready" if ready else self._choose_loading(loading, small, resident_limit_bytes)
        if problems and self.loading == "workers":
            raise unreadable_images(problems, complete=False)
        self._images: torch.Tensor | None = None
        self._open(dataset, source, image_column, sizes)

    def _make_mixing(self, mixup, cutmix, probability, switch, smoothing) -> Mixing | None:
        mixing = Mixing(self.num_labels or 0, mixup, cutmix, probability, switch, smoothing, self.seed)
        if not self.train or not mixing.active:
            return None
        if self.labels is None or not self.num_labels:
            raise ValueError("mixup, cutmix and label smoothing need labels and num_labels")
        return mixing

    def _augmentation_lists(
        self,
        augmentation: Sequence[str] | str | None,
        views: Sequence[str],
        view_augmentations: Mapping[str, Sequence[str]],
        small: bool,
        ready: bool,
    ) -> list[list[str]]:
        """The augmentation list of each view."""
        if not self.train or ready or augmentation is None or augmentation == "none":
            names = []
        elif augmentation == "auto":
            names = ["random_crop" if small else "random_resized_crop", "horizontal_flip"]
        elif isinstance(augmentation, str):
            names = [name.strip() for name in augmentation.split(",") if name.strip()]
        else:
            names = list(augmentation)
        known = {"train": names, "eval": [], **{name: list(value) for name, value in view_augmentations.items()}}
        for view in views:
            if view not in known:
                raise unknown_name("view", view, known, "Define it with view_augmentations={name: [...]}.")
        return [known[view] if self.train else [] for view in views]

    def _choose_loading(self, loading: str, small: bool, limit: int) -> str:
        if loading != "auto":
            return loading
        bytes_needed = self.num_rows * self.num_channels * self.image_size[0] * self.image_size[1]
        return "resident" if small and bytes_needed <= limit else "workers"

    def _open(self, dataset: Any, source: ImageSource | None, image_column: str, sizes: set[tuple[int, int]]) -> None:
        """Decode what is resident, and decide which part of each view's augmentation the loader does."""
        if source is None:
            self._rows: Dataset = ReadyRows(dataset, (self.num_channels, *self.image_size))
            self._device_views = self._views
            return
        parts = [view.split() for view in self._views]
        self._device_views = [rest for _, rest in parts]
        if self.loading == "workers":
            crops = []
            for place, (view, (first, rest)) in enumerate(zip(self._views, parts, strict=True)):
                crops.append(view.crop)
                if view.crop is None:
                    continue
                if view.names[0] != view.crop or set(CROPS) <= set(view.names):
                    raise ValueError(
                        f"with loading='workers' {view.crop} must come first, and be the only crop of its kind, got "
                        f"{view.names}: it is done while the image still has its own size"
                    )
                parts[place] = (first.without(view.crop), rest.without(view.crop))
            self._device_views = [rest for _, rest in parts]  # without the crops
            reader = DecodedRows(
                source, self.num_channels, self.image_size, self._resize, self.seed, self._views, crops
            )
            self._rows = HostRows(reader, [first for first, _ in parts], self.seed)
            return
        self._images = self._decode(dataset, image_column, sizes)
        if any(view.has_policy for view in self._views):
            self._rows = HostRows(StoredRows(self._images), [first for first, _ in parts], self.seed)
            self._images = None
        else:
            self._images = self._images.to(self.device)
            self._rows = KeyRows(self.num_rows)

    def _decode(self, dataset: Any, image_column: str, sizes: set[tuple[int, int]]) -> torch.Tensor:
        size = self.image_size
        if sizes and all(view.crop is not None for view in self._views):
            stored = tuple(round(side / _STORED_RATIO) for side in size)
            # Images smaller than that would gain nothing from being stored enlarged.
            if all(height >= stored[0] and width >= stored[1] for height, width in sizes):
                size = stored
        return decode_resident(dataset, size, self.num_channels, image_column=image_column, **self._resize)

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
                warn_of_pairs_within_classes(self.labels.numpy()[rows_of(batch_sampler.keys())])
        options: dict[str, Any] = {}
        if not isinstance(self._rows, KeyRows):
            options["pin_memory"] = pin_memory and self.device.type != "cpu"
            if num_workers > 0:
                options |= {"num_workers": num_workers, "persistent_workers": persistent_workers}
                options |= {"prefetch_factor": prefetch_factor} if prefetch_factor is not None else {}
        return KeyedDataLoader(self._rows, batch_sampler, **options)

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
            if self._images is not None:
                images = [self._images.index_select(0, rows)] * len(self._views)
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


def _require_rows(dataset: Any) -> None:
    require_map_style(dataset)
    rows = {len(column) for column in dataset.values()} if isinstance(dataset, Mapping) else {len(dataset)}
    if len(rows) > 1:
        raise ValueError(f"the arrays of the dataset have different lengths: {sorted(rows)}")
    if rows == {0}:
        raise ValueError("the dataset is empty")


def _normalisation(
    mean: Sequence[float], std: Sequence[float], num_channels: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """(scale, shift) with `pixels * scale + shift` = `(pixels / 255 - mean) / std`."""
    mean, std = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    if mean.shape != (num_channels,) or std.shape != (num_channels,) or not bool((std > 0).all()):
        raise ValueError(
            f"image_mean and image_std must have one value per channel ({num_channels}), std positive; got "
            f"{mean.tolist()} and {std.tolist()}"
        )
    scale, shift = 1.0 / (255.0 * std), -mean / std
    return tuple(v.to(torch.float32).view(1, -1, 1, 1).to(device) for v in (scale, shift))


def _is_ready(dataset: Any, image_column: str) -> bool:
    """Whether the dataset yields `pixel_values` of its own making."""
    if isinstance(dataset, Mapping):
        if image_column not in dataset and "pixel_values" in dataset:
            raise ValueError(
                f"a dict of arrays holds images, uint8 under {image_column!r}; ready pixel_values are those of a "
                "dataset whose items are {'pixel_values', 'labels'}, such as datasets.Dataset.from_dict(...)"
            )
        require_column(image_column, dataset, "image")
        return False
    if is_arrow_dataset(dataset):
        return image_column not in dataset.column_names and "pixel_values" in dataset.column_names
    item = dataset[0]
    if isinstance(item, Mapping):
        if "pixel_values" not in item:
            require_column(image_column, item, "image")
        return "pixel_values" in item
    if isinstance(item, Sequence) and len(item) >= 1:
        return isinstance(item[0], torch.Tensor) and item[0].is_floating_point()
    raise TypeError(
        "the items of the dataset must be {'image', 'label'}, {'pixel_values', 'labels'} or (image, label), "
        f"got {type(item).__name__}"
    )


def _probe(source: ImageSource) -> tuple[set[tuple[int, int]], list[str]]:
    """
    The sizes (height, width) of some images, the first and some evenly spaced ones, and which are unreadable. A few of
    them are decoded, to say it when they use far less than the range of their container.
    """
    step = max(len(source) // _PROBED, 1)
    rows = sorted({*range(min(_PROBED, len(source))), *range(0, len(source), step)})
    decoded = set(rows[:: max(len(rows) // _DECODED_PROBES, 1)])
    sizes, problems, tally = set(), [], RangeTally()
    for row, item in zip(rows, source.items(rows), strict=True):
        try:
            height, width = image_dimensions(item)
            sizes.add((height, width))
        except Exception as error:
            problems.append(describe_problem(source, row, error))
            continue
        # A large photograph of 8 bits takes long and surprises nobody; what cannot be decoded is reported elsewhere.
        if row in decoded and (height * width <= _LARGE or is_wide(item)):
            with contextlib.suppress(Exception):
                tally.add(row, *used_range(item))
    for remark in tally.remarks(lambda row: describe_row(row, source.name(row))):
        warnings.warn(remark, stacklevel=4)
    return sizes, problems[:MAX_REPORTED]


def _options_of(
    names: Sequence[str], lists: Sequence[Sequence[str]], options: Mapping[str, Mapping[str, Any]] | None
) -> dict[str, Mapping[str, Any]]:
    """The options of one view's operations; those that belong to no view are kept, for `Augmentation` to refuse."""
    used = {name for other in lists for name in other}
    return {name: value for name, value in (options or {}).items() if name in names or name not in used}
