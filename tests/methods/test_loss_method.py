"""A method that is one loss."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from hf_ltr import METHODS, get_method
from hf_ltr.losses import FocalLoss
from hf_ltr.methods import LossMethod

from .fixtures import COUNTS, outputs_of, some_labels, some_logits

LOSS_METHODS = sorted(name for name, method in METHODS.items() if issubclass(method, LossMethod))


class Sharp(LossMethod):
    """
    Args:
        gamma (`float`, *optional*, defaults to 3.0): Sharpness.
    """

    name = "sharp"
    loss_class = FocalLoss

    def __init__(self, class_counts, gamma: float = 3.0):
        super().__init__(class_counts, gamma=gamma)


def test_options_reach_the_loss_and_the_description():
    method = Sharp(COUNTS, gamma=1)
    assert method.option_names() == ["gamma"] and method.loss.gamma == 1
    assert method.describe() == {"name": "sharp", "options": {"gamma": 1}}
    logits, labels = some_logits(), some_labels()
    expected = FocalLoss(gamma=1)(logits, labels, reduction="none")
    assert torch.equal(method.sample_loss(outputs_of(logits), labels), expected)


def test_the_loss_refuses_what_it_cannot_work_with():
    with pytest.raises(ValueError, match="gamma"):
        Sharp(COUNTS, gamma=-1)


def test_a_loss_without_options_has_none():
    method = get_method("balanced_softmax", class_counts=COUNTS)
    assert method.option_names() == [] and method.describe()["options"] == {}
    with pytest.raises(ValueError, match="Unknown option of balanced_softmax: 'options'"):
        get_method("balanced_softmax", class_counts=COUNTS, options=1)


@pytest.mark.parametrize("name", LOSS_METHODS)
def test_no_method_promises_soft_targets_that_its_loss_refuses(name):
    method = get_method(name, class_counts=COUNTS)
    assert method.loss.accepts_soft_targets or not method.accepts_soft_targets


@pytest.mark.parametrize("name", ["balanced_softmax", "ldam", "ldam_drw"])
def test_a_class_without_images_is_refused_by_name(name):
    with pytest.raises(ValueError, match="class.*2"):
        get_method(name, class_counts=[5, 3, 0, 2])


@pytest.mark.parametrize("name", ["cross_entropy", "balanced_softmax"])
def test_soft_targets_are_the_expectation_over_hard_ones(name):
    outputs, classes = outputs_of(some_logits()), len(COUNTS)
    weights = torch.rand(11, classes, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weights = weights / weights.sum(1, keepdim=True)
    method = get_method(name, class_counts=COUNTS)
    hard = torch.stack([method.sample_loss(outputs, torch.full((11,), label)) for label in range(classes)], dim=1)
    torch.testing.assert_close(method.sample_loss(outputs, weights), (weights * hard).sum(1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LOSS_METHODS)
def test_no_loss_reads_the_logits_of_inference(name):
    """Those are adjusted by configuration: a loss that read them would train against its own correction."""
    logits, labels = some_logits(), some_labels()
    method = get_method(name, class_counts=COUNTS)
    torch.manual_seed(0)
    with_adjustment = method.sample_loss(outputs_of(logits), labels)
    torch.manual_seed(0)
    without = method.sample_loss(SimpleNamespace(raw_logits=logits, logits=logits), labels)
    torch.testing.assert_close(with_adjustment, without, rtol=0, atol=0)
