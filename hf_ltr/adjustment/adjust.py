"""Adjust a checkpoint: load it, find its head, change it, measure, save, prove."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.class_counts import ClassCounts
from ..data.labels import class_names_of
from ..data.map_style import require_rows
from ..methods.double_correction import prior_corrections, warn_of_double_correction
from ..models import LongTailForImageClassification
from ..models.class_matching import match_classes
from ..models.class_order import names_in_config
from ..trainer.run_folder import recorded_sampler
from .checkpoint import LoadedClassifier, check_output, head_dtype, load_classifier, save_classifier
from .class_counts import counts_of_training, read_prior
from .features import FeatureReader
from .linear_head import Head, LinearHead, NotLinearError, OtherHead, find_linear_head, offset_of
from .options import DEFAULT_TAU, READS_TRAINING_IMAGES, TAUS, AdjustmentOptions
from .report import AdjustmentReport
from .rules import choose_tau, from_counts, from_images, measure

_OFFSETS = ("logit_adjustment", "pc_softmax")
_NEED_BIAS = (*_OFFSETS, "ncm")
# They change the prior of the logits, or work on a classifier that may have been corrected; the others make a new one.
_KEEP_THE_CLASSIFIER = {
    "logit_adjustment": "logit_adjustment subtracts the log prior from the logits",
    "pc_softmax": "pc_softmax subtracts the log prior from the logits",
    "tau_norm": "tau_norm divides the class vectors by their norms",
    "lws": "lws scales the logits on class-balanced batches",
}


def adjust_checkpoint(
    checkpoint: str | Path,
    output: str | Path,
    options: AdjustmentOptions | str,
    *,
    data: Mapping[str, Any] | None = None,
    class_counts: Any = None,
    target_prior: Any = None,
    group_scheme: str = "thresholds",
    image_processor: str | Path | None = None,
    trust_class_order: bool = False,
    evaluate_test: bool = False,
    dataset_name: str | None = None,
    batch_size: int = 64,
    num_workers: int | None = None,
    device: str | torch.device | None = None,
    progress: bool = True,
    spelling: str = "{}=True",
) -> AdjustmentReport:
    """
    Write a checkpoint whose classifier is adjusted for a long tail, of the same class as the given one.

    Where the logits are the output of one linear layer, which holds for nearly all classifiers of transformers and
    timm, the change is folded into it: the result loads with plain `AutoModelForImageClassification`, and its backbone
    is bit-identical. A model of this package with another head (cosine, centroid, modulator) takes `logit_adjustment`
    and `pc_softmax` as configuration (`config.logit_adjustment`). `long_tail_adjustment` in the config says what was
    done. Computed in float32; a checkpoint in bfloat16 or float16 stays so, with a warning where rounding its head
    changes it.

    The classifier's features are those of the image processor's evaluation transform, batch norms in evaluation mode.
    Features of the whole training set are kept in memory for `crt` and `lws` (iNaturalist 2018 at 2,048 dimensions:
    3.6 GB).

    Args:
        checkpoint (`str` or `Path`): Folder or Hub id.
        output (`str` or `Path`): Folder for the result, not there or empty.
        options ([`AdjustmentOptions`] or `str`): What to do; a name in `ADJUSTMENTS` means its defaults.
        data (`DatasetDict`, *optional*): From [`load_long_tailed`]: `train` gives the counts and, for `ncm`, `crt` and
            `lws`, the images; `validation` is what before and after are measured on, and where tau is chosen; `test`
            is not touched unless `evaluate_test`. Validation images must not be among those the model was trained on.
        class_counts (*optional*): Training counts in place of those of the data: [`ClassCounts`], list, `dict` by
            class name, or the path of a JSON file with one of the latter. Without either, a model of this package
            knows its own.
        target_prior (*optional*): Prior of the images the model will see, for `pc_softmax`: list, `dict` or path.
            Uniform if not given.
        group_scheme (`str`, defaults to `"thresholds"`): Of the groups in the tables, see [`ClassCounts`].
        image_processor (`str` or `Path`, *optional*): Where the processor is, if not with the checkpoint.
        trust_class_order (`bool`): Take classes by number where names do not agree: a model without class names, or
            other names in the model's order. The same names in another order are matched by name in any case.
        evaluate_test (`bool`): Also measure on the test split, once, after everything is chosen.
        dataset_name (`str`, *optional*): For the README.
        batch_size (`int`), num_workers (`int`, *optional*): Of the passes over images.
        device (*optional*): CUDA where there is one, else the CPU.
        progress (`bool`): Show bars.
        spelling (`str`): How options are set where this is called, for messages.

    Returns:
        [`AdjustmentReport`]: also written to the folder, as `metrics.json` and `README.md`.

    Raises:
        `ValueError`: for classes that are not the model's or not in its order, counts of another number of classes,
            classes without training images, a head that is not linear, images that cannot be read (with their rows).
        `FileExistsError`: if `output` holds something.

    Example:

    ```python
    >>> from hf_ltr import load_long_tailed
    >>> from hf_ltr.adjustment import adjust_checkpoint
    >>> data = load_long_tailed("my_images", validation_per_class=5)
    >>> report = adjust_checkpoint("runs/my-vit", "runs/vit-adjusted", "logit_adjustment", data=data)
    >>> print(report.summary())
    ```
    """
    options = AdjustmentOptions(options) if isinstance(options, str) else options
    method, data = options.method, data if data is not None else {}
    splits = _check_request(options, data, target_prior, evaluate_test, batch_size)
    place = _device(device)
    check_output(output)

    loaded = load_classifier(checkpoint, image_processor)
    config = loaded.model.config
    maps = {
        split: match_classes(
            class_names_of(data[split]), config, f"The {split} split", trust=trust_class_order, spelling=spelling
        )
        for split in splits
    }
    counts = counts_of_training(config, data, class_counts, group_scheme, maps.get("train"))
    counts.require_images(method)
    prior = None if target_prior is None else read_prior(target_prior, names_in_config(config), len(counts))
    loaded.model.to(place)  # type: ignore[arg-type]  # transformers wraps the method without its types
    before = _head(loaded, method, place)
    _warn_of_earlier_corrections(config, method, checkpoint)

    reader = FeatureReader(before, loaded.processor, place, batch_size, num_workers, progress)
    validation = None
    if "validation" in data:
        validation = reader.all(data["validation"], maps["validation"], "Validation images")
    tau, sweep, after = None, dict[float, float](), before
    if method in READS_TRAINING_IMAGES:
        assert isinstance(before, LinearHead)  # `_head` refuses others
        batches = reader.batches(data["train"], maps["train"], "Training images")
        after = from_images(method, before, batches, counts, options.retraining, place, progress)
    else:
        if method in TAUS:
            tau, sweep = _tau(options, before, validation, counts)
        after = from_counts(method, before, counts, DEFAULT_TAU if tau is None else tau, prior)
    if isinstance(after, LinearHead):
        after = _rounded(after, head_dtype(loaded, after.name))

    record = _record(options, loaded, counts, prior, tau, swept=bool(sweep), folded=isinstance(after, LinearHead))
    report = AdjustmentReport(method, loaded.source, str(output), record, sweep=sweep, dataset=dataset_name)
    if validation is not None:
        report.validation = _before_and_after(before, after, *validation, counts)
    after = _store(after, method, record, counts, tau, prior)
    if evaluate_test:
        report.test = _before_and_after(before, after, *reader.all(data["test"], maps["test"], "Test images"), counts)
    # On the CPU, like the reloaded copy that is compared with it: a GPU rounds convolutions differently.
    loaded.model.cpu()
    probe = after.rows(loaded.probe).float()
    # An interrupted command leaves no folder that the next one would refuse: it appears with everything in it.
    report.folder = str(save_classifier(loaded, output, lambda: after(probe), report.write))
    return report


def _check_request(
    options: AdjustmentOptions, data: Mapping[str, Any], target_prior: Any, evaluate_test: bool, batch_size: int
) -> list[str]:
    """Refuse what does not go together; the splits that are read."""
    method = options.method
    if target_prior is not None and method != "pc_softmax":
        raise ValueError(f"A target prior belongs to pc_softmax, not to {method}")
    if method in READS_TRAINING_IMAGES and "train" not in data:
        raise ValueError(f"{method} needs training images: give data with a train split")
    if options.taus is not None and "validation" not in data:
        raise ValueError("taus are tried on the validation split, and there is none; give one tau instead")
    if evaluate_test and "test" not in data:
        raise ValueError("There is no test split to evaluate on")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    used = [split for split in ("train", "validation", "test") if split in data and (split != "test" or evaluate_test)]
    for split in used:
        require_rows(data[split], f"The {split} split")
    return used


def _device(name: str | torch.device | None) -> torch.device:
    try:
        return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ValueError(f"Unknown device {name!r}: {error}") from error


def _head(loaded: LoadedClassifier, method: str, device: torch.device) -> Head:
    """The head that a method can change."""
    try:
        head = find_linear_head(loaded.model, loaded.probe.to(device))
    except NotLinearError as error:
        if not isinstance(loaded.model, LongTailForImageClassification):
            raise NotLinearError(f"{error}. {method} cannot be folded into them.") from error
        if method not in _OFFSETS:
            raise NotLinearError(
                f"{error}. {method} needs a linear head; logit_adjustment and pc_softmax work on this model, as "
                "configuration."
            ) from error
        return OtherHead(loaded.model, offset_of(loaded.model.config))
    if method in _NEED_BIAS:
        head.require_bias()
    return head


def _warn_of_earlier_corrections(config: Any, method: str, checkpoint: str | Path) -> None:
    """Warn, naming both, if a method corrects the prior of a model whose training or config did so already."""
    done = {
        "sampler": recorded_sampler(checkpoint),
        "logit_adjustment": getattr(config, "logit_adjustment", None),
    }
    found = prior_corrections(getattr(config, "method", None), done)
    earlier = getattr(config, "long_tail_adjustment", None)
    if isinstance(earlier, Mapping):
        found.append(f"this checkpoint is the result of hf-ltr adjust with {earlier.get('method')} already")
    if method in _KEEP_THE_CLASSIFIER:
        advice = "Adjust a checkpoint that was trained without a correction, or leave this one as it is."
        warn_of_double_correction(_KEEP_THE_CLASSIFIER[method], found, advice, stacklevel=4)
    if method in READS_TRAINING_IMAGES and done["logit_adjustment"] is not None:
        warnings.warn(
            f"{method} trains for balanced classes: config.logit_adjustment, which the model has, is dropped.",
            UserWarning,
            stacklevel=4,
        )


def _tau(
    options: AdjustmentOptions, head: Head, validation: tuple[Tensor, Tensor] | None, counts: ClassCounts
) -> tuple[float, dict[float, float]]:
    """The tau that is given or chosen on the validation split, and the criterion of every one that was tried."""
    candidates = options.candidates if validation or options.tau is not None else (DEFAULT_TAU,)
    if validation is None or len(candidates) == 1:
        return candidates[0], {}
    return choose_tau(candidates, partial(from_counts, options.method, head, counts), *validation, counts)


def _before_and_after(
    before: Head, after: Head, rows: Tensor, labels: Tensor, counts: ClassCounts
) -> dict[str, Mapping[str, Any]]:
    return {name: measure(head, rows, labels, counts) for name, head in (("before", before), ("after", after))}


def _rounded(head: LinearHead, dtype: torch.dtype) -> LinearHead:
    """The head as the checkpoint's type can store it, with a warning if that is another one."""
    stored = head.rounded(dtype)
    moved = max(float((a - b).abs().max()) for a, b in ((head.weight, stored.weight), (head.bias, stored.bias)))
    if moved > 0:
        warnings.warn(
            f"The checkpoint is stored in {str(dtype).removeprefix('torch.')}, which rounds the adjusted head by "
            f"up to {moved:.1e}; what is measured is the rounded one. Convert the checkpoint to float32 to avoid it.",
            UserWarning,
            stacklevel=3,
        )
    if not (torch.isfinite(stored.weight).all() and torch.isfinite(stored.bias).all()):
        raise ValueError(
            f"The adjusted head has values that {dtype} cannot hold; convert the checkpoint to float32 first"
        )
    return stored


def _record(
    options: AdjustmentOptions,
    loaded: LoadedClassifier,
    counts: ClassCounts,
    prior: Sequence[float] | None,
    tau: float | None,
    *,
    swept: bool,
    folded: bool,
) -> dict[str, Any]:
    """What the config's `long_tail_adjustment` says."""
    record: dict[str, Any] = {
        "method": options.method,
        "source": loaded.source,
        "class_counts": list(counts.counts),
        "folded_into_head": folded,
    }
    if tau is not None:
        record.update(tau=tau, tau_chosen_on="validation" if swept else None)
    if prior is not None:
        record["target_prior"] = prior
    if options.method in ("crt", "lws"):
        record["training"] = dataclasses.asdict(options.retraining)
    earlier = getattr(loaded.model.config, "long_tail_adjustment", None)
    if earlier is not None:
        record["previous"] = earlier
    return record


def _store(
    after: Head,
    method: str,
    record: dict[str, Any],
    counts: ClassCounts,
    tau: float | None,
    prior: Sequence[float] | None,
) -> Head:
    """Put the adjusted head into its model; returns it as the model has it then."""
    model = after.model
    if isinstance(after, LinearHead):
        after.store()
    else:
        if model.config.logit_adjustment is None:
            adjustment = {"tau": 1.0 if tau is None else tau, "remove": list(counts.counts), "add": prior}
        else:
            # Two adjustments in one: any offset is the logarithm of a prior, up to a constant no softmax sees.
            adjustment = {"tau": 1.0, "remove": None, "add": after.offset.double().softmax(0).tolist()}
        after.model.set_logit_adjustment(adjustment)
        after = dataclasses.replace(after, offset=offset_of(model.config))
    if isinstance(model, LongTailForImageClassification):
        if method in READS_TRAINING_IMAGES:
            model.set_logit_adjustment(None)
        if model.config.class_counts is None:
            model.config.class_counts = list(counts.counts)
    model.config.long_tail_adjustment = record
    return after
