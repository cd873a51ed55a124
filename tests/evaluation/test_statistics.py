"""Intervals, paired tests and spreads, against slow references that draw image by image and add fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from hf_ltr.data import ClassCounts
from hf_ltr.evaluation import bootstrap_intervals, group_means, hits, long_tail_metrics, mcnemar_test, seed_spread
from hf_ltr.evaluation.statistics import format_p, mcnemar_p

# Unsorted, with two classes of each group and different numbers of test images.
COUNTS = ClassCounts([30, 500, 5, 150, 70, 12])
TEST_IMAGES = [40, 25, 30, 50, 20, 35]
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(6), TEST_IMAGES))


def predictions(seed: int, share: float = 0.6) -> np.ndarray:
    """Right with a probability that depends on the class, else any class."""
    generator = np.random.default_rng(seed)
    right = generator.random(len(LABELS)) < share * (0.5 + LABELS / 6)
    return np.where(right, LABELS, generator.integers(0, 6, len(LABELS)))


def slow_bootstrap(values: np.ndarray, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Draw images, class by class, and average."""
    generator = np.random.default_rng(seed)
    columns = {"accuracy": [], "balanced_accuracy": [], **{name: [] for name in COUNTS.groups}}
    for _ in range(resamples):
        drawn = [generator.choice(values[LABELS == index], TEST_IMAGES[index]) for index in range(6)]
        means = [part.mean() for part in drawn]
        columns["accuracy"].append(np.concatenate(drawn).mean())
        columns["balanced_accuracy"].append(np.mean(means))
        for name, classes in COUNTS.groups.items():
            columns[name].append(np.mean([means[index] for index in classes]))
    return {name: np.asarray(column) for name, column in columns.items()}


@pytest.mark.parametrize("kind", ["one run", "three seeds", "paired difference"])
def test_intervals_are_those_of_drawing_images(kind):
    if kind == "one run":
        values = hits(predictions(1), LABELS, COUNTS)
    elif kind == "three seeds":
        values = hits(np.stack([predictions(seed) for seed in (1, 2, 3)]), LABELS, COUNTS)
        assert set(np.round(values * 3)) == {0, 1, 2, 3}
    else:
        values = hits(predictions(1), LABELS, COUNTS) - hits(predictions(2, 0.8), LABELS, COUNTS)
    ours = bootstrap_intervals(values, LABELS, COUNTS, resamples=20_000)
    slow = slow_bootstrap(values, 2_000, seed=5)
    assert list(ours) == ["accuracy", "balanced_accuracy", "many", "medium", "few"]
    means = group_means(values, LABELS, COUNTS)
    for name, (low, high) in ours.items():
        spread = slow[name].std()
        # A percentile of 2,000 draws is known to about a fifteenth of the standard deviation.
        assert abs(low - np.quantile(slow[name], 0.025)) < 0.25 * spread
        assert abs(high - np.quantile(slow[name], 0.975)) < 0.25 * spread
        assert low < means[name] < high


def test_intervals_cover_the_truth_as_often_as_they_say():
    truth, covered = np.array([0.2, 0.9, 0.4, 0.6, 0.7, 0.3]), 0
    labels = np.repeat(np.arange(6), 100)
    for seed in range(200):
        right = np.random.default_rng(seed).random(600) < truth[labels]
        low, high = bootstrap_intervals(right, labels, COUNTS, resamples=400, confidence=0.8)["balanced_accuracy"]
        covered += low <= truth.mean() <= high
    assert 145 <= covered <= 178  # 160 expected, with a standard deviation of 5.7


def test_classes_keep_their_number_of_images():
    # All of class 1 right and all others wrong: nothing can vary if classes are not mixed.
    values = (LABELS == 1).astype(float)
    intervals = bootstrap_intervals(values, LABELS, COUNTS)
    assert intervals["accuracy"] == pytest.approx((25 / 200, 25 / 200), abs=1e-12)
    assert intervals["many"] == pytest.approx((0.5, 0.5), abs=1e-12)
    assert intervals["few"] == (0.0, 0.0)


def test_intervals_are_a_function_of_the_seed():
    values = hits(predictions(1), LABELS, COUNTS)
    assert bootstrap_intervals(values, LABELS, COUNTS) == bootstrap_intervals(values, LABELS, COUNTS)
    assert bootstrap_intervals(values, LABELS, COUNTS) != bootstrap_intervals(values, LABELS, COUNTS, seed=1)
    # ... and of what was predicted for which class, not of the order of the images.
    order = np.random.default_rng(3).permutation(len(values))
    assert bootstrap_intervals(values[order], LABELS[order], COUNTS) == bootstrap_intervals(values, LABELS, COUNTS)


def test_more_confidence_is_a_wider_interval():
    values = hits(predictions(1), LABELS, COUNTS)
    narrow = bootstrap_intervals(values, LABELS, COUNTS, confidence=0.5)["few"]
    wide = bootstrap_intervals(values, LABELS, COUNTS, confidence=0.99)["few"]
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_means_of_hits_are_the_metrics():
    predicted = predictions(4)
    metrics = long_tail_metrics(predicted, LABELS, COUNTS)
    means = group_means(hits(predicted, LABELS, COUNTS), LABELS, COUNTS)
    assert means == pytest.approx(metrics, abs=1e-12)


def test_a_class_or_group_without_test_images_is_left_out():
    counts = ClassCounts([500, 400, 3, 50])
    labels = np.array([0, 0, 0, 3, 3])
    values = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    intervals = bootstrap_intervals(values, labels, counts)
    assert set(intervals) == {"accuracy", "balanced_accuracy", "many", "medium"}
    assert group_means(values, labels, counts) == pytest.approx(
        {"accuracy": 0.6, "balanced_accuracy": (2 / 3 + 0.5) / 2, "many": 2 / 3, "medium": 0.5}
    )
    assert set(mcnemar_test(labels, labels, labels, counts)) == {"accuracy", "many", "medium"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, float("nan"), 0.0, 1.0, 0.0], "finite"),
        ([1.0, 0.0], "must have shape"),
        ([], "one number per test image"),
        ([[1.0] * 5], "one number per test image"),
    ],
)
def test_what_is_no_value_per_image_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_intervals(values, [0, 0, 0, 3, 3], [500, 400, 3, 50])


@pytest.mark.parametrize("options", [{"confidence": 1.0}, {"confidence": 0.0}, {"resamples": 0}])
def test_options_of_the_bootstrap_are_checked(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        bootstrap_intervals([1.0, 0.0], [0, 0], [5], **options)


def slow_mcnemar(first: int, second: int) -> tuple[float, float]:
    """Tail of the binomial distribution, added as fractions."""
    number, smaller = first + second, min(first, second)
    probability = [Fraction(math.comb(number, k), 2**number) for k in range(number + 1)]
    tail = sum(probability[: smaller + 1])
    return float(min(Fraction(1), 2 * tail)), float(min(Fraction(1), 2 * tail - probability[smaller]))


@pytest.mark.parametrize(
    ("first", "second"), [(0, 0), (0, 1), (1, 0), (5, 15), (15, 5), (7, 7), (0, 12), (33, 61), (400, 500), (3, 900)]
)
def test_mcnemar_is_the_binomial_tail(first, second):
    assert mcnemar_p(first, second) == pytest.approx(slow_mcnemar(first, second), rel=1e-12, abs=0)
    assert mcnemar_p(first, second) == mcnemar_p(second, first)


def test_mcnemar_golden():
    # Exact: twice the tail 21700 / 2**20; mid-p takes the last term, 15504 / 2**20, away once.
    assert mcnemar_p(5, 15) == pytest.approx((43400 / 2**20, 27896 / 2**20), abs=1e-15)
    assert mcnemar_p(10, 10) == (1.0, 1.0)
    assert mcnemar_p(0, 0) == (1.0, 1.0)


def test_mcnemar_of_a_large_test_set():
    # The normal approximation with z = (b - c) / sqrt(b + c) is good there.
    exact, middle = mcnemar_p(9000, 9500)
    normal = math.erfc(500 / math.sqrt(18500) / math.sqrt(2))
    assert middle == pytest.approx(normal, rel=0.01)
    assert exact > middle > 0
    with pytest.raises(ValueError, match="negative"):
        mcnemar_p(-1, 4)


def test_mcnemar_counts_images_inside_the_groups():
    this, other = predictions(1), predictions(2)
    results = mcnemar_test(this, other, LABELS, COUNTS)
    for name, classes in {"accuracy": range(6), **COUNTS.groups}.items():
        only_this = only_other = 0
        for mine, theirs, label in zip(this.tolist(), other.tolist(), LABELS.tolist(), strict=True):
            if label in classes:
                only_this += int(mine == label != theirs)
                only_other += int(theirs == label != mine)
        assert (results[name]["only_this"], results[name]["only_baseline"]) == (only_this, only_other)
        assert (results[name]["p_exact"], results[name]["p"]) == pytest.approx(slow_mcnemar(only_this, only_other))
    assert sum(results[name]["only_this"] for name in COUNTS.groups) == results["accuracy"]["only_this"]


def test_mcnemar_refuses_other_images():
    with pytest.raises(ValueError, match="200 and 3 predictions"):
        mcnemar_test(predictions(1), [0, 1, 2], LABELS, COUNTS)
    with pytest.raises(ValueError, match="predictions"):
        mcnemar_test(predictions(1) + 6, predictions(1), LABELS, COUNTS)


def test_hits_of_one_run_and_of_several():
    assert hits([0, 1, 1], [0, 1, 0], [5, 5]).tolist() == [1.0, 1.0, 0.0]
    assert hits([[0, 1, 1], [0, 0, 1]], [0, 1, 0], [5, 5]).tolist() == [1.0, 0.5, 0.0]
    with pytest.raises(ValueError, match="shape"):
        hits(np.zeros((0, 3), dtype=int), [0, 1, 0], [5, 5])


def test_spread_over_seeds():
    assert seed_spread([0.4]) == {"mean": 0.4, "min": 0.4, "max": 0.4, "runs": 1}
    two = seed_spread([0.4, 0.2])
    assert two == pytest.approx({"mean": 0.3, "min": 0.2, "max": 0.4, "runs": 2})
    assert seed_spread([1.0, 2.0, 4.0])["std"] == pytest.approx(math.sqrt((16 / 9 + 1 / 9 + 25 / 9) / 2))
    for wrong in ([], [0.1, float("nan")]):
        with pytest.raises(ValueError, match="finite"):
            seed_spread(wrong)


def test_a_p_value_is_never_a_bare_zero():
    assert [format_p(p) for p in (0.0, 0.0009, 0.0012, 0.0499, 1.0)] == ["<0.001", "<0.001", "0.001", "0.050", "1.000"]
