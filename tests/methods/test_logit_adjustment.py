"""Logit adjustment as a loss."""

from __future__ import annotations

import pytest
import torch

from hf_ltr import get_method

from .fixtures import COUNTS, FixedModel, batch_of, outputs_of, slow_cross_entropy, some_labels, some_logits


@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0, 1.5])
def test_adds_tau_log_prior_to_the_raw_logits(tau):
    method = get_method("logit_adjustment", class_counts=COUNTS, tau=tau)
    logits, labels = some_logits(), some_labels()
    prior = torch.tensor([count / sum(COUNTS) for count in COUNTS], dtype=torch.float64)
    rows = [slow_cross_entropy(r + tau * prior.log(), int(y)) for r, y in zip(logits, labels, strict=True)]
    torch.testing.assert_close(method.sample_loss(outputs_of(logits), labels), torch.stack(rows), rtol=1e-9, atol=0)
    weight = [1.0] * 10 + [0.0]
    terms, _ = method.training_loss(FixedModel(logits), batch_of(labels, weight))
    torch.testing.assert_close(terms["supervised"], torch.stack(rows[:10]).mean(), rtol=1e-9, atol=0)


def test_tau_one_is_the_balanced_softmax_and_soft_targets_are_expectations():
    logits = some_logits()
    soft = torch.rand(11, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    soft = soft / soft.sum(1, keepdim=True)
    adjusted = get_method("logit_adjustment", class_counts=COUNTS)
    balanced = get_method("balanced_softmax", class_counts=COUNTS)
    torch.testing.assert_close(
        adjusted.sample_loss(outputs_of(logits), soft), balanced.sample_loss(outputs_of(logits), soft)
    )


def test_says_that_it_adds_the_prior_and_refuses_nonsense():
    assert get_method("logit_adjustment", class_counts=COUNTS).adds_prior
    with pytest.raises(ValueError, match="tau"):
        get_method("logit_adjustment", class_counts=COUNTS, tau=-1.0)
    with pytest.raises(ValueError, match="class.*2"):
        get_method("logit_adjustment", class_counts=[5, 3, 0, 2])
