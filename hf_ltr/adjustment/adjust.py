"""Adjust a checkpoint: load it, find its head, change what decides, measure, save, prove."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.class_counts import ClassCounts
from ..data.labels import class_names_of
from ..data.map_style import number_of_rows, require_map_style
from ..models.class_matching import match_classes
from ..models.class_order import names_in_config
from .checkpoint import LoadedClassifier, check_output, load_classifier, probe_logits, save_classifier
from .classes import read_prior, training_counts
from .decision import Decision, choose_tau, measure
from .features import collect, iterate
from .head import LinearHead, NotLinearError, find_linear_head, no_bias
from .options import DEFAULT_TAU, READS_TRAINING_IMAGES, TAUS, AdjustmentOptions
from .report import AdjustmentReport
from .solvers import current_decision, make_solver, warn_of_earlier_corrections
from .storing import adjustment_record, apply_decision, rounded

_OFFSETS = ("logit_adjustment", "pc_softmax")
_NEED_BIAS = (*_OFFSETS, "ncm")


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
    try:
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ValueError(f"Unknown device {device!r}: {error}") from error
    check_output(output)
    used = [split for split in ("train", "validation", "test") if split in data and (split != "test" or evaluate_test)]
    for split in used:
        require_map_style(data[split], f"The {split} split")
        if number_of_rows(data[split]) == 0:
            raise ValueError(f"The {split} split has no rows")

    loaded = load_classifier(checkpoint, image_processor)
    config = loaded.model.config
    maps = {
        split: match_classes(
            class_names_of(data[split]), config, f"The {split} split", trust=trust_class_order, spelling=spelling
        )
        for split in used
    }
    counts = training_counts(config, data, class_counts, group_scheme, maps.get("train"))
    counts.require_images(method)
    prior = None if target_prior is None else read_prior(target_prior, names_in_config(config), len(counts))
    loaded.model.to(device)
    head = _head(loaded, method, device)
    warn_of_earlier_corrections(config, method, checkpoint)

    passes = {"device": device, "batch_size": batch_size, "num_workers": num_workers, "progress": progress}

    def read(split: str, description: str) -> Any:
        options = {"processor": loaded.processor, "class_map": maps[split], "description": description}
        return iterate(loaded.model, head, data[split], **options, **passes)

    before = current_decision(config, head, None)
    start = current_decision(config, head, method)
    solve = make_solver(method, start, counts, prior, head, options, device, progress)
    validation = collect(read("validation", "Validation images")) if "validation" in data else None

    tau, sweep = None, {}
    if method in TAUS:
        candidates = options.candidates if validation or options.tau is not None else (DEFAULT_TAU,)
        tau = candidates[0]
        if len(candidates) > 1:
            tau, sweep = choose_tau(candidates, solve, *validation, counts)
    reads_images = method in READS_TRAINING_IMAGES
    after = solve(partial(read, "train", "Training images") if reads_images else tau)
    after = rounded(after, loaded, head)

    report = AdjustmentReport(method, loaded.source, str(output), {}, sweep=sweep, dataset=dataset_name)
    if validation is not None:
        report.validation = _before_and_after(before, after, *validation, counts)
    report.record = adjustment_record(options, loaded, counts, prior, tau, bool(sweep), folded=head is not None)
    after = apply_decision(loaded, head, method, after, report.record, counts, tau, prior)
    if evaluate_test:
        test = collect(read("test", "Test images"))
        report.test = _before_and_after(before, after, *test, counts)
    # On the CPU, like the reloaded copy that is compared with it: a GPU rounds convolutions differently.
    loaded.model.cpu()
    probe = _probe_rows(loaded, head)
    # An interrupted command leaves no folder that the next one would refuse: it appears with everything in it.
    report.folder = str(save_classifier(loaded, output, lambda: after(probe), report.write))
    return report


def _head(loaded: LoadedClassifier, method: str, device: torch.device) -> LinearHead | None:
    """The linear head; `None` where a model of this package takes the change as configuration."""
    from ..models import LongTailForImageClassification

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
        return None
    if method in _NEED_BIAS and not head.has_bias:
        raise no_bias(head)
    return head


def _before_and_after(
    before: Decision, after: Decision, rows: Tensor, labels: Tensor, counts: ClassCounts
) -> dict[str, Any]:
    return {
        "before": measure(before, rows, labels, counts),
        "after": measure(after, rows, labels, counts),
    }


@torch.no_grad()
def _probe_rows(loaded: LoadedClassifier, head: LinearHead | None) -> Tensor:
    """Features, or raw logits, of the probe."""
    if head is None:
        return probe_logits(loaded)
    with head.inputs() as seen:
        probe_logits(loaded)
    return seen.pop().float().cpu()
