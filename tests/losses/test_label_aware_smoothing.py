import math

import pytest
import torch

from hf_ltr.losses import CrossEntropyLoss, LabelAwareSmoothingLoss

from .batches import UNSORTED, close, random_batch, slow_softmax
from .golden import CASES, COUNTS, assert_golden, golden_labels, golden_logits

GOLDEN = [name for name in CASES if name.startswith("las_")]
SHAPES = [("concave", None), ("linear", None), ("convex", None), ("exp", 3.0)]


@pytest.mark.parametrize("case", GOLDEN)
def test_equals_the_reference_code(case):
    _, shape, head, tail = case.split("_")
    loss = LabelAwareSmoothingLoss(COUNTS, float(head), float(tail), shape=shape, power=CASES[case]["power"])
    close(loss.smoothing(), CASES[case]["smooth"])
    logits = golden_logits(case)
    assert_golden(case, loss(logits, golden_labels()), logits)


def test_every_shape_has_its_golden_values():
    assert {case.split("_")[1] for case in GOLDEN} == {shape for shape, _ in SHAPES}


def slow_smoothing(counts, head, tail, shape, power):
    smoothing = []
    for count in counts:
        ratio = (count - min(counts)) / (max(counts) - min(counts))
        smoothing.append(
            {
                "concave": lambda r: tail + (head - tail) * math.sin(r * math.pi / 2),
                "linear": lambda r: tail + (head - tail) * r,
                "convex": lambda r: head + (head - tail) * math.sin(1.5 * math.pi + r * math.pi / 2),
                "exp": lambda r: tail + (head - tail) * r**power,
            }[shape](ratio)
        )
    return smoothing


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize(("shape", "power"), SHAPES)
def test_equals_a_slow_loop_on_unsorted_counts(shape, power, exclude):
    smoothing = slow_smoothing(UNSORTED, 0.35, 0.05, shape, power)
    loss = LabelAwareSmoothingLoss(UNSORTED, 0.35, 0.05, shape=shape, power=power, exclude_true_class=exclude)
    close(loss.smoothing(), smoothing)
    logits, labels = random_batch()
    expected = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        target = [smoothing[label] / (4 if exclude else 5)] * 5
        target[label] = 1 - smoothing[label] + (0.0 if exclude else smoothing[label] / 5)
        assert sum(target) == pytest.approx(1)
        expected.append(-sum(t * math.log(p) for t, p in zip(target, slow_softmax(row), strict=True)))
    close(loss(logits, labels, reduction="none"), expected)


@pytest.mark.parametrize(("shape", "power"), SHAPES)
def test_equal_counts_have_the_tails_smoothing(shape, power):
    # 0 / 0 in the released code.
    loss = LabelAwareSmoothingLoss([8, 8, 8, 8, 8], head=0.4, tail=0.1, shape=shape, power=power)
    close(loss.smoothing(), [0.1] * 5)
    logits, labels = random_batch()
    expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    close(loss(logits, labels).detach(), expected.detach())


@pytest.mark.parametrize(("shape", "power"), SHAPES)
def test_order_and_ends(shape, power):
    smoothing = LabelAwareSmoothingLoss(UNSORTED, 0.4, 0.1, shape=shape, power=power).smoothing()
    assert smoothing.argsort().tolist() == torch.tensor(UNSORTED).argsort().tolist()
    close(smoothing[[3, 2]], [0.4, 0.1])
    empty = LabelAwareSmoothingLoss([0, 10, 5], 0.4, 0.1, shape=shape, power=power).smoothing()
    close(empty[[1, 0]], [0.4, 0.1])


def test_no_smoothing_is_cross_entropy():
    logits, labels = random_batch()
    close(
        LabelAwareSmoothingLoss(UNSORTED, 0.0, 0.0)(logits, labels, reduction="none"),
        CrossEntropyLoss()(logits, labels, reduction="none").detach(),
    )


def test_bad_options_are_refused():
    for head, tail in ((0.1, 1.4), (1.2, 0.1), (0.4, -0.1), (math.nan, 0.1)):
        with pytest.raises(ValueError, match="must lie in"):
            LabelAwareSmoothingLoss([5, 2], head, tail)
    with pytest.raises(ValueError, match="concave"):
        LabelAwareSmoothingLoss([5, 2], shape="concav")
    for power in (None, 0.0, -1.0):
        with pytest.raises(ValueError, match="power"):
            LabelAwareSmoothingLoss([5, 2], shape="exp", power=power)
    with pytest.raises(ValueError, match="power"):
        LabelAwareSmoothingLoss([5, 2], power=2.0)
    with pytest.raises(ValueError, match="two classes"):
        LabelAwareSmoothingLoss([5], exclude_true_class=True)
