"""LADE: both terms against the formula, and a regulariser of the batch without its padding."""

from __future__ import annotations

import math

import pytest
import torch

from hf_ltr import get_method

from ..contracts.builders import make_trainer
from .fixtures import COUNTS, FixedModel, batch_of, slow_cross_entropy, some_labels, some_logits


def slow_regularizer(logits: torch.Tensor, labels: list[int], lambda_: float) -> torch.Tensor:
    prior = [count / sum(COUNTS) for count in COUNTS]
    total = 0.0
    for c in range(len(COUNTS)):
        own = [logits[i, c] for i, label in enumerate(labels) if label == c]
        own_mean = sum(own) / (len(own) + 1e-8) if own else 0.0
        weight = (1 / len(COUNTS) + 1e-9) / (prior[c] + 1e-9)
        of_all = torch.log(sum(torch.exp(logits[i, c]) * weight for i in range(len(labels))) / len(labels))
        total = total - prior[c] * (own_mean - of_all - lambda_ * of_all**2)
    return total


@pytest.mark.parametrize(("alpha", "lambda_"), [(0.1, 0.01), (0.05, 0.5)])
def test_terms_without_the_padding_rows(alpha, lambda_):
    method = get_method("lade", class_counts=COUNTS, alpha=alpha, lambda_=lambda_)
    logits, labels = some_logits(), some_labels()
    labels[labels == 3] = 1  # class 3 is absent from the batch
    weight = [1.0] * 5 + [0.0] + [1.0] * 5
    kept = [i for i in range(11) if weight[i]]
    model, slow = FixedModel(logits), logits.clone().requires_grad_()
    terms, _ = method.training_loss(model, batch_of(labels, weight))
    prior = torch.tensor([count / sum(COUNTS) + 1e-9 for count in COUNTS], dtype=torch.float64)
    expected = {
        "supervised": sum(slow_cross_entropy(slow[i] + prior.log(), int(labels[i])) for i in kept) / 10,
        "regularizer": alpha * slow_regularizer(slow[kept], labels[kept].tolist(), lambda_),
    }
    assert terms.keys() == expected.keys()
    assert method.term_mass(batch_of(labels, weight)) == {}
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-9, atol=1e-12)
        (gradient,) = torch.autograd.grad(terms[name], model.logits)
        (slow_gradient,) = torch.autograd.grad(value, slow, retain_graph=True)
        torch.testing.assert_close(gradient, slow_gradient, rtol=1e-8, atol=1e-13)
        assert torch.equal(gradient[5], torch.zeros(5, dtype=torch.float64))


def test_a_process_with_padding_only_gives_zeros_with_a_graph():
    model = FixedModel(some_logits(1))
    terms, _ = get_method("lade", class_counts=COUNTS).training_loss(model, batch_of(torch.tensor([2]), [0.0]))
    sum(terms.values()).backward()
    assert {name: value.item() for name, value in terms.items()} == {"supervised": 0.0, "regularizer": 0.0}
    assert torch.equal(model.logits.grad, torch.zeros_like(model.logits))


def test_half_precision_logits_are_computed_in_float32():
    method = get_method("lade", class_counts=COUNTS, alpha=1.0)
    logits = some_logits().to(torch.bfloat16)
    half, _ = method.training_loss(FixedModel(logits), batch_of(some_labels()))
    full, _ = method.training_loss(FixedModel(logits.float()), batch_of(some_labels()))
    for name, value in full.items():
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], value, rtol=1e-6, atol=0)


def test_accumulation_is_warned_about_and_deferring_refused(tmp_path):
    with pytest.warns(UserWarning, match="lade couples the samples.*gradient_accumulation_steps=2"):
        make_trainer("lade", tmp_path, gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="lade couples the rows"):
        get_method("deferred_reweighting", class_counts=COUNTS, base="lade")


def test_both_terms_are_logged_and_the_prior_is_declared(tmp_path):
    trainer = make_trainer("lade", tmp_path, max_steps=1)
    trainer.train()
    entry = next(e for e in trainer.state.log_history if "loss" in e)
    assert entry["loss"] == pytest.approx(entry["loss/supervised"] + entry["loss/regularizer"], rel=1e-4)
    assert math.isfinite(entry["loss/regularizer"]) and entry["loss/regularizer"] != 0
    assert trainer.method.adds_prior and trainer.method.batch_coupled


@pytest.mark.parametrize("options", [{"alpha": -0.1}, {"lambda_": float("inf")}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        get_method("lade", class_counts=COUNTS, **options)


def test_a_class_without_images_is_refused():
    with pytest.raises(ValueError, match="class.*2"):
        get_method("lade", class_counts=[5, 3, 0, 2])
