"""Label-aware smoothing as the loss of one stage."""

from __future__ import annotations

import math

import pytest
import torch

from hf_ltr import get_method

from .fixtures import COUNTS, FixedModel, batch_of, some_labels, some_logits


def slow_smoothing(count: int, shape: str, head: float, tail: float) -> float:
    share = (count - min(COUNTS)) / (max(COUNTS) - min(COUNTS))
    return {
        "concave": tail + (head - tail) * math.sin(math.pi / 2 * share),
        "linear": tail + (head - tail) * share,
        "convex": head + (head - tail) * math.sin(1.5 * math.pi + math.pi / 2 * share),
        "exp": tail + (head - tail) * share**2.5,
    }[shape]


@pytest.mark.parametrize("shape", ["concave", "linear", "convex", "exp"])
@pytest.mark.parametrize("exclude", [False, True])
def test_smoothing_follows_the_counts_of_the_label(shape, exclude):
    power = {"power": 2.5} if shape == "exp" else {}
    method = get_method(
        "label_aware_smoothing",
        class_counts=COUNTS,
        head=0.35,
        tail=0.05,
        shape=shape,
        exclude_true_class=exclude,
        **power,
    )
    logits, labels = some_logits(), some_labels()
    weight = [0.0] + [1.0] * 10
    total = 0.0
    for i in range(1, 11):
        label = int(labels[i])
        epsilon = slow_smoothing(COUNTS[label], shape, 0.35, 0.05)
        losses = -torch.log_softmax(logits[i], 0)
        others = [c for c in range(5) if not exclude or c != label]
        total = total + (1 - epsilon) * losses[label] + epsilon * sum(losses[c] for c in others) / len(others)
    terms, _ = method.training_loss(FixedModel(logits), batch_of(labels, weight))
    torch.testing.assert_close(terms["supervised"], total / 10, rtol=1e-9, atol=0)


def test_equal_counts_smooth_by_the_tail_value():
    method = get_method("label_aware_smoothing", class_counts=[9, 9, 9, 9, 9], head=0.4, tail=0.1)
    logits, labels = some_logits(), some_labels()
    expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    terms, _ = method.training_loss(FixedModel(logits), batch_of(labels))
    torch.testing.assert_close(terms["supervised"], expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"head": 0.1, "tail": -0.2}, "tail"), ({"shape": "square"}, "concave"), ({"shape": "exp"}, "power")],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        get_method("label_aware_smoothing", class_counts=COUNTS, **options)
