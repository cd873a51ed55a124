"""Contradictions between model, method, arguments and data, found before any training time is spent."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from ..data.class_counts import ClassCounts, class_counts
from ..data.labels import read_labels
from ..data.record import explain_counts
from ..methods import LongTailMethod, get_method
from ..methods.corrections import warn_of_training_corrections
from .optimization import check_parameter_options

logger = logging.getLogger(__name__)

# Fields of the model's config that say which modules were built.
_ARCHITECTURE = ("head", "head_scale", "num_experts", "modulator", "masked_autoencoder")


def resolve_method(
    method: LongTailMethod | str | None, model: Any, train_dataset: Any
) -> tuple[LongTailMethod, ClassCounts | None]:
    """
    A method from an object, a name, or nothing (cross-entropy), and the class counts it is for, if anybody knows them:
    those of the method's maker, of the training set, or of the model's config.
    """
    if isinstance(method, LongTailMethod):
        return method, method.class_counts if method.uses_labels else None
    if method is not None and not isinstance(method, str):
        raise TypeError(f"method must be a LongTailMethod or a name, not {type(method).__name__}")
    counts = _counts(train_dataset) or model_counts(model)
    # Without counts (evaluation of a model that has none) the method is a placeholder that never sees a batch.
    placeholder = ClassCounts([1] * model.config.num_labels)
    return get_method(method or "cross_entropy", class_counts=counts or placeholder), counts


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


def complete_config(model: Any, counts: ClassCounts | None, dataset: Any) -> None:
    """Write class counts and names into a config that has none: a checkpoint describes itself."""
    config = model.config
    if config.class_counts is None and counts is not None:
        config.class_counts = counts
    names = _class_names(dataset) if dataset is not None else None
    if names is not None and len(names) == config.num_labels and _unnamed(config):
        config.id2label = dict(enumerate(names))
        config.label2id = {name: index for index, name in enumerate(names)}


def _unnamed(config: Any) -> bool:
    return all(config.id2label[index] == f"LABEL_{index}" for index in range(config.num_labels))


def default_processor(model: Any) -> Any:
    """The image processor that repeats what evaluation does to an image."""
    from ..models import LongTailImageProcessor

    return LongTailImageProcessor.from_config(model.config)


def check_model(model: Any) -> None:
    """Refuse, by name, what is not a model of this package."""
    from ..models import LongTailConfig

    if not isinstance(getattr(model, "config", None), LongTailConfig):
        raise TypeError(
            f"LongTailTrainer trains models of this package, not {type(model).__name__}: build "
            "LongTailForImageClassification(LongTailConfig(backbone=<any timm name>, ...))"
        )
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    if dtypes & {torch.bfloat16, torch.float16}:
        raise ValueError(
            "The weights are in half precision, in which small updates are lost; load them with "
            "from_pretrained(..., dtype='float32'). mixed_precision_mode computes in bfloat16 by itself."
        )


def check_run(model: Any, method: LongTailMethod, args: Any, train_dataset: Any, eval_dataset: Any) -> None:
    """
    Raises:
        `ValueError`: naming the first contradiction and what to do about it.
    """
    config = model.config
    if method.uses_labels and hasattr(train_dataset, "column_names") and _class_names(train_dataset) is None:
        # Labels without names: the first one outside the model's classes is named with its row.
        read_labels(train_dataset, ("label", "labels"), config.num_labels, required=True)
    if len(method.class_counts) != config.num_labels and method.uses_labels:
        raise ValueError(
            f"The method knows {len(method.class_counts)} classes but the model has {config.num_labels}. Build both "
            "from class_counts(train_dataset)."
        )
    built = copy.deepcopy(config)
    method.configure(built)
    for name in _ARCHITECTURE:
        if getattr(built, name) != getattr(config, name):
            raise ValueError(
                f"{method.name} needs config.{name}={getattr(built, name)!r} but the model was built with "
                f"{getattr(config, name)!r}. Call method.configure(config) before building the model."
            )
    check_arguments(method, args, model.config.logit_adjustment)
    check_parameter_options(args.parameter_options, [name for name, _ in model.named_parameters()])
    if train_dataset is not None and method.uses_labels:
        check_training_data(model, method, train_dataset)
    datasets = eval_dataset.values() if isinstance(eval_dataset, dict) else [eval_dataset]
    for dataset in datasets:
        if dataset is not None and method.uses_labels:
            check_class_names(model, dataset, "the evaluation set")


def check_arguments(method: LongTailMethod, args: Any, adjustment: dict[str, Any] | None = None) -> None:
    """What a method cannot work with; `adjustment` is the field `logit_adjustment` of the model's config."""
    if args.n_gpu > 1:
        raise ValueError(
            f"{args.n_gpu} GPUs are visible to one process, which would use nn.DataParallel. Start one process per "
            "GPU with `accelerate launch` or `torchrun`, or show one GPU with CUDA_VISIBLE_DEVICES."
        )
    if not method.sharded_parameters and (args.fsdp or args.deepspeed):
        raise ValueError(
            f"{method.name} reads parameters outside the forward pass, where FSDP and DeepSpeed keep only shards of "
            "them; train it with plain data parallelism."
        )
    if not method.accepts_soft_targets and (args.mixup_alpha or args.cutmix_alpha or args.label_smoothing):
        raise ValueError(
            f"{method.name} needs hard labels, but mixup_alpha, cutmix_alpha or label_smoothing make soft targets. "
            "Set them to 0 for this method."
        )
    if method.batch_coupled and args.gradient_accumulation_steps > 1:
        warnings.warn(
            f"The loss of {method.name} couples the samples of a batch: with gradient_accumulation_steps="
            f"{args.gradient_accumulation_steps} it sees only one micro-batch at a time.",
            stacklevel=3,
        )
    warn_of_training_corrections(method, args.sampler, adjustment, stacklevel=3)


def check_training_data(model: Any, method: LongTailMethod, dataset: Any) -> None:
    """Compare the training set's own labels with what model and method were built for."""
    counts = _counts(dataset)
    if counts is None:
        return
    check_class_names(model, dataset, "the training set")
    explanation = explain_counts(dataset)
    if explanation is not None:
        logger.info("The training set is %s", explanation)
    if len(counts) < model.config.num_labels and counts.names is None:
        counts = ClassCounts([*counts.counts, *[0] * (model.config.num_labels - len(counts))])
    if len(counts) != model.config.num_labels:
        raise ValueError(
            f"The training set has {len(counts)} classes but the model has num_labels={model.config.num_labels}. "
            "Build the config from class_counts(train_dataset)."
        )
    if list(counts.counts) != list(method.class_counts.counts):
        different = [i for i, (a, b) in enumerate(zip(counts, method.class_counts, strict=True)) if a != b]
        first = different[0]
        raise ValueError(
            f"The method was built for other class counts than the training set has: class {first} has "
            f"{counts[first]} images but the method was told {method.class_counts[first]} ({len(different)} classes "
            "differ). Pass class_counts(train_dataset) to get_method."
        )


def check_class_names(model: Any, dataset: Any, what: str) -> None:
    """Refuse data whose classes are named, and ordered, differently from the model's."""
    names = _class_names(dataset)
    if names is None or _unnamed(model.config):
        return  # a config without names claims no order
    own = [model.config.id2label[i] for i in range(model.config.num_labels)]
    if names == own:
        return
    if sorted(names) == sorted(own):
        first = next(i for i, (a, b) in enumerate(zip(names, own, strict=True)) if a != b)
        raise ValueError(
            f"{what} has the model's classes in another order: class {first} is {names[first]!r} there and "
            f"{own[first]!r} in the model. Priors, groups and predictions would be silently wrong; cast the label "
            "column to the model's order."
        )
    raise ValueError(
        f"{what} has other classes than the model: {len(names)} classes such as {names[:3]} against {len(own)} such "
        f"as {own[:3]}. Start from a model of these classes, or from a checkpoint with a new classifier."
    )


def _class_names(dataset: Any) -> list[str] | None:
    features = getattr(dataset, "features", None)
    for column in ("label", "labels"):
        names = getattr(features[column], "names", None) if features is not None and column in features else None
        if names:
            return list(names)
    return None


def check_evaluation_data(model: Any, dataset: Any) -> None:
    """Refuse to evaluate what has no classes, or others than the model."""
    from ..models import MaskedAutoencoder

    if isinstance(model, MaskedAutoencoder):
        raise ValueError(
            "A masked autoencoder has no classes to evaluate: watch its training loss, and evaluate the classifier "
            "that is fine-tuned from it (set eval_strategy='no' for this stage)."
        )
    check_class_names(model, dataset, "the evaluation set")


def check_same_classes(there: Any, here: Any, where: str) -> None:
    """
    Compare the classes of two configs.

    Raises:
        `ValueError`: if a checkpoint's classes, or their order, are not those of the run.
    """
    if there.num_labels == here.num_labels and (there.id2label == here.id2label or _unnamed(there) or _unnamed(here)):
        return
    label = next(
        (i for i in range(min(there.num_labels, here.num_labels)) if there.id2label[i] != here.id2label[i]), None
    )
    detail = (
        f"{there.num_labels} classes there, {here.num_labels} here"
        if label is None or there.num_labels != here.num_labels
        else f"class {label} is {there.id2label[label]!r} there and {here.id2label[label]!r} here"
    )
    raise ValueError(
        f"{where} is a checkpoint of other classes ({detail}). Start from a checkpoint of the same classes in the "
        "same order, or from a masked autoencoder, which has none."
    )


def check_resumable(model: Any, checkpoint: str) -> None:
    """Refuse a checkpoint of another model before anything is decoded or loaded."""
    from ..models import LongTailConfig

    if not (Path(checkpoint) / "config.json").is_file():
        raise FileNotFoundError(
            f"resume_from_checkpoint={checkpoint!r} is not a checkpoint folder: no config.json in it"
        )
    check_same_classes(LongTailConfig.from_pretrained(checkpoint), model.config, checkpoint)
