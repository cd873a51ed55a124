"""Cross-entropy, balanced softmax and logit adjustment."""

import math

import pytest
import torch
from torch.nn import functional as F

from hf_ltr.losses import BalancedSoftmaxLoss, CrossEntropyLoss, LogitAdjustedLoss

from .batches import UNSORTED, random_batch
from .golden import CASES, COUNTS, assert_golden, golden_labels, golden_logits


def slow_loss(logits, labels, offsets):
    """-log softmax of the true class with an offset per class, in scalar Python."""
    losses = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        shifted = [value + offset for value, offset in zip(row, offsets, strict=True)]
        peak = max(shifted)
        losses.append(peak + math.log(sum(math.exp(value - peak) for value in shifted)) - shifted[label])
    return torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize(
    ("case", "loss"),
    [
        ("ce", CrossEntropyLoss()),
        ("bsce", BalancedSoftmaxLoss(COUNTS)),
        ("logit_adjust_tau1.0", LogitAdjustedLoss(COUNTS)),
        ("logit_adjust_tau1.5", LogitAdjustedLoss(COUNTS, tau=1.5)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_equals_the_reference_code(case, loss):
    logits = golden_logits(case)
    assert_golden(case, loss(logits, golden_labels()), logits)


@pytest.mark.parametrize("tau", [1.0, 1.5])
def test_the_epsilon_of_the_authors_code_is_below_single_precision(tau):
    # Menon et al. add 1e-12 inside the logarithm; this package does not, and refuses classes without images instead.
    case = f"logit_adjust_google_eps_tau{tau}"
    loss = LogitAdjustedLoss(COUNTS, tau=tau)(golden_logits(case), golden_labels())
    assert abs(loss.item() - CASES[case]["loss"]) < 1e-8


@pytest.mark.parametrize(
    ("loss", "offsets"),
    [
        (CrossEntropyLoss(), [0.0] * len(UNSORTED)),
        (BalancedSoftmaxLoss(UNSORTED), [math.log(count) for count in UNSORTED]),
        (LogitAdjustedLoss(UNSORTED, tau=0.7), [0.7 * math.log(count / sum(UNSORTED)) for count in UNSORTED]),
    ],
)
def test_equals_a_slow_loop_on_unsorted_counts(loss, offsets):
    logits, labels = random_batch()
    torch.testing.assert_close(
        loss(logits, labels, reduction="none"), slow_loss(logits, labels, offsets), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("loss", [CrossEntropyLoss(), BalancedSoftmaxLoss(UNSORTED), LogitAdjustedLoss(UNSORTED)])
def test_reductions_and_soft_targets(loss):
    logits, labels = random_batch()
    rows = loss(logits, labels, reduction="none")
    assert rows.shape == labels.shape
    torch.testing.assert_close(loss(logits, labels), rows.sum() / len(rows))
    torch.testing.assert_close(loss(logits, labels, reduction="sum"), rows.sum())
    one_hot = F.one_hot(labels, logits.shape[1]).to(torch.float32)
    torch.testing.assert_close(loss(logits, one_hot, reduction="none"), rows, rtol=1e-12, atol=1e-12)
    other = F.one_hot((labels + 1) % 5, 5).double()
    mixed = loss(logits, 0.3 * one_hot + 0.7 * other, reduction="none")
    expected = 0.3 * rows + 0.7 * loss(logits, (labels + 1) % 5, reduction="none")
    torch.testing.assert_close(mixed, expected, rtol=1e-6, atol=1e-6)


def test_identities():
    logits, labels = random_batch()
    plain = CrossEntropyLoss()(logits, labels)
    torch.testing.assert_close(BalancedSoftmaxLoss([8] * 5)(logits, labels), plain, rtol=1e-12, atol=0)
    torch.testing.assert_close(LogitAdjustedLoss(UNSORTED, tau=0)(logits, labels), plain, rtol=1e-12, atol=0)
    balanced = BalancedSoftmaxLoss(UNSORTED)(logits, labels)
    torch.testing.assert_close(LogitAdjustedLoss(UNSORTED)(logits, labels), balanced, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        BalancedSoftmaxLoss([10 * count for count in UNSORTED])(logits, labels), balanced, rtol=1e-12, atol=0
    )
    assert abs(balanced - plain) > 0.1


@pytest.mark.parametrize("loss", [CrossEntropyLoss(), BalancedSoftmaxLoss(UNSORTED), LogitAdjustedLoss(UNSORTED)])
def test_half_precision_is_computed_in_float32(loss):
    logits, labels = random_batch()
    narrow = logits.detach().to(torch.bfloat16)
    expected = loss(narrow.double(), labels, reduction="none")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = loss(narrow, labels, reduction="none")
        wide = loss(narrow.float(), labels, reduction="none")
    assert result.dtype == wide.dtype == torch.float32
    torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(wide, result)
    # Casting the module must not round the counts (bfloat16 has 8 bits).
    counts = BalancedSoftmaxLoss([1001, 3, 1, 1, 1]).to(torch.bfloat16).class_counts
    assert counts.tolist() == [1001, 3, 1, 1, 1]


def test_large_logits_and_one_class_batches_stay_finite():
    for loss in (CrossEntropyLoss(), BalancedSoftmaxLoss(UNSORTED), LogitAdjustedLoss(UNSORTED)):
        logits = torch.tensor([[1e4, -1e4, 0.0, 5.0, 1.0]], requires_grad=True)
        value = loss(logits, torch.tensor([1]))
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(logits.grad).all()
        empty = loss(logits[:0], torch.empty(0, dtype=torch.int64))
        assert empty.item() == 0 and empty.requires_grad


def test_no_label_is_silently_ignored():
    # torch's cross_entropy drops rows labelled -100.
    with pytest.raises((IndexError, RuntimeError)):
        CrossEntropyLoss()(torch.zeros(2, 3), torch.tensor([0, -100]))


@pytest.mark.parametrize("loss_class", [BalancedSoftmaxLoss, LogitAdjustedLoss])
def test_bad_counts_and_shapes_are_refused(loss_class):
    with pytest.raises(ValueError, match=f"(?s){loss_class.__name__}.*1"):
        loss_class([5, 0, 3])
    loss = loss_class([5, 2, 3])
    with pytest.raises(ValueError, match="3 classes.*4 columns"):
        loss(torch.zeros(2, 4), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"\(2,\)"):
        loss(torch.zeros(2, 3), torch.tensor([[0], [1]]))
    with pytest.raises(ValueError, match="shape of the logits"):
        loss(torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(ValueError, match="logits"):
        loss(torch.zeros(2, 3, 3), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="mean"):
        loss(torch.zeros(2, 3), torch.tensor([0, 1]), reduction="meen")


def test_bad_tau_is_refused():
    for tau in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="tau"):
            LogitAdjustedLoss([5, 2], tau=tau)


def test_constants_are_not_saved_and_compile_in_one_graph():
    loss = BalancedSoftmaxLoss(UNSORTED)
    assert loss.state_dict() == {}
    explanation = torch._dynamo.explain(loss)(*random_batch())
    assert explanation.graph_count == 1 and explanation.graph_break_count == 0
