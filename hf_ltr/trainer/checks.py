"""Contradictions between model, method, arguments and data, found before any training time is spent."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from ..data.class_counts import ClassCounts
from ..data.labels import LABEL_COLUMNS, class_names_of, read_labels
from ..data.map_style import number_of_rows, require_rows
from ..data.provenance import explain_counts
from ..data.transforms.mixing import require_even
from ..methods import BASELINE, METHODS, LongTailMethod, get_method
from ..methods.double_correction import warn_of_training_corrections
from ..models import LongTailConfig, MaskedAutoencoder
from ..models.class_matching import match_classes, other_classes
from ..models.class_order import names_in_config, order_of
from ..models.modules import modules_for_inference
from .agreement import (
    agreed_config,
    check_method_counts,
    first_difference,
    follow_agreement,
    follow_class_order,
    is_trained,
    training_counts,
)
from .degenerate import check_classes, check_precision, check_rows
from .optimization import check_parameter_options

logger = logging.getLogger(__name__)

# Fields of the model's config that say which modules were built.
_ARCHITECTURE = ("head", "head_scale", "num_experts", "modules", "masked_autoencoder")
# What a config says about groups where nobody said anything.
DEFAULT_GROUPS = ((100, 20), "thresholds")


def prepare_run(
    model: Any, method: LongTailMethod | str | None, args: Any, train_dataset: Any, eval_dataset: Any
) -> tuple[LongTailMethod, ClassCounts | None, torch.Tensor | None]:
    """
    Check everything that can be known before a run, and complete the model's config.

    Returns:
        `(method, class counts of the training set, its labels where its items had to be read for them)`.

    Raises:
        `TypeError`: for something that is no data, or no method.
        `ValueError`: naming the first contradiction and what to do about it.
    """
    check_data(train_dataset, eval_dataset)
    if train_dataset is not None:
        follow_class_order(model, train_dataset)
    given = method.class_counts if isinstance(method, LongTailMethod) and method.uses_labels else None
    method, counts, labels = resolve_method(method, model, train_dataset)
    agreed = check_run(model, method, args, train_dataset, counts)
    complete_config(model, given or counts)
    complete_config(model, counts)
    if agreed is not None and not is_trained(model):
        follow_agreement(model, agreed)
    if method.uses_labels:
        for what, dataset in evaluation_sets(eval_dataset).items():
            check_evaluation_data(model, dataset, what)
    return method, counts, labels


def resolve_method(
    method: LongTailMethod | str | None, model: Any, train_dataset: Any
) -> tuple[LongTailMethod, ClassCounts | None, torch.Tensor | None]:
    """
    A method from an object, a name, or nothing (cross-entropy), the class counts of the training set, and its labels
    where its items had to be read for them.
    """
    if method is not None and not isinstance(method, str | LongTailMethod):
        raise TypeError(f"method must be a LongTailMethod or a name, not {type(method).__name__}")
    name = BASELINE if method is None else method
    if isinstance(name, str):
        uses_labels = METHODS[name].uses_labels if name in METHODS else True
    else:
        uses_labels = name.uses_labels
    counts = labels = None
    if train_dataset is not None and uses_labels:
        counts, labels = training_counts(train_dataset, model.config)
    if isinstance(name, LongTailMethod):
        return name, counts, labels
    # Without counts (evaluation of a model that has none) the method is a placeholder that never sees a batch.
    known = counts or model_counts(model) or ClassCounts([1] * model.config.num_labels)
    return get_method(name, class_counts=known), counts, labels


def model_counts(model: Any) -> ClassCounts | None:
    """The class counts a model's config carries, with its names and groups."""
    config = model.config
    if not getattr(config, "class_counts", None):
        return None
    names = [config.id2label[index] for index in range(config.num_labels)]
    return ClassCounts(config.class_counts, names, tuple(config.group_thresholds), config.group_scheme)


def complete_config(model: Any, counts: ClassCounts | None) -> None:
    """Write class counts, groups and names into a config that has none: a checkpoint describes itself."""
    config = model.config
    if counts is None:
        return
    if config.class_counts is None:
        config.class_counts = counts
        if (tuple(config.group_thresholds), config.group_scheme) == DEFAULT_GROUPS:
            config.group_thresholds, config.group_scheme = list(counts.thresholds), counts.grouping
    names = counts.names
    if names is not None and len(names) == config.num_labels and names_in_config(config) is None:
        config.id2label = dict(enumerate(names))
        config.label2id = {name: index for index, name in enumerate(names)}


def check_model(model: Any) -> None:
    """Refuse, by name, what is not a model of this package."""
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


def check_run(model: Any, method: LongTailMethod, args: Any, train_dataset: Any, counts: ClassCounts | None) -> Any:
    """
    Args:
        model, method, args, train_dataset: Of the trainer; the model in the class order of the data.
        counts ([`ClassCounts`], *optional*): Of the training set, if it has labels.

    Returns:
        [`LongTailConfig`] or `None`: the model's config as it will be when it was trained on `counts`.

    Raises:
        `ValueError`: naming the first contradiction and what to do about it.
    """
    config = model.config
    if method.uses_labels and train_dataset is not None:
        check_rows(args, number_of_rows(train_dataset))
        if counts is None or counts.names is None:
            # Labels without names: the first one outside the model's classes is named with its row.
            check_label_range(train_dataset, config.num_labels)
        check_class_names(model, train_dataset, "The training set")
    if len(method.class_counts) != config.num_labels and method.uses_labels:
        raise ValueError(
            f"The method knows {len(method.class_counts)} classes but the model has {config.num_labels}. Build both "
            "from class_counts(train_dataset)."
        )
    agreed = None
    if counts is not None:
        explanation = explain_counts(train_dataset) if hasattr(train_dataset, "info") else None
        if explanation is not None:
            logger.info("The training set is %s", explanation)
        check_classes(counts, method.name or type(method).__name__)
        if len(counts) != config.num_labels:
            raise ValueError(
                f"The training set has {len(counts)} classes but the model has num_labels={config.num_labels}. "
                "Build the config from class_counts(train_dataset)."
            )
        check_method_counts(method, counts)
        agreed = agreed_config(config, counts, is_trained(model))
    built = copy.deepcopy(agreed or config)
    method.configure(built)
    needed, found = (_architecture(one, to_train=train_dataset is not None) for one in (built, config))
    for name, value in needed.items():
        if value != found[name]:
            raise ValueError(
                f"{method.name} needs config.{name}={value!r} but the model was built with {found[name]!r}. Call "
                "method.configure(config) before building the model."
            )
    check_arguments(method, args, config.logit_adjustment)
    check_parameter_options(args.parameter_options, [name for name, _ in model.named_parameters()])
    return agreed


def _architecture(config: Any, to_train: bool) -> dict[str, Any]:
    """What was built, or is to be; a finished model has left behind what only training needs."""
    fields = {name: getattr(config, name) for name in _ARCHITECTURE}
    return fields if to_train else {**fields, "modules": modules_for_inference(config.modules)}


def check_label_range(dataset: Any, num_labels: int, required: bool = True) -> None:
    """Refuse a label outside the model's classes, where a label column can be read without the items."""
    if hasattr(dataset, "column_names"):
        names = class_names_of(dataset)
        read_labels(dataset, LABEL_COLUMNS, num_labels if names is None else len(names), required=required)


def evaluation_sets(eval_dataset: Any) -> dict[str, Any]:
    """Every evaluation set of a trainer, with what messages call it."""
    if isinstance(eval_dataset, dict):
        return {f"The evaluation set {name!r}": dataset for name, dataset in eval_dataset.items()}
    return {} if eval_dataset is None else {"The evaluation set": eval_dataset}


def check_data(train_dataset: Any, eval_dataset: Any) -> None:
    """
    Raises:
        `TypeError`: for streams, dicts of splits and names in the place of data.
        `ValueError`: for data without rows.
    """
    named = {} if train_dataset is None else {"The training set": train_dataset}
    for what, dataset in {**named, **evaluation_sets(eval_dataset)}.items():
        require_rows(dataset, what)


def check_arguments(method: LongTailMethod, args: Any, adjustment: dict[str, Any] | None = None) -> None:
    """What a method cannot work with; `adjustment` is the field `logit_adjustment` of the model's config."""
    check_precision(args)
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
    if (args.mixup_alpha or args.cutmix_alpha) and args.mix_probability:
        require_even(args.per_device_train_batch_size, "per_device_train_batch_size")
    if method.batch_coupled and args.gradient_accumulation_steps > 1:
        warnings.warn(
            f"The loss of {method.name} couples the samples of a batch: with gradient_accumulation_steps="
            f"{args.gradient_accumulation_steps} it sees only one micro-batch at a time.",
            stacklevel=3,
        )
    warn_of_training_corrections(method, args.sampler, adjustment, stacklevel=3)


def check_class_names(model: Any, dataset: Any, what: str) -> None:
    """Refuse data to train on whose classes are others than the model's, in any order."""
    names, own = class_names_of(dataset), names_in_config(model.config)
    if names is None or own is None or names == own:
        return  # in another order the model would have followed the data
    if sorted(names) == sorted(own):
        raise ValueError(
            f"{what} has the model's classes in another order, and they cannot be matched by name, because a name "
            "stands for two of them; give each class a name of its own"
        )
    raise ValueError(
        f"{other_classes(names, own, what)} To learn classes that these weights lack, load them under a new head: "
        "LongTailForImageClassification.from_pretrained(checkpoint, class_counts=class_counts(train_dataset), "
        "ignore_mismatched_sizes=True), and then model.reset_classifier()."
    )


def check_evaluation_data(model: Any, dataset: Any, what: str = "The evaluation set") -> None:
    """Refuse, before anything is trained, to evaluate what has no rows or classes, or others than the model."""
    evaluation_classes(model, dataset, what, warn=False)
    check_label_range(dataset, model.config.num_labels, required=False)


def evaluation_classes(
    model: Any, dataset: Any, what: str = "The evaluation set", warn: bool = True, **options: Any
) -> list[int] | None:
    """
    The model's class for each of a dataset's, matched by name; `None` where they are numbered alike. `options` are
    those of [`match_classes`].

    Raises:
        `ValueError`: for a model without classes, or data of others.
    """
    if isinstance(model, MaskedAutoencoder):
        raise ValueError(
            "A masked autoencoder has no classes to evaluate: watch its training loss, and evaluate the classifier "
            "that is fine-tuned from it (set eval_strategy='no' for this stage)."
        )
    require_rows(dataset, what)
    return match_classes(class_names_of(dataset), model.config, what, warn=warn, **options)


def check_same_classes(there: Any, here: Any, where: str, any_order: bool = False) -> None:
    """
    Compare the classes of two configs.

    Args:
        there, here ([`LongTailConfig`]): Of a checkpoint and of the run.
        where (`str`): The checkpoint.
        any_order (`bool`): Whether the same classes in another order will do, since they are matched by name.

    Raises:
        `ValueError`: if a checkpoint's classes are not those of the run.
    """
    names, own = names_in_config(there), names_in_config(here)
    same_number = there.num_labels == here.num_labels
    matched = any_order and order_of(own, names) is not None
    if same_number and (names is None or own is None or names == own or matched):
        return
    if not same_number:
        detail = f"{there.num_labels} classes there, {here.num_labels} here"
    else:
        assert names is not None and own is not None
        first = first_difference(names, own)
        detail = f"class {first} is {names[first]!r} there and {own[first]!r} here"
    known, ours = set(names or ()), set(own or ())
    only = [
        f"only {place}: {', '.join(map(repr, found[:5]))}{', ...' if len(found) > 5 else ''}"
        for place, found in (
            ("there", [name for name in names or [] if own is not None and name not in ours]),
            ("here", [name for name in own or [] if names is not None and name not in known]),
        )
        if found
    ]
    raise ValueError(
        f"{'; '.join([f'{where} is a checkpoint of other classes ({detail})', *only])}. Start from a checkpoint of "
        "the same classes, which are matched by name, from a masked autoencoder, which has none, or with a new head "
        "for these classes: --new_classifier True of a recipe, Stage(..., new_classifier=True)."
    )


def check_resumable(model: Any, checkpoint: str) -> None:
    """Refuse a checkpoint of another model before anything is decoded or loaded."""
    if not (Path(checkpoint) / "config.json").is_file():
        raise FileNotFoundError(
            f"resume_from_checkpoint={checkpoint!r} is not a checkpoint folder: no config.json in it"
        )
    check_same_classes(LongTailConfig.from_pretrained(checkpoint), model.config, checkpoint)
