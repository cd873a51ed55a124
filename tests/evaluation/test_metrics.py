import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from hf_ltr import ClassCounts
from hf_ltr.evaluation import (
    group_confusion,
    group_errors,
    long_tail_metrics,
    oracle_group_accuracy,
    per_class_accuracy,
)

COUNTS = [30, 5, 500, 100, 20, 19, 101]  # unsorted, with the boundary counts of both thresholds
GROUPS = {"many": [2, 6], "medium": [0, 3, 4], "few": [1, 5]}


def random_test_set(images=400, seed=0, classes=7):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, images)
    logits = generator.normal(size=(images, classes)).astype(np.float32)
    logits[np.arange(images), labels] += 1.0
    return logits, labels


def slow_metrics(predictions, labels, counts, groups):
    accuracy = {}
    for index in range(len(counts)):
        rows = [prediction == index for prediction, label in zip(predictions, labels, strict=True) if label == index]
        if rows:
            accuracy[index] = sum(rows) / len(rows)
    result = {"accuracy": sum(p == y for p, y in zip(predictions, labels, strict=True)) / len(labels)}
    result["balanced_accuracy"] = sum(accuracy.values()) / len(accuracy)
    for name, classes in groups.items():
        values = [accuracy[index] for index in classes if index in accuracy]
        if values:
            result[name] = sum(values) / len(values)
    return result


def test_equals_a_slow_reference_and_scikit_learn():
    logits, labels = random_test_set()
    metrics = long_tail_metrics(logits, labels, COUNTS)
    expected = slow_metrics(logits.argmax(1).tolist(), labels.tolist(), COUNTS, GROUPS)
    assert metrics == pytest.approx(expected, rel=1e-12)
    assert list(metrics) == ["accuracy", "balanced_accuracy", "many", "medium", "few"]
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, logits.argmax(1)), rel=1e-12)


@pytest.mark.parametrize(
    "convert",
    [
        lambda logits, labels: (torch.from_numpy(logits), torch.from_numpy(labels)),
        lambda logits, labels: (torch.from_numpy(logits).requires_grad_(), labels.astype(np.int32)),
        lambda logits, labels: (logits.tolist(), labels.tolist()),
        lambda logits, labels: (logits.astype(np.float64), torch.from_numpy(labels)),
        lambda logits, labels: (logits.argmax(1), labels),
        lambda logits, labels: (torch.from_numpy(logits.argmax(1)), labels),
    ],
    ids=["torch", "gradient and int32", "lists", "mixed", "predictions", "torch predictions"],
)
def test_every_kind_of_input_gives_the_same(convert):
    logits, labels = random_test_set()
    expected = long_tail_metrics(logits, labels, COUNTS)
    assert long_tail_metrics(*convert(logits, labels), COUNTS) == expected


def test_read_only_arrays_pass_without_a_warning(recwarn):
    logits, labels = random_test_set()
    logits.setflags(write=False)
    labels.setflags(write=False)
    long_tail_metrics(logits, labels, COUNTS)
    assert not recwarn.list


def test_rows_are_handled_in_blocks_without_changing_anything(monkeypatch):
    import hf_ltr.evaluation.metrics as module

    logits, labels = random_test_set()
    expected = long_tail_metrics(logits, labels, COUNTS), oracle_group_accuracy(logits, labels, COUNTS)
    monkeypatch.setattr(module, "_ELEMENTS_AT_A_TIME", 5 * len(COUNTS) + 3)
    assert (long_tail_metrics(logits, labels, COUNTS), oracle_group_accuracy(logits, labels, COUNTS)) == expected
    logits[11, 2] = np.nan
    with pytest.raises(ValueError, match="row is 11"):
        long_tail_metrics(logits, labels, COUNTS)


def test_classes_and_groups_without_test_images():
    # Class 1 and 5 are all of "few"; class 2 is one of the two "many".
    labels = np.array([0, 0, 3, 4, 6])
    predictions = np.array([0, 3, 3, 4, 1])
    metrics = long_tail_metrics(predictions, labels, COUNTS)
    assert metrics == {
        "accuracy": 3 / 5,
        "balanced_accuracy": (0.5 + 1 + 1 + 0) / 4,
        "many": 0.0,
        "medium": (0.5 + 1 + 1) / 3,
        "classes_without_test_images": [1, 2, 5],
    }
    assert all(type(index) is int for index in metrics["classes_without_test_images"])
    assert per_class_accuracy(predictions, labels, COUNTS) == [0.5, None, None, 1.0, 1.0, None, 0.0]


def test_groups_follow_the_class_counts():
    logits, labels = random_test_set()
    predictions = logits.argmax(1).tolist()
    counts = ClassCounts(COUNTS, thresholds=(25, 6))
    groups = {"many": [0, 2, 3, 6], "medium": [4, 5], "few": [1]}
    expected = slow_metrics(predictions, labels.tolist(), COUNTS, groups)
    assert long_tail_metrics(logits, labels, counts) == pytest.approx(expected, rel=1e-12)
    # No class below 20: the group does not exist, and has neither 0 nor NaN.
    assert set(long_tail_metrics(logits, labels, [200] * 3 + [50] * 4)) == {
        "accuracy",
        "balanced_accuracy",
        "many",
        "medium",
    }


def test_bad_input_is_refused():
    logits, labels = random_test_set(10)
    with pytest.raises(ValueError, match="no test images"):
        long_tail_metrics(logits[:0], labels[:0], COUNTS)
    with pytest.raises(ValueError, match="no test images"):
        long_tail_metrics([], [], COUNTS)
    with pytest.raises(ValueError, match=r"\(images, 7\).*\(10, 6\)"):
        long_tail_metrics(logits[:, :6], labels, COUNTS)
    with pytest.raises(ValueError, match=r"\(10,\)"):
        long_tail_metrics(logits, labels[:9], COUNTS)
    with pytest.raises(ValueError, match=r"\(10,\)"):
        long_tail_metrics(logits, labels[:, None], COUNTS)
    with pytest.raises(ValueError, match="shape"):
        long_tail_metrics(logits[None], labels, COUNTS)
    with pytest.raises(ValueError, match="integer"):
        long_tail_metrics(logits, labels.astype(np.float32), COUNTS)
    with pytest.raises(ValueError, match="integer"):
        long_tail_metrics(logits[:, 0], labels, COUNTS)
    for wrong in (7, -1):
        outside = labels.copy()
        outside[4] = wrong
        with pytest.raises(ValueError, match=f"0..6.*{wrong} in row 4"):
            long_tail_metrics(logits, outside, COUNTS)
        with pytest.raises(ValueError, match=f"`predictions`.*{wrong} in row 4"):
            long_tail_metrics(outside, labels, COUNTS)
    for value in (np.nan, np.inf, -np.inf):
        broken = logits.copy()
        broken[3, 1] = value
        for function in (long_tail_metrics, oracle_group_accuracy, per_class_accuracy):
            with pytest.raises(ValueError, match="not finite.*row is 3"):
                function(broken, labels, COUNTS)
    # Finite, though their sum overflows single precision.
    assert "accuracy" in long_tail_metrics(np.full((10, 7), 3e38, dtype=np.float32), labels, COUNTS)


def test_group_confusion():
    predictions = np.array([2, 6, 1, 0, 3, 5, 5])
    labels = np.array([2, 2, 6, 3, 3, 1, 5])
    matrix = group_confusion(predictions, labels, COUNTS)
    assert matrix.tolist() == [[2, 0, 1], [0, 2, 0], [0, 0, 2]]
    assert group_confusion(predictions, labels, COUNTS, errors_only=True).tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]
    logits, labels = random_test_set()
    from_logits = group_confusion(logits, labels, COUNTS)
    assert (from_logits == group_confusion(logits.argmax(1), labels, COUNTS)).all()
    assert from_logits.sum() == len(labels) and from_logits.dtype == np.int64


def slow_group_errors(predictions, labels, groups):
    group_of = {index: name for name, classes in groups.items() for index in classes}
    shares = {}
    for name in groups:
        wrong = [p for p, y in zip(predictions, labels, strict=True) if group_of[y] == name and p != y]
        if wrong:
            shares[name] = {other: 100 * sum(group_of[p] == other for p in wrong) / len(wrong) for other in groups}
    return shares


def test_group_errors_equal_a_slow_reference():
    logits, labels = random_test_set()
    shares = group_errors(logits, labels, COUNTS)
    expected = slow_group_errors(logits.argmax(1).tolist(), labels.tolist(), GROUPS)
    assert list(shares) == ["many", "medium", "few"]
    for name, row in shares.items():
        assert row == pytest.approx(expected[name]) and list(row) == ["many", "medium", "few"]
        assert sum(row.values()) == pytest.approx(100)
    assert group_errors(logits.argmax(1), labels, COUNTS) == shares


def test_a_group_without_errors_has_no_row():
    # Class 2 is many, 0 and 3 medium, 1 few: medium is always right, few is not tested.
    assert group_errors([2, 0, 2, 0, 3], [2, 2, 2, 0, 3], COUNTS) == {"many": {"many": 0, "medium": 100, "few": 0}}
    assert group_errors([2, 0], [2, 0], COUNTS) == {}
    # Errors inside the own group are errors too.
    assert group_errors([6], [2], COUNTS) == {"many": {"many": 100, "medium": 0, "few": 0}}


def test_oracle_group_accuracy_equals_a_slow_reference():
    logits, labels = random_test_set()
    group_of = {index: classes for classes in GROUPS.values() for index in classes}
    predictions = [
        max(group_of[label], key=lambda index: row[index])
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    expected = slow_metrics(predictions, labels.tolist(), COUNTS, GROUPS)
    oracle = oracle_group_accuracy(logits, labels, COUNTS)
    assert oracle == pytest.approx(expected, rel=1e-12)
    assert oracle["accuracy"] > long_tail_metrics(logits, labels, COUNTS)["accuracy"]


def test_importing_the_package_is_light(repository):
    code = (
        "import sys, hf_ltr.evaluation as e; e.long_tail_metrics; "
        "print([m for m in ('evaluate', 'matplotlib', 'datasets', 'transformers') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repository, check=True)
    assert answer.stdout.strip() == "[]"
