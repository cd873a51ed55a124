"""Focal loss: the published gamma, both gradients."""

from __future__ import annotations

import pytest
import torch

from hf_ltr import get_method

from .fixtures import COUNTS, FixedModel, batch_of, outputs_of, some_labels, some_logits


def slow_focal(row: torch.Tensor, label: int, gamma: float, detach: bool) -> torch.Tensor:
    probability = torch.exp(row[label]) / sum(torch.exp(value) for value in row)
    modulator = (1 - probability) ** gamma
    return -(modulator.detach() if detach else modulator) * torch.log(probability)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("detach", [False, True])
def test_value_and_gradient_of_the_mean_without_padding(gamma, detach):
    method = get_method("focal", class_counts=COUNTS, gamma=gamma, detach_modulator=detach)
    model, labels = FixedModel(some_logits()), some_labels()
    weight = [1.0, 0.0] + [1.0] * 9
    terms, _ = method.training_loss(model, batch_of(labels, weight))
    (gradient,) = torch.autograd.grad(terms["supervised"], model.logits)
    slow = some_logits().requires_grad_()
    rows = [slow_focal(slow[i], int(labels[i]), gamma, detach) * weight[i] for i in range(11)]
    expected = sum(rows) / sum(weight)
    (slow_gradient,) = torch.autograd.grad(expected, slow)
    torch.testing.assert_close(terms["supervised"], expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(gradient, slow_gradient, rtol=1e-9, atol=1e-14)


def test_the_default_is_the_paper_s_gamma_and_soft_targets_are_expectations():
    method = get_method("focal", class_counts=COUNTS)
    assert (method.gamma, method.detach_modulator) == (2.0, False)
    out = outputs_of(some_logits())
    soft = torch.rand(11, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    soft = soft / soft.sum(1, keepdim=True)
    hard = torch.stack([method.sample_loss(out, torch.full((11,), c)) for c in range(5)], dim=1)
    torch.testing.assert_close(method.sample_loss(out, soft), (soft * hard).sum(1), rtol=1e-9, atol=0)


@pytest.mark.parametrize("gamma", [-1.0, float("nan")])
def test_a_wrong_gamma_is_refused(gamma):
    with pytest.raises(ValueError, match="gamma"):
        get_method("focal", class_counts=COUNTS, gamma=gamma)
