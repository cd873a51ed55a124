"""The numbers of a table's rows, from their finished runs; and rows that differ from each other in one number."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..evaluation.groups import error_shares, group_confusion
from ..evaluation.statistics import bootstrap_intervals, group_means, hits, mcnemar_test, seed_spread
from .results import Result, TestSet, decode_classes, recorded_counts
from .rows import MethodSpecification


@dataclass
class TableRow:
    """
    A row, run or not.

    Args:
        specification ([`MethodSpecification`]): How it is written.
        runs (`dict[int, dict]`): Finished results by seed.
        values (`dict`): By group `mean`, `low`, `high` (bootstrap), `min`, `max`, `runs` and maybe `std` (over seeds),
            all in [0, 1]; a group without classes is absent.
        differences (`dict`): By baseline and group: `mean`, `low`, `high` (paired bootstrap), `p` (McNemar, mid-p,
            the largest over the seeds both have), `seeds`. A baseline has none to itself, nor has a row where one of
            the two is not run.
        published (`list[dict]`): What is published about it, the nearest protocol first.
        cost (`dict`): See [`Table.measure_cost`]; empty if it was not measured.
        description (`dict`): Of its method, with every option.
        chooses_on_validation (`bool`): Whether its method chooses or measures something on validation images.
        predictions (`dict[int, np.ndarray]`): Of every test image, by seed.
        group_errors (`dict`): Where misclassified images went, over all seeds, in percent; see
            [`~hf_ltr.evaluation.group_errors`].
        group_given (`dict`): `accuracy`, `many`, ... and with the group of every image given `oracle_accuracy`,
            `oracle_many`, ..., means over seeds in [0, 1]. Empty where a run does not know them: its groups are not
            those of the table, or it was made by an earlier version.
    """

    specification: MethodSpecification
    runs: dict[int, Result] = field(default_factory=dict)
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    differences: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    published: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    description: dict[str, Any] = field(default_factory=dict)
    chooses_on_validation: bool = False
    predictions: dict[int, np.ndarray] = field(default_factory=dict, repr=False)
    group_errors: dict[str, dict[str, float]] = field(default_factory=dict)
    group_given: dict[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.specification.label

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


def measure_row(row: TableRow, test: TestSet, *, resamples: int) -> None:
    """
    Fill in the numbers of a row that follow from its runs alone.

    Groups are those of the protocol's class counts for every row, also for one that holds back training images.

    Args:
        row ([`TableRow`]): With its runs.
        test ([`TestSet`])
        resamples (`int`): Of the bootstrap.

    Raises:
        `ValueError`: for a result whose predictions and metrics disagree.
    """
    row.predictions = {seed: decode_classes(run["predictions"]) for seed, run in row.runs.items()}
    row.values = _values(row, test, resamples=resamples)
    row.group_errors = _group_errors(row, test)
    row.group_given = _group_given(row, test)


def row_differences(row: TableRow, baseline: TableRow, test: TestSet, *, resamples: int) -> dict[str, dict[str, Any]]:
    """Differences of a row to the baseline over the seeds that both have; see [`TableRow`]."""
    seeds = sorted(set(row.predictions) & set(baseline.predictions))
    if not seeds:
        return {}
    counts = test.counts()
    both = [hits(np.stack([one.predictions[seed] for seed in seeds]), test.labels, counts) for one in (row, baseline)]
    difference = both[0] - both[1]
    means = group_means(difference, test.labels, counts)
    intervals = bootstrap_intervals(difference, test.labels, counts, resamples=resamples)
    tests = [mcnemar_test(row.predictions[seed], baseline.predictions[seed], test.labels, counts) for seed in seeds]
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


def _values(row: TableRow, test: TestSet, *, resamples: int) -> dict[str, dict[str, float]]:
    if not row.runs:
        return {}
    counts, means = test.counts(), []
    for seed, predicted in row.predictions.items():
        means.append(group_means(hits(predicted, test.labels, counts), test.labels, counts))
        written = row.runs[seed]["metrics"]["accuracy"]
        if abs(means[-1]["accuracy"] - written) > 1e-9:
            raise ValueError(
                f"The predictions of {row.label}, seed {seed}, have accuracy {means[-1]['accuracy']:.6f}, but "
                f"{written:.6f} is written beside them: that file, or the table's test set, was changed"
            )
    averaged = hits(np.stack(list(row.predictions.values())), test.labels, counts)
    intervals = bootstrap_intervals(averaged, test.labels, counts, resamples=resamples)
    return {
        group: {**seed_spread([mean[group] for mean in means]), "low": low, "high": high}
        for group, (low, high) in intervals.items()
    }


def _group_errors(row: TableRow, test: TestSet) -> dict[str, dict[str, float]]:
    """Empty where there is one group only."""
    counts = test.counts()
    if len(counts.groups) < 2 or not row.predictions:
        return {}
    errors = [
        group_confusion(predicted, test.labels, counts, errors_only=True) for predicted in row.predictions.values()
    ]
    return error_shares(np.sum(errors, axis=0), list(counts.groups))


def _group_given(row: TableRow, test: TestSet) -> dict[str, float]:
    groups = test.counts().groups
    names = [*(f"oracle_{name}" for name in ("accuracy", *groups)), "accuracy", *groups]
    measured = []
    for run in row.runs.values():
        if recorded_counts(run).groups != groups or "oracle_accuracy" not in run["metrics"]:
            return {}
        measured.append(run["metrics"])
    # A group without test images is in none of them.
    return {
        name: float(np.mean([one[name] for one in measured])) for name in names if measured and name in measured[0]
    }
