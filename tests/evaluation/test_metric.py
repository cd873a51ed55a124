import pytest

from hf_ltr.evaluation import LongTailMetric, long_tail_metrics

from .test_metrics import COUNTS, random_test_set


def test_the_interface_of_evaluate_gives_the_same(tmp_path):
    logits, labels = random_test_set(60)
    expected = long_tail_metrics(logits, labels, COUNTS)
    metric = LongTailMetric(COUNTS, keep_in_memory=True)
    assert metric.compute(predictions=logits, references=labels) == expected
    assert metric.compute(predictions=logits.argmax(1), references=labels) == expected
    batches = LongTailMetric(COUNTS, cache_dir=str(tmp_path))
    for start in range(0, 60, 25):
        batches.add_batch(predictions=logits[start : start + 25], references=labels[start : start + 25])
    assert batches.compute() == expected


def test_errors_come_through():
    with pytest.raises(ValueError, match="labels"):
        LongTailMetric(COUNTS, keep_in_memory=True).compute(predictions=[1, 2], references=[1, 9])
