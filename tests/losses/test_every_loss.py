"""What holds for every loss on `(batch, classes)` logits."""

import pytest
import torch
from torch.nn import functional as F

from hf_ltr import losses

from .batches import UNSORTED, random_batch

LOSSES = {
    "cross_entropy": lambda counts: losses.CrossEntropyLoss(),
    "focal": lambda counts: losses.FocalLoss(gamma=0.5),
    "focal_detached": lambda counts: losses.FocalLoss(gamma=2.0, detach_modulator=True),
    "class_balanced": lambda counts: losses.ClassBalancedLoss(counts, beta=0.99),
    "class_balanced_focal": lambda counts: losses.ClassBalancedLoss(counts, form="focal", gamma=0.5),
    "class_balanced_sigmoid": lambda counts: losses.ClassBalancedLoss(counts, form="sigmoid"),
    "class_balanced_softmax_bce": lambda counts: losses.ClassBalancedLoss(counts, form="softmax_bce"),
    "ldam": lambda counts: losses.LDAMLoss(counts),
    "equalization": lambda counts: losses.SoftmaxEqualizationLoss(counts, threshold=0.05, gamma=1.0),
    "equalization_sigmoid": lambda counts: losses.SigmoidEqualizationLoss(counts, threshold=0.05),
    "balanced_softmax": lambda counts: losses.BalancedSoftmaxLoss(counts),
    "logit_adjusted": lambda counts: losses.LogitAdjustedLoss(counts, tau=1.3),
    "lade": lambda counts: losses.LADELoss(counts, alpha=0.3, lambda_=0.2),
    "label_aware_smoothing": lambda counts: losses.LabelAwareSmoothingLoss(counts),
    "label_aware_smoothing_paper": lambda counts: losses.LabelAwareSmoothingLoss(counts, exclude_true_class=True),
    "balanced_bce": lambda counts: losses.BalancedBCELoss(counts, tau=0.8),
}
SOFT = [name for name in LOSSES if name != "ldam"]
# A class without training images is refused where the formula holds log 0 or 1 / 0.
NEED_EVERY_CLASS = {"ldam", "balanced_softmax", "logit_adjusted", "lade", "balanced_bce"}
IGNORE_COUNTS = {"cross_entropy", "focal", "focal_detached"}

every_loss = pytest.mark.parametrize("name", LOSSES)


def build(name: str, counts=UNSORTED) -> losses.ClassificationLoss:
    return LOSSES[name](counts)


@every_loss
def test_reductions(name):
    loss = build(name)
    logits, labels = random_batch()
    rows = loss(logits, labels, reduction="none")
    assert rows.shape == labels.shape and rows.dtype == torch.float64
    torch.testing.assert_close(loss(logits, labels), rows.sum() / len(rows))
    torch.testing.assert_close(loss(logits, labels, reduction="sum"), rows.sum())
    with pytest.raises(ValueError, match="mean"):
        loss(logits, labels, reduction="meen")


# A detached factor makes the gradient another one than the value's derivative; test_focal has its reference.
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "focal_detached"])
def test_gradient_is_that_of_the_value(name):
    loss = build(name)
    logits, labels = random_batch(rows=4)
    assert torch.autograd.gradcheck(lambda values: loss(values, labels, reduction="none"), (logits,))


@pytest.mark.parametrize("name", SOFT)
def test_soft_labels(name):
    loss = build(name)
    logits, labels = random_batch()
    rows = loss(logits, labels, reduction="none")
    one_hot = F.one_hot(labels, 5).to(torch.float32)
    torch.testing.assert_close(loss(logits, one_hot, reduction="none"), rows, rtol=1e-11, atol=1e-11)
    (of_hard,) = torch.autograd.grad(rows.sum(), logits, retain_graph=True)
    (of_soft,) = torch.autograd.grad(loss(logits, one_hot, reduction="sum"), logits)
    torch.testing.assert_close(of_soft, of_hard, rtol=1e-11, atol=1e-11)
    if name == "lade":
        return  # its regulariser is of the batch; test_lade has the reference
    other = (labels + 2) % 5
    mixed = loss(logits, 0.25 * one_hot + 0.75 * F.one_hot(other, 5), reduction="none")
    expected = 0.25 * rows + 0.75 * loss(logits, other, reduction="none")
    torch.testing.assert_close(mixed, expected, rtol=1e-10, atol=1e-10)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name, dtype):
    loss = build(name)
    logits, labels = random_batch(rows=3)
    narrow = logits.detach().to(dtype).requires_grad_()
    expected = loss(narrow.detach().double(), labels, reduction="none")
    with torch.autocast("cpu", dtype=dtype):
        result = loss(narrow, labels, reduction="none")
        wide = loss(narrow.float(), labels, reduction="none")
    assert result.dtype == wide.dtype == torch.float32
    torch.testing.assert_close(result.double(), expected, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(wide, result)
    result.sum().backward()
    assert narrow.grad.dtype == dtype and torch.isfinite(narrow.grad).all()


@every_loss
def test_casting_the_module_does_not_round_its_constants(name):
    counts = [1001, 3, 1, 499, 77]
    logits, labels = random_batch()
    expected = build(name, counts)(logits, labels)
    torch.testing.assert_close(build(name, counts).to(torch.bfloat16)(logits, labels), expected, rtol=0, atol=0)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [60.0, 1e4])
def test_extreme_logits_stay_finite(name, dtype, size):
    # Certain and right, certain and wrong, undecided; most classes are absent from the batch.
    rows = [[-size, size, 0.0, 5.0, 1.0], [size, -size, 0.0, 5.0, 1.0], [0.0] * 5]
    for batch in ([0, 1, 2], [0], [1], [2]):
        logits = torch.tensor([rows[index] for index in batch], dtype=dtype, requires_grad=True)
        value = build(name)(logits, torch.ones(len(batch), dtype=torch.int64))
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(logits.grad).all(), (batch, value, logits.grad)


@every_loss
def test_an_empty_batch_is_zero_with_its_graph(name):
    logits, labels = random_batch()
    empty = build(name)(logits[:0], labels[:0])
    empty.backward()
    assert empty.item() == 0 and not logits.grad.any()


@every_loss
def test_classes_may_come_in_any_order(name):
    logits, labels = random_batch()
    order = torch.tensor([3, 0, 4, 1, 2])
    expected = build(name)(logits, labels, reduction="none")
    permuted = build(name, [UNSORTED[index] for index in order])
    result = permuted(logits[:, order], order.argsort()[labels], reduction="none")
    torch.testing.assert_close(result, expected, rtol=1e-11, atol=1e-11)


@every_loss
def test_a_class_without_training_images(name):
    counts = [7, 120, 0, 900, 33]
    if name in NEED_EVERY_CLASS:
        with pytest.raises(ValueError, match=f"(?s){type(build(name)).__name__}.*2"):
            build(name, counts)
        return
    logits, labels = random_batch()
    labels = torch.where(labels == 2, 0, labels)
    value = build(name, counts)(logits, labels)
    value.backward()
    assert torch.isfinite(value) and value > 0 and torch.isfinite(logits.grad).all()
    if name not in IGNORE_COUNTS:
        with pytest.raises(ValueError, match="zero"):
            build(name, [0] * 5)


@every_loss
def test_wrong_shapes_and_labels_are_refused(name):
    loss = build(name)
    if name not in IGNORE_COUNTS:
        with pytest.raises(ValueError, match="5 classes.*4 columns"):
            loss(torch.zeros(2, 4), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"\(2,\)"):
        loss(torch.zeros(2, 5), torch.tensor([[0], [1]]))
    with pytest.raises(ValueError, match="shape of the logits"):
        loss(torch.zeros(2, 5), torch.zeros(2))
    # torch's cross_entropy drops rows labelled -100.
    with pytest.raises((IndexError, RuntimeError)):
        loss(torch.zeros(2, 5), torch.tensor([0, -100]))


@every_loss
def test_no_state_and_one_graph(name):
    loss = build(name)
    assert loss.state_dict() == {}
    explanation = torch._dynamo.explain(loss)(*random_batch())
    assert explanation.graph_count == 1 and explanation.graph_break_count == 0
