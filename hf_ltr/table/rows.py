"""The numbers of one row of a table, from its finished runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data import ClassCounts
from ..evaluation.groups import error_shares, group_confusion
from ..evaluation.statistics import bootstrap_intervals, group_means, hits, mcnemar_test, seed_spread
from .results import TestSet, decode_classes
from .specification import MethodSpecification

GROUP_COLUMNS = ("accuracy", "many", "medium", "few")


@dataclass
class TableRow:
    """
    A row, run or not.

    Args:
        row ([`MethodSpecification`]).
        runs (`dict[int, dict]`): Finished results by seed.
        values (`dict`): By group `mean`, `low`, `high` (bootstrap), `min`, `max`, `runs` and maybe `std` (over seeds),
            all in [0, 1]; a group without classes is absent.
        differences (`dict`): By baseline and group: `mean`, `low`, `high` (paired bootstrap), `p` (McNemar, mid-p,
            the largest over the seeds both have), `seeds`. A baseline has none to itself, nor has a row where one of
            the two is not run.
        published (`list[dict]`): What is published about it, the nearest protocol first.
        cost (`dict`): See [`measure_cost`]; empty if it was not measured.
        description (`dict`): Of its method, with every option.
        group_errors (`dict`): Where misclassified images went, over all seeds, in percent; see
            [`~hf_ltr.evaluation.group_errors`].
        group_given (`dict`): `accuracy`, `many`, ... and with the group of every image given `oracle_accuracy`,
            `oracle_many`, ..., means over seeds in [0, 1]. Empty where a run does not know them: its groups are not
            those of the table, or it was made by an earlier version.
    """

    row: MethodSpecification
    runs: dict[int, dict[str, Any]] = field(default_factory=dict)
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    differences: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    published: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    description: dict[str, Any] = field(default_factory=dict)
    group_errors: dict[str, dict[str, float]] = field(default_factory=dict)
    group_given: dict[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.row.label

    @property
    def minutes(self) -> float | None:
        """Minutes of training of all stages, the mean over seeds; None where nothing is run."""
        if not self.runs:
            return None
        return float(np.mean([sum(stage["seconds"] for stage in run["stages"]) for run in self.runs.values()]) / 60)

    @property
    def training_images(self) -> int | None:
        """Images it was trained on."""
        return next((sum(run["data"]["class_counts"]) for run in self.runs.values()), None)


def row_values(
    runs: Mapping[int, Mapping[str, Any]], test: TestSet, *, resamples: int
) -> tuple[dict[str, dict[str, float]], dict[int, np.ndarray]]:
    """
    Accuracies of finished runs on the groups of the table.

    Groups are those of the protocol's class counts for every row, also for one that holds back training images.

    Returns:
        `(values as in TableRow, predictions by seed)`.

    Raises:
        `ValueError`: for a result whose predictions and metrics disagree.
    """
    counts = test.counts()
    predictions = {seed: decode_classes(run["predictions"]) for seed, run in runs.items()}
    means: dict[int, dict[str, float]] = {}
    for seed, predicted in predictions.items():
        means[seed] = group_means(hits(predicted, test.labels, counts), test.labels, counts)
        written = runs[seed]["metrics"]["accuracy"]
        if abs(means[seed]["accuracy"] - written) > 1e-9:
            raise ValueError(
                f"The predictions of {runs[seed]['row']}, seed {seed}, have accuracy {means[seed]['accuracy']:.6f}, "
                f"but {written:.6f} is written beside them: that file, or the table's test set, was changed"
            )
    if not predictions:
        return {}, {}
    averaged = hits(np.stack(list(predictions.values())), test.labels, counts)
    intervals = bootstrap_intervals(averaged, test.labels, counts, resamples=resamples)
    values = {}
    for group, (low, high) in intervals.items():
        spread = seed_spread([mean[group] for mean in means.values()])
        values[group] = {**spread, "low": low, "high": high}
    return values, predictions


def row_group_errors(predictions: Mapping[int, np.ndarray], test: TestSet) -> dict[str, dict[str, float]]:
    """Where misclassified images went, over all seeds; see [`TableRow`]. Empty where there is one group only."""
    counts = test.counts()
    if len(counts.groups) < 2 or not predictions:
        return {}
    errors = [group_confusion(predicted, test.labels, counts, errors_only=True) for predicted in predictions.values()]
    return error_shares(np.sum(errors, axis=0), list(counts.groups))


def row_group_given(runs: Mapping[int, Mapping[str, Any]], test: TestSet) -> dict[str, float]:
    """Accuracies with and without the group given; see [`TableRow`]."""
    groups = test.counts().groups
    names = [*(f"oracle_{name}" for name in ("accuracy", *groups)), "accuracy", *groups]
    measured = []
    for run in runs.values():
        counts = ClassCounts(run["data"]["class_counts"], grouping=run["data"]["group_scheme"])
        if counts.groups != groups or "oracle_accuracy" not in run["metrics"]:
            return {}
        measured.append(run["metrics"])
    # A group without test images is in none of them.
    return {
        name: float(np.mean([one[name] for one in measured])) for name in names if measured and name in measured[0]
    }


def row_differences(
    predictions: Mapping[int, np.ndarray],
    baseline: Mapping[int, np.ndarray],
    test: TestSet,
    *,
    resamples: int,
) -> dict[str, dict[str, Any]]:
    """Differences of a row to the baseline over the seeds that both have; see [`TableRow`]."""
    seeds = sorted(set(predictions) & set(baseline))
    if not seeds:
        return {}
    counts = test.counts()
    both = [hits(np.stack([runs[seed] for seed in seeds]), test.labels, counts) for runs in (predictions, baseline)]
    difference = both[0] - both[1]
    means = group_means(difference, test.labels, counts)
    intervals = bootstrap_intervals(difference, test.labels, counts, resamples=resamples)
    tests = [mcnemar_test(predictions[seed], baseline[seed], test.labels, counts) for seed in seeds]
    return {
        group: {
            "mean": means[group],
            "low": intervals[group][0],
            "high": intervals[group][1],
            "p": max(result[group]["p"] for result in tests),
            "p_smallest": min(result[group]["p"] for result in tests),
            "seeds": seeds,
        }
        for group in tests[0]
    }
