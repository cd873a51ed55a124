import math

import pytest
import torch
from torch.nn import functional as F

from hf_ltr.losses import BalancedSoftmaxLoss, LADELoss, lade_regularizer

from .batches import UNSORTED, close, random_batch, slow_softmax
from .golden import CASES, COUNTS, assert_golden, golden_labels, golden_logits


def test_equals_the_reference_code():
    logits = golden_logits("lade_ce")
    assert_golden("lade_ce", LADELoss(COUNTS, alpha=0)(logits, golden_labels()), logits)
    for case in ("lader_lambda0.1", "lader_lambda0.01", "lader_lambda0.5"):
        logits = golden_logits(case)
        value = lade_regularizer(logits, golden_labels(), COUNTS, CASES[case]["remine_lambda"])
        assert_golden(case, value, logits)


@pytest.mark.parametrize(
    ("case", "alpha", "lambda_"),
    [("lade_total_alpha0.1_lambda0.1", 0.1, 0.1), ("lade_total_alpha0.05_lambda0.5", 0.05, 0.5)],
)
def test_the_whole_loss_equals_the_reference_code(case, alpha, lambda_):
    logits = golden_logits(case)
    assert_golden(case, LADELoss(COUNTS, alpha=alpha, lambda_=lambda_)(logits, golden_labels()), logits)


def slow_regularizer(logits, targets, counts, lambda_, weights):
    """Scalar Python; targets are rows of probabilities."""
    classes, total = len(counts), 0.0
    for index in range(classes):
        prior = counts[index] / sum(counts)
        of_class = [weight * row[index] for weight, row in zip(weights, targets, strict=True)]
        numerator = sum(weight * row[index] for weight, row in zip(of_class, logits, strict=True))
        own = numerator / (sum(of_class) + 1e-8)
        importance = (1 / classes + 1e-9) / (prior + 1e-9)
        everyone = sum(weight * math.exp(row[index]) * importance for weight, row in zip(weights, logits, strict=True))
        all_rows = math.log(everyone / sum(weights))
        total -= prior * (own - all_rows - lambda_ * all_rows**2)
    return total


@pytest.mark.parametrize("rows", [1, 2, 11])
@pytest.mark.parametrize("lambda_", [0.0, 0.01, 0.7])
def test_equals_a_slow_loop_on_unsorted_counts(rows, lambda_):
    logits, labels = random_batch(rows=rows, seed=rows)
    targets = F.one_hot(labels, 5).double()
    expected = slow_regularizer(logits.tolist(), targets.tolist(), UNSORTED, lambda_, [1.0] * rows)
    close(lade_regularizer(logits, labels, UNSORTED, lambda_), expected)
    prior_rows = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        shifted = [value + math.log(count / sum(UNSORTED)) for value, count in zip(row, UNSORTED, strict=True)]
        prior_rows.append(-math.log(slow_softmax(shifted)[label]))
    result = LADELoss(UNSORTED, alpha=0.4, lambda_=lambda_)(logits, labels, reduction="none")
    close(result, [value + 0.4 * expected for value in prior_rows], tolerance=1e-7)


def test_soft_labels_weigh_the_mean_of_a_class():
    logits, _ = random_batch(rows=4)
    targets = torch.rand(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = slow_regularizer(logits.tolist(), targets.tolist(), UNSORTED, 0.1, [1.0] * 4)
    close(lade_regularizer(logits, targets, UNSORTED, 0.1), expected)


def test_mass_leaves_padding_out():
    logits, labels = random_batch(rows=7)
    weights = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    value = lade_regularizer(logits, labels, UNSORTED, 0.2, weights=weights)
    (gradient,) = torch.autograd.grad(value, logits)
    own = logits.detach()[weights.bool()].requires_grad_()
    expected = lade_regularizer(own, labels[weights.bool()], UNSORTED, 0.2)
    (expected_gradient,) = torch.autograd.grad(expected, own)
    close(value.detach(), expected.detach())
    close(gradient[weights.bool()], expected_gradient)
    assert not gradient[~weights.bool()].any()
    weights = [2.0, 0.5, 1.0, 0.25, 1.0, 3.0, 0.125]
    slow = slow_regularizer(logits.tolist(), F.one_hot(labels, 5).tolist(), UNSORTED, 0.2, weights)
    close(lade_regularizer(logits, labels, UNSORTED, 0.2, weights=torch.tensor(weights).double()), slow)


@pytest.mark.parametrize("weights", [None, torch.zeros(3)])
def test_no_row_is_zero_with_its_graph(weights):
    logits, labels = random_batch(rows=3 if weights is not None else 1)
    rows = slice(None) if weights is not None else slice(0)
    value = lade_regularizer(logits[rows], labels[rows], UNSORTED, 0.5, weights=weights)
    value.backward()
    assert value.item() == 0 and torch.equal(logits.grad, torch.zeros_like(logits))


def test_a_class_absent_from_the_batch_is_pushed_down_by_its_share():
    logits, _ = random_batch(rows=6)
    labels = torch.tensor([0, 1, 3, 3, 1, 0])
    before = lade_regularizer(logits, labels, UNSORTED, 0.0)
    present, absent = logits.detach().clone(), logits.detach().clone()
    present[:, 3] += 2.0
    absent[:, 4] += 2.0
    close(lade_regularizer(present, labels, UNSORTED, 0.0), before.detach(), tolerance=1e-7)
    share = UNSORTED[4] / sum(UNSORTED)
    close(lade_regularizer(absent, labels, UNSORTED, 0.0) - before.detach(), 2.0 * share)


def test_without_the_quadratic_term_the_counts_shift_the_value_only():
    # log p_c enters B_c as a constant of the column: with equal weights p_c the gradients would coincide.
    logits, labels = random_batch()
    value = lade_regularizer(logits, labels, UNSORTED, 0.0)
    prior = torch.tensor(UNSORTED).double() / sum(UNSORTED)
    one_hot = F.one_hot(labels, 5).double()
    own = (one_hot * logits).sum(0) / (one_hot.sum(0) + 1e-8)
    unshifted = -(prior * (own - logits.logsumexp(0))).sum()
    (of_value,) = torch.autograd.grad(value, logits)
    (of_unshifted,) = torch.autograd.grad(unshifted, logits)
    close(of_value, of_unshifted)
    assert abs(value - unshifted) > 0.1


def test_every_row_carries_the_regulariser_of_the_batch():
    logits, labels = random_batch()
    rows = LADELoss(UNSORTED, alpha=0.5, lambda_=0.3)(logits, labels, reduction="none")
    constant = rows - LADELoss(UNSORTED, alpha=0.0)(logits, labels, reduction="none")
    expected = 0.5 * lade_regularizer(logits, labels, UNSORTED, 0.3)
    close(constant, expected.detach().expand(len(labels)))


def test_without_regulariser_it_is_the_balanced_softmax_up_to_the_epsilon():
    logits, labels = random_batch()
    close(
        LADELoss(UNSORTED, alpha=0)(logits, labels).detach(),
        BalancedSoftmaxLoss(UNSORTED)(logits, labels).detach(),
        tolerance=1e-6,
    )


def test_many_absent_classes_in_half_precision():
    counts = [max(1, 1280 // (index + 1)) for index in range(1000)]
    logits = (4 * torch.randn(8, 1000, generator=torch.Generator().manual_seed(2))).to(torch.bfloat16)
    labels = torch.tensor([0, 0, 7, 999, 3, 3, 3, 500])
    expected = lade_regularizer(logits.double(), labels, counts, 0.5)
    logits.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = lade_regularizer(logits, labels, counts, 0.5)
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(logits.grad).all()
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)


def test_bad_input_is_refused():
    logits, labels = random_batch()
    with pytest.raises(ValueError, match="lade_regularizer"):
        lade_regularizer(logits, labels, [1, 2, 0, 4, 5])
    with pytest.raises(ValueError, match="3 classes.*5 columns"):
        lade_regularizer(logits, labels, [1, 2, 3])
    with pytest.raises(ValueError, match="weights"):
        lade_regularizer(logits, labels, UNSORTED, weights=torch.ones(9, 1))
    with pytest.raises(ValueError, match="alpha"):
        LADELoss([5, 2], alpha=-0.1)
    with pytest.raises(ValueError, match="lambda_"):
        LADELoss([5, 2], lambda_=math.nan)
