"""Balanced binary cross-entropy."""

from __future__ import annotations

import pytest
import torch

from hf_ltr import get_method

from .fixtures import COUNTS, FixedModel, batch_of, some_labels, some_logits


def slow_row(row: torch.Tensor, targets: list[float], tau: float) -> torch.Tensor:
    total = 0.0
    for value, target, count in zip(row, targets, COUNTS, strict=True):
        share = torch.tensor(count / sum(COUNTS), dtype=torch.float64)
        adjusted = value + tau * (torch.log(share) - torch.log(1 - share))
        total = total - target * torch.log(torch.sigmoid(adjusted))
        total = total - (1 - target) * torch.log(torch.sigmoid(-adjusted))
    return total


@pytest.mark.parametrize("tau", [0.0, 1.0, 1.05])
@pytest.mark.parametrize("soft", [False, True])
def test_sum_over_classes_with_the_log_odds_of_the_prior(tau, soft):
    method = get_method("balanced_bce", class_counts=COUNTS, tau=tau)
    logits, labels = some_logits(), some_labels()
    targets = torch.nn.functional.one_hot(labels, 5).double()
    more = {}
    if soft:
        targets = 0.6 * targets + 0.4 * targets.flip(0)
        more = {"targets": targets}
    weight = [1.0] * 4 + [0.0] + [1.0] * 6
    rows = [slow_row(logits[i], targets[i].tolist(), tau) * weight[i] for i in range(11)]
    terms, _ = method.training_loss(FixedModel(logits), batch_of(labels, weight, **more))
    torch.testing.assert_close(terms["supervised"], sum(rows) / 10, rtol=1e-9, atol=0)


def test_says_that_it_adds_the_prior_and_refuses_what_has_no_odds():
    assert get_method("balanced_bce", class_counts=COUNTS).adds_prior
    with pytest.raises(ValueError, match="class.*2"):
        get_method("balanced_bce", class_counts=[5, 3, 0, 2])
    with pytest.raises(ValueError, match="tau"):
        get_method("balanced_bce", class_counts=COUNTS, tau=-1.0)
