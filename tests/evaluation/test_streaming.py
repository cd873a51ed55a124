import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hf_ltr import ClassCounts
from hf_ltr.evaluation import (
    StreamingMetrics,
    group_confusion,
    group_errors,
    long_tail_metrics,
    oracle_group_accuracy,
    per_class_accuracy,
)
from hf_ltr.models.modulator import GroupsByMagnitude

from .test_metrics import COUNTS, random_test_set


def stream(logits, labels, counts=COUNTS, batch=37, **arguments):
    metrics = StreamingMetrics(counts)
    for start in range(0, len(logits), batch):
        rows = slice(start, start + batch)
        metrics.update(logits[rows], labels[rows], **{name: value[rows] for name, value in arguments.items()})
    return metrics


def tensors(images=400, **arguments):
    logits, labels = random_test_set(images, **arguments)
    return torch.from_numpy(logits), torch.from_numpy(labels)


def slow_calibration_error(logits, labels, bins=15):
    probabilities = torch.softmax(logits.double(), dim=1)
    confidence, predicted = probabilities.max(dim=1)
    error = 0.0
    for index in range(bins):
        inside = (confidence > index / bins) & (confidence <= (index + 1) / bins)
        if inside.any():
            accuracy = (predicted == labels)[inside].double().mean()
            error += inside.double().mean() * (accuracy - confidence[inside].mean()).abs()
    return float(error)


def test_equals_the_metrics_in_memory_whatever_the_batches():
    logits, labels = tensors()
    expected = long_tail_metrics(logits, labels, COUNTS)
    for batch in (1, 37, 400):
        computed = stream(logits, labels, batch=batch).compute(per_class=True)
        assert {key: computed[key] for key in expected} == expected
        assert computed["per_class_accuracy"] == per_class_accuracy(logits, labels, COUNTS)
        assert computed["worst_class_accuracy"] == min(computed["per_class_accuracy"])
        assert computed["loss"] == pytest.approx(F.cross_entropy(logits.double(), labels).item(), rel=1e-6)
        top5 = (logits.topk(5).indices == labels[:, None]).any(dim=1).double().mean().item()
        assert computed["top5_accuracy"] == pytest.approx(top5) and top5 < 1
        assert computed["expected_calibration_error"] == pytest.approx(
            slow_calibration_error(logits, labels), rel=1e-5
        )


def test_calibration_of_a_known_case():
    # Two classes; confidence 0.8 always, right 6 times of 10.
    logits = torch.tensor([[np.log(4.0), 0.0]] * 10, dtype=torch.float64)
    labels = torch.tensor([0] * 6 + [1] * 4)
    computed = stream(logits, labels, counts=[200, 5]).compute()
    assert computed["expected_calibration_error"] == pytest.approx(0.2)
    assert "top5_accuracy" not in computed


def test_group_confusion_is_the_one_in_memory():
    logits, labels = tensors()
    assert (stream(logits, labels).group_confusion() == group_confusion(logits, labels, COUNTS)).all()


def test_what_groups_cost_is_that_in_memory():
    logits, labels = tensors()
    computed = stream(logits, labels).compute(per_class=True)
    oracle = oracle_group_accuracy(logits, labels, COUNTS)
    for name in ("accuracy", "many", "medium", "few"):
        assert computed[f"oracle_{name}"] == pytest.approx(oracle[name], rel=1e-12)
        assert computed[f"oracle_{name}"] > computed[name]
    assert computed["group_errors"] == group_errors(logits, labels, COUNTS)
    confusion = group_confusion(logits, labels, COUNTS)
    assert computed["group_accuracy"] == pytest.approx(confusion.trace() / 400) and computed["group_accuracy"] < 1
    # What is not one number comes with the accuracies per class only.
    assert "group_errors" not in stream(logits, labels).compute()


def test_equal_scores_are_the_first_class_with_the_group_given_too():
    flat, labels = torch.zeros(7, 7), torch.arange(7)
    computed = stream(flat, labels).compute()
    oracle = oracle_group_accuracy(flat, labels, COUNTS)
    assert {name: computed[f"oracle_{name}"] for name in ("many", "medium", "few")} == {
        name: oracle[name] for name in ("many", "medium", "few")
    }
    assert computed["oracle_many"] == 0.5 and computed["oracle_accuracy"] == pytest.approx(3 / 7)


def test_without_errors_or_with_one_group_there_is_nothing_to_say():
    labels = torch.arange(7)
    right = F.one_hot(labels, 7).float()
    computed = stream(right, labels).compute(per_class=True)
    assert computed["group_errors"] == {} and computed["group_accuracy"] == computed["oracle_few"] == 1
    single = stream(right.roll(1, 0), labels, counts=[30] * 7).compute(per_class=True)
    assert not [name for name in single if name.startswith(("group", "oracle", "magnitude"))]
    # A group without test images is absent, and so is its row of errors.
    some = stream(right.roll(1, 0)[:1], labels[:1]).compute(per_class=True)
    assert set(some["group_errors"]) == {"medium"} and "oracle_few" not in some and "oracle_medium" in some


def test_groups_by_magnitude_equal_a_slow_reference():
    logits, labels = tensors()
    magnitudes = torch.from_numpy(np.random.default_rng(1).normal(size=(400, 3)))
    # Groups of the modulator, which are not those of the counts.
    groups = torch.tensor([2, 2, 0, 1, 1, 0, 0])
    by_magnitude = by_prediction = 0
    for row in range(400):
        own = groups[labels[row]].item()
        values = magnitudes[row].tolist()
        by_magnitude += values.index(max(values)) == own
        by_prediction += groups[logits[row].argmax()].item() == own
    metrics = StreamingMetrics(COUNTS, module_metrics=[GroupsByMagnitude(groups)])
    for start in range(0, 400, 37):
        rows = slice(start, start + 37)
        metrics.update(logits[rows], labels[rows], extras={"magnitudes": magnitudes[rows]})
    computed = metrics.compute()
    assert computed["magnitude_group_accuracy"] == pytest.approx(by_magnitude / 400)
    assert computed["modulator_group_accuracy"] == pytest.approx(by_prediction / 400)
    assert computed["modulator_group_accuracy"] != computed["group_accuracy"]
    plain = stream(logits, labels).compute()
    assert {name: computed[name] for name in plain} == plain
    assert not [name for name in plain if name.startswith(("magnitude", "modulator"))]


def test_rows_of_mass_zero_are_left_out():
    logits, labels = tensors()
    keep = torch.arange(400) % 3 != 0
    dirty = logits.clone()
    dirty[0] = torch.nan  # a padding row may hold anything
    computed = stream(dirty, labels, weights=keep.float())
    kept = stream(logits[keep], labels[keep])
    assert computed.compute() == pytest.approx(kept.compute(), rel=1e-9)
    errors = kept.compute(per_class=True)["group_errors"]
    assert computed.compute(per_class=True)["group_errors"] == errors
    # Weights that are no whole numbers leave no errors behind where there are none.
    labels = torch.arange(7)
    right = stream(F.one_hot(labels, 7).float(), labels, weights=torch.full((7,), 0.1))
    assert right.compute(per_class=True)["group_errors"] == {}


def test_a_given_loss_is_averaged_over_rows():
    logits, labels = tensors()
    loss = torch.arange(400.0)
    assert stream(logits, labels, loss=loss).compute()["loss"] == pytest.approx(399 / 2)


def test_parts_add_up_through_their_state():
    logits, labels = tensors()
    left, right = stream(logits[:150], labels[:150]), stream(logits[150:], labels[150:])
    left.state += right.state  # what an all-reduce does
    assert left.compute() == pytest.approx(stream(logits, labels).compute(), rel=1e-12)


def test_untested_classes_are_listed_and_absent_groups_absent():
    labels = torch.tensor([0, 0, 3, 4, 6])
    logits = F.one_hot(torch.tensor([0, 3, 3, 4, 1]), 7).float()
    computed = stream(logits, labels).compute(per_class=True)
    assert computed["classes_without_test_images"] == [1, 2, 5]
    assert "few" not in computed and computed["many"] == computed["worst_class_accuracy"] == 0.0
    assert computed["per_class_accuracy"] == [0.5, None, None, 1.0, 1.0, None, 0.0]


def test_half_precision_logits():
    logits, labels = tensors()
    narrow = logits.to(torch.bfloat16)
    computed = stream(narrow, labels).compute()
    assert computed == pytest.approx(stream(narrow.float(), labels).compute())
    # Many equal scores: the five best still hold the predicted class.
    flat = torch.zeros(50, 50, dtype=torch.bfloat16)
    computed = stream(flat, torch.zeros(50, dtype=torch.int64), counts=[30] * 50).compute()
    assert computed["accuracy"] == computed["top5_accuracy"] == 1
    computed = stream(flat, torch.arange(50), counts=[30] * 50).compute()
    assert computed["top5_accuracy"] <= 6 / 50


def test_bad_values_are_counted_on_the_device_and_refused_at_the_end():
    logits, labels = tensors(50)
    for value in (torch.nan, torch.inf, -torch.inf):
        broken = logits.clone()
        broken[[4, 30], 2] = value
        with pytest.raises(ValueError, match="2 of the evaluated rows have logits that are not finite"):
            stream(broken, labels).compute()
    for value in (7, -1):
        outside = labels.clone()
        outside[[4, 5, 30]] = value
        with pytest.raises(ValueError, match="3 of the evaluated rows have a label outside 0..6"):
            stream(logits, outside).compute()
    with pytest.raises(ValueError, match="no test images"):
        StreamingMetrics(COUNTS).compute()


def test_bad_shapes_are_refused_at_once():
    metrics = StreamingMetrics(COUNTS)
    logits, labels = tensors(5)
    with pytest.raises(ValueError, match=r"\(batch, 7\)"):
        metrics.update(logits[:, :6], labels)
    with pytest.raises(ValueError, match="labels"):
        metrics.update(logits, labels[:4])
    with pytest.raises(ValueError, match="labels"):
        metrics.update(logits, labels.float())
    with pytest.raises(ValueError, match="weights"):
        metrics.update(logits, labels, weights=torch.ones(4))
    assert (metrics.state == 0).all()


def test_an_update_reads_nothing_to_the_host_and_keeps_no_logits():
    logits, labels = tensors(64)
    groups = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    metrics = StreamingMetrics(COUNTS, module_metrics=[GroupsByMagnitude(groups)])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profile:
        metrics.update(logits, labels, weights=torch.ones(64), extras={"magnitudes": torch.ones(64, 2)})
    called = {event.key for event in profile.key_averages()}
    assert "aten::argmax" in called
    assert not {"aten::_local_scalar_dense", "aten::item", "aten::nonzero"} & called
    size = metrics.state.numel()
    metrics.update(logits, labels, extras={"magnitudes": torch.ones(64, 2)})
    assert metrics.state.numel() == size < 100


def test_meets_class_counts_with_own_groups():
    logits, labels = tensors()
    counts = ClassCounts(COUNTS, thresholds=(25, 6))
    expected = long_tail_metrics(logits, labels, counts)
    computed = stream(logits, labels, counts=counts).compute()
    assert {key: computed[key] for key in expected} == expected
    assert computed["few"] != stream(logits, labels).compute()["few"]
