"""The data of a run: images found readable, batch loaders, data loaders over them, sampler of the training rows."""

from __future__ import annotations

import logging
import math
import os
import weakref
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from ..data.loading.batch_loader import BatchLoader
from ..data.loading.batches import GlobalBatchSampler, KeyedDataLoader, RowSampler, SequentialShards
from ..data.loading.image_check import check_images, has_files
from ..data.loading.image_sources import MAX_REPORTED, unreadable_images
from ..data.samplers import make_sampler
from ..distributed import available_cores
from ..methods import LongTailMethod
from ..models.modeling import LongTailPreTrainedModel
from .arguments import LongTailTrainingArguments
from .checks import evaluation_classes
from .optimization import planned_epochs

logger = logging.getLogger(__name__)

# Fingerprints of the datasets that this process has checked: the stages of a run share them.
_checked: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def training_batch_loader(
    dataset: Any,
    model: LongTailPreTrainedModel,
    method: LongTailMethod,
    args: LongTailTrainingArguments,
    labels: torch.Tensor | None = None,
) -> BatchLoader:
    """Augmented and mixed batches of a training set, with its `labels` where they were read already."""
    return BatchLoader(
        dataset,
        train=True,
        require_labels=method.uses_labels,
        labels=labels,
        augmentation=_augmentation(args.augmentation),
        augmentation_options=cast(dict | None, args.augmentation_options),
        views=method.views,
        mixup_alpha=args.mixup_alpha,
        cutmix_alpha=args.cutmix_alpha,
        mix_probability=args.mix_probability,
        switch_probability=args.mix_switch_probability,
        label_smoothing=args.label_smoothing,
        **_images_of(model, args),
    )


def evaluation_batch_loader(
    dataset: Any, model: LongTailPreTrainedModel, args: LongTailTrainingArguments, class_options: Mapping[str, Any]
) -> BatchLoader:
    """Batches of a dataset as inference sees it, its classes those of the model (see `match_classes`)."""
    classes = evaluation_classes(model, dataset, **class_options)
    loader = BatchLoader(
        dataset, train=False, require_labels=False, class_map=classes, augmentation="none", **_images_of(model, args)
    )
    if loader.loading == "workers":
        require_readable_images({"evaluation set": dataset})
    return loader


def _images_of(model: LongTailPreTrainedModel, args: LongTailTrainingArguments) -> dict[str, Any]:
    """What training and evaluation have in common: the images the model takes, where and how they are made."""
    config = model.config
    return {
        "num_labels": config.num_labels,
        "image_size": config.image_size,
        "num_channels": config.num_channels,
        "image_mean": config.image_mean,
        "image_std": config.image_std,
        "loading": args.image_loading,
        "device": args.device,
        "seed": data_seed(args),
        # The same crop and interpolation as the image processor, which is built from the same fields.
        "eval_resize_ratio": config.crop_ratio if config.crop_ratio < 1 else None,
        "interpolation": config.interpolation,
        "memory_format": torch.channels_last if args.channels_last else None,
    }


def _augmentation(names: list[str]) -> list[str] | str:
    if names == ["auto"]:
        return "auto"
    return "none" if names in ([], ["none"]) else names


class KeptBatchLoaders:
    """
    Batch loaders of evaluation sets, kept by the identity of the set: decoding the same images every epoch would cost
    more than evaluating them. Of sets that are not the trainer's `regular` ones, which come and go, only the last is
    kept.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, BatchLoader]] = {}

    def get(self, dataset: Any, regular: Any, make: Callable[[Any], BatchLoader]) -> BatchLoader:
        """That of `dataset`, made where it is not known."""
        known, loader = self._known.get(id(dataset), (None, None))
        if loader is None or known is not dataset:
            loader = make(dataset)
            kept = {id(one) for one in (regular.values() if isinstance(regular, dict) else [regular])}
            self._known = {key: value for key, value in self._known.items() if key in kept}
            self._known[id(dataset)] = (dataset, loader)
        return loader


def require_readable_images(splits: Mapping[str, Any], log: Callable[[str], None] = logger.info) -> None:
    """
    Read the headers of all images that no earlier check found in order; processes share the work.

    Args:
        splits (`dict`): Datasets by name; None, and datasets that decode by themselves, are left out.
        log (`Callable`): Called on the main process with what was read.

    Raises:
        `ValueError`: on all processes, naming split, class, row and file of the first images that cannot be read.
    """
    pending = {
        name: dataset
        for name, dataset in splits.items()
        if dataset is not None and has_files(dataset) and _checked.get(dataset) != dataset._fingerprint
    }
    if not pending:
        return
    state = PartialState()
    check = check_images(
        pending, reuse=True, part=(state.process_index, state.num_processes), progress=state.is_main_process
    )
    damaged = gather_object(check.damaged)
    whole = sum(gather_object([check.whole]))
    check.remember(complete=not damaged)
    if damaged:
        raise unreadable_images([str(damage) for damage in damaged[:MAX_REPORTED]], number=len(damaged))
    _checked.update({dataset: dataset._fingerprint for dataset in pending.values()})
    if state.is_main_process:
        parts = ", ".join(f"{name} {number:,}" for name, number in check.images.items())
        if whole < check.total:
            also = f", {whole:,} of them read whole before" if whole else ""
            log(
                f"Images checked: headers only, {check.total:,} images ({parts}){also}; "
                "`hf-ltr check <dataset> --full` reads them whole"
            )
        else:
            log(f"Images checked: {check.total:,} images ({parts}) were read whole by `hf-ltr check --full`")


def require_readable_data(train_dataset: Any, loading: str, eval_dataset: Any) -> None:
    """
    Refuse unreadable images of what training reads later than now: those that workers decode, and those of evaluation.
    """
    later = {"training set": train_dataset} if loading == "workers" else {}
    if isinstance(eval_dataset, dict):
        later |= {f"evaluation set {name!r}": dataset for name, dataset in eval_dataset.items()}
    else:
        later["evaluation set"] = eval_dataset
    require_readable_images(later)


def training_sampler(
    method: LongTailMethod, args: LongTailTrainingArguments, labels: torch.Tensor | None, rows: int
) -> RowSampler:
    """The sampler of a run on so many rows: the method's own where there are labels, or the one of the arguments."""
    seed, epochs = data_seed(args), math.ceil(planned_epochs(args, rows))
    if labels is not None and (sampler := method.train_sampler(labels, seed=seed, num_epochs=epochs)) is not None:
        return cast(RowSampler, sampler)  # `Sampler` of torch promises no length
    labels = torch.zeros(rows, dtype=torch.int64) if labels is None else labels
    return make_sampler(args.sampler, labels, seed=seed, num_epochs=epochs)


def training_loader(
    batch_loader: BatchLoader, sampler: RowSampler, args: LongTailTrainingArguments, batch_size: int
) -> KeyedDataLoader:
    """This process's part of the micro-batches of `batch_size` rows."""
    batches = GlobalBatchSampler(
        sampler, batch_size, args.world_size, args.process_index, drop_last=args.dataloader_drop_last
    )
    return batch_loader.loader(
        batches, accumulation_steps=args.gradient_accumulation_steps, **_workers(batch_loader, args)
    )


def evaluation_loader(batch_loader: BatchLoader, args: LongTailTrainingArguments) -> KeyedDataLoader:
    """This process's share of the rows, which are contiguous and in order."""
    shards = SequentialShards(batch_loader.num_rows, args.eval_batch_size, args.world_size, args.process_index)
    return batch_loader.loader(shards, **_workers(batch_loader, args))


def _workers(batch_loader: BatchLoader, args: LongTailTrainingArguments) -> dict[str, Any]:
    workers = args.dataloader_num_workers
    if workers < 0:
        share = available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        workers = min(8, max(0, share - 1)) if batch_loader.loading == "workers" else 0
    return {
        "num_workers": workers,
        "prefetch_factor": args.dataloader_prefetch_factor if workers else None,
        "persistent_workers": args.dataloader_persistent_workers and workers > 0,
        "pin_memory": args.dataloader_pin_memory,
    }


def data_seed(args: LongTailTrainingArguments) -> int:
    """Of samplers and augmentation."""
    return args.seed if args.data_seed is None else args.data_seed
