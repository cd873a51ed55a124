"""Contradictions between model, method, arguments and data, found before any training time is spent."""

from __future__ import annotations

import copy
from typing import Any

from ..data.class_counts import ClassCounts, class_counts
from ..methods import LongTailMethod, get_method

# Fields of the model's config that say which modules were built.
_ARCHITECTURE = ("head", "head_scale", "num_experts", "modulator", "masked_autoencoder")


def resolve_method(method: LongTailMethod | str | None, model: Any, train_dataset: Any) -> LongTailMethod:
    """A method from an object, a name, or nothing (cross-entropy); counts of the training set, else of the model."""
    if isinstance(method, LongTailMethod):
        return method
    if method is not None and not isinstance(method, str):
        raise TypeError(f"method must be a LongTailMethod or a name, not {type(method).__name__}")
    counts = _counts(train_dataset) or model_counts(model)
    if counts is None:
        counts = ClassCounts([1] * model.config.num_labels)
    return get_method(method or "cross_entropy", class_counts=counts)


def _has_labels(dataset: Any) -> bool:
    columns = getattr(dataset, "column_names", None)
    return columns is None or "label" in columns or "labels" in columns


def _counts(dataset: Any) -> ClassCounts | None:
    if dataset is None or not _has_labels(dataset):
        return None
    try:
        return class_counts(dataset)
    except TypeError:
        # A dataset whose labels only its items know; the input pipeline checks them when it reads them.
        return None


def model_counts(model: Any) -> ClassCounts | None:
    """The class counts a model's config carries, with its names and groups."""
    config = model.config
    if not getattr(config, "class_counts", None):
        return None
    names = [config.id2label[index] for index in range(config.num_labels)]
    return ClassCounts(config.class_counts, names, tuple(config.group_thresholds), config.group_scheme)


def default_processor(model: Any) -> Any:
    """The image processor that repeats what evaluation does to an image."""
    from ..models import LongTailConfig, LongTailImageProcessor

    return LongTailImageProcessor.from_config(model.config) if isinstance(model.config, LongTailConfig) else None


def check_run(model: Any, method: LongTailMethod, args: Any, train_dataset: Any, eval_dataset: Any) -> None:
    """
    Raises:
        `ValueError`: naming the first contradiction and what to do about it.
    """
    config = model.config
    if len(method.class_counts) != config.num_labels and method.uses_labels:
        raise ValueError(
            f"The method knows {len(method.class_counts)} classes but the model has {config.num_labels}. Build both "
            f"from "
            "class_counts(train_dataset)."
        )
    built = copy.deepcopy(config)
    method.configure(built)
    for name in _ARCHITECTURE:
        if getattr(built, name) != getattr(config, name):
            raise ValueError(
                f"{method.name} needs config.{name}={getattr(built, name)!r} but the model was built with "
                f"{getattr(config, name)!r}. Call method.configure(config) before building the model."
            )
    if not method.accepts_soft_targets and (args.mixup_alpha or args.cutmix_alpha or args.label_smoothing):
        raise ValueError(
            f"{method.name} needs hard labels, but mixup_alpha, cutmix_alpha or label_smoothing make soft targets. "
            f"Set "
            "them to 0 for this method."
        )
    if method.batch_coupled and args.gradient_accumulation_steps > 1:
        import warnings

        warnings.warn(
            f"The loss of {method.name} couples the samples of a batch: with gradient_accumulation_steps="
            f"{args.gradient_accumulation_steps} it sees only one micro-batch at a time.",
            stacklevel=3,
        )
    if train_dataset is not None and method.uses_labels:
        check_training_data(model, method, train_dataset)
    datasets = eval_dataset.values() if isinstance(eval_dataset, dict) else [eval_dataset]
    for dataset in datasets:
        if dataset is not None and method.uses_labels:
            check_class_names(model, dataset, "the evaluation set")


def check_training_data(model: Any, method: LongTailMethod, dataset: Any) -> None:
    counts = _counts(dataset)
    if counts is None:
        return
    check_class_names(model, dataset, "the training set")
    if len(counts) < model.config.num_labels and counts.names is None:
        counts = ClassCounts([*counts.counts, *[0] * (model.config.num_labels - len(counts))])
    if len(counts) != model.config.num_labels:
        raise ValueError(
            f"The training set has {len(counts)} classes but the model has num_labels={model.config.num_labels}. "
            f"Build "
            "the config from class_counts(train_dataset)."
        )
    if list(counts.counts) != list(method.class_counts.counts):
        different = [i for i, (a, b) in enumerate(zip(counts, method.class_counts, strict=True)) if a != b]
        first = different[0]
        raise ValueError(
            f"The method was built for other class counts than the training set has: class {first} has "
            f"{counts[first]} "
            f"images but the method was told {method.class_counts[first]} ({len(different)} classes differ). Pass "
            "class_counts(train_dataset) to get_method."
        )


def check_class_names(model: Any, dataset: Any, what: str) -> None:
    """Refuse data whose classes are named, and ordered, differently from the model's."""
    names = _class_names(dataset)
    if names is None:
        return
    id2label = model.config.id2label
    own = [id2label[i] for i in range(model.config.num_labels)]
    if own == [f"LABEL_{i}" for i in range(len(own))]:
        return  # a config without names claims no order
    if names == own:
        return
    if sorted(names) == sorted(own):
        first = next(i for i, (a, b) in enumerate(zip(names, own, strict=True)) if a != b)
        raise ValueError(
            f"{what} has the model's classes in another order: class {first} is {names[first]!r} there and "
            f"{own[first]!r} in "
            "the model. Priors, groups and predictions would be silently wrong; cast the label column to the model's "
            "order."
        )
    raise ValueError(
        f"{what} has other classes than the model: {len(names)} classes such as {names[:3]} against {len(own)} such "
        f"as "
        f"{own[:3]}. Start from a model of these classes, or from a checkpoint with a new classifier."
    )


def _class_names(dataset: Any) -> list[str] | None:
    features = getattr(dataset, "features", None)
    for column in ("label", "labels"):
        names = getattr(features[column], "names", None) if features is not None and column in features else None
        if names:
            return list(names)
    return None


def check_evaluation_data(model: Any, dataset: Any) -> None:
    from ..models import MaskedAutoencoder

    if isinstance(model, MaskedAutoencoder):
        raise ValueError(
            "A masked autoencoder has no classes to evaluate: watch its training loss, and evaluate the classifier "
            "that is "
            "fine-tuned from it (set eval_strategy='no' for this stage)."
        )
    check_class_names(model, dataset, "the evaluation set")


def run_facts(model: Any, method: LongTailMethod, args: Any, train_dataset: Any) -> dict[str, Any]:
    """What makes a run this run; compared when a folder is used again."""
    from ..data import long_tail_info

    info = long_tail_info(train_dataset) if hasattr(train_dataset, "info") else None
    return {
        "method": method.describe(),
        "model": {
            name: getattr(model.config, name, None)
            for name in ("backbone", "backbone_kwargs", "num_labels", "image_size", "num_channels", *_ARCHITECTURE)
        },
        "data": {
            "rows": len(train_dataset),
            "class_counts": list(method.class_counts.counts) if method.uses_labels else None,
            "row_hash": (info or {}).get("row_hash"),
        },
        "arguments": {name: getattr(args, name) for name in RUN_ARGUMENTS}
        | {"global_batch_size": _global_batch(args), "optim": str(getattr(args.optim, "value", args.optim))},
    }


# Batch size per device, processes and accumulation may change when a run is continued elsewhere; their product may
# not.
RUN_ARGUMENTS = (
    "seed",
    "num_train_epochs",
    "max_steps",
    "learning_rate",
    "weight_decay",
    "momentum",
    "nesterov",
    "layer_decay",
    "lr_milestones",
    "lr_milestone_factor",
    "warmup_epochs",
    "sampler",
    "augmentation",
    "augmentation_options",
    "mixup_alpha",
    "cutmix_alpha",
    "label_smoothing",
)


def _global_batch(args: Any) -> int:
    return args.per_device_train_batch_size * max(1, args.world_size) * args.gradient_accumulation_steps
