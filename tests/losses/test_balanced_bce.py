import math

import pytest
import torch
from torch.nn import functional as F

from hf_ltr.losses import BalancedBCELoss

from .batches import UNSORTED, close, random_batch, slow_sigmoid


@pytest.mark.parametrize("tau", [0.0, 1.0, 1.05])
def test_equals_a_slow_loop_on_unsorted_counts(tau):
    logits, labels = random_batch()
    targets = torch.rand(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    one_hot = F.one_hot(labels, 5).double()
    loss = BalancedBCELoss(UNSORTED, tau=tau)
    for given, matrix in ((labels, one_hot), (targets, targets)):
        expected = []
        for row, target in zip(logits.tolist(), matrix.tolist(), strict=True):
            total = 0.0
            for value, wanted, count in zip(row, target, UNSORTED, strict=True):
                prior = count / sum(UNSORTED)
                probability = slow_sigmoid(value + tau * (math.log(prior) - math.log(1 - prior)))
                total -= wanted * math.log(probability) + (1 - wanted) * math.log(1 - probability)
            expected.append(total)
        close(loss(logits, given, reduction="none"), expected)
    # The released reduction: the mean over rows and classes, times the classes.
    elements = F.binary_cross_entropy_with_logits(logits, one_hot) * 5
    if tau == 0:
        close(loss(logits, labels).detach(), elements.detach())
    else:
        assert abs(loss(logits, labels) - elements) > 0.1


def test_a_network_that_knows_only_the_prior_needs_no_logits():
    # Zero logits give sigmoid(log odds of the prior) = the prior: the minimum for labels drawn from it.
    counts = [1, 3, 4]
    logits = torch.zeros(8, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 1, 1, 2, 2, 2, 2])
    BalancedBCELoss(counts)(logits, labels).backward()
    close(logits.grad.sum(dim=0), [0.0, 0.0, 0.0])


def test_a_class_with_nearly_all_images_keeps_its_digits_in_float32():
    counts = [10_000_000, 1]
    logits, labels = torch.zeros(2, 2), torch.tensor([0, 1])
    wide = BalancedBCELoss(counts)(logits.double(), labels, reduction="none")
    close(BalancedBCELoss(counts)(logits, labels, reduction="none").double(), wide, tolerance=1e-6)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="two classes"):
        BalancedBCELoss([5])
    with pytest.raises(ValueError, match="BalancedBCELoss"):
        BalancedBCELoss([5, 0])
    for tau in (-1.0, math.nan):
        with pytest.raises(ValueError, match="tau"):
            BalancedBCELoss([5, 2], tau=tau)
