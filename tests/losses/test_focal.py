import math

import pytest
import torch
from torch.nn import functional as F

from hf_ltr.losses import CrossEntropyLoss, FocalLoss
from hf_ltr.losses.focal import log_complement

from .batches import close, random_batch, slow_softmax
from .golden import CASES, assert_golden, golden_labels, golden_logits


@pytest.mark.parametrize(
    ("case", "loss"),
    [
        ("focal_ldamdrw_gamma1", FocalLoss(gamma=1)),
        ("focal_ldamdrw_gamma2", FocalLoss()),
        ("focal_lade_gamma1", FocalLoss(1.0, detach_modulator=True)),
        ("focal_lade_gamma2", FocalLoss(2.0, detach_modulator=True)),
        ("focal_difficultynet_gamma1", FocalLoss(1.0, detach_modulator=True)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_equals_the_reference_code(case, loss):
    logits = golden_logits(case)
    assert_golden(case, loss(logits, golden_labels()), logits)


def test_class_weights_are_not_put_inside_the_probability():
    # LDAM-DRW's FocalLoss(weight=w) takes p = exp(-w * CE), which is no probability; rows are weighted outside here.
    case = "focal_ldamdrw_gamma1_cbweight"
    logits, labels = golden_logits(case).detach(), golden_labels()
    weights = torch.tensor(CASES[case]["weights"], dtype=torch.float64)[labels]
    weighted = weights * CrossEntropyLoss()(logits, labels, reduction="none")
    assert ((1 - (-weighted).exp()) * weighted).mean().item() == pytest.approx(CASES[case]["loss"], rel=1e-12)
    ours = (weights * FocalLoss(1.0)(logits, labels, reduction="none")).mean().item()
    assert abs(ours - CASES[case]["loss"]) > 1e-3


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.5])
def test_equals_a_slow_loop(gamma):
    logits, labels = random_batch()
    expected = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        probability = slow_softmax(row)[label]
        expected.append(-((1 - probability) ** gamma) * math.log(probability))
    close(FocalLoss(gamma)(logits, labels, reduction="none"), expected)
    if gamma == 0:
        close(FocalLoss(0)(logits, labels), CrossEntropyLoss()(logits, labels).detach())


def test_the_detached_modulator_is_a_constant_weight():
    logits, labels = random_batch()
    probability = logits.softmax(dim=1)[torch.arange(len(labels)), labels].detach()
    expected = ((1 - probability) ** 1.5 * F.cross_entropy(logits, labels, reduction="none")).mean()
    (of_expected,) = torch.autograd.grad(expected, logits)
    result = FocalLoss(1.5, detach_modulator=True)(logits, labels)
    (of_result,) = torch.autograd.grad(result, logits)
    close(result.detach(), expected.detach())
    close(of_result, of_expected)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_digits_survive_where_the_probability_rounds_to_one(gamma):
    # p_y = 1 - 2 e^-20 is 1 in float32; the loss is (2 e^-20)^(1 + gamma) and its derivative (1 + gamma) times that.
    logits = torch.tensor([[20.0, 0.0, 0.0]], requires_grad=True)
    modulator = log_complement(F.log_softmax(logits, dim=1))[0, 0]
    assert modulator.item() == pytest.approx(math.log(2) - 20, rel=1e-6)
    FocalLoss(gamma)(logits, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all()
    wide = torch.tensor([[20.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    value = FocalLoss(gamma)(wide, torch.tensor([0]))
    value.backward()
    small = 2 * math.exp(-20)
    assert value.item() == pytest.approx(small ** (1 + gamma), rel=1e-6)
    assert wide.grad[0, 0].item() == pytest.approx(-(1 + gamma) * small ** (1 + gamma), rel=1e-6)


def test_ties_and_a_single_class():
    half = torch.tensor([[math.log(0.5), math.log(0.5)]], dtype=torch.float64)
    close(log_complement(half), half)
    single = torch.tensor([[3.0]], requires_grad=True)
    value = FocalLoss(2.0)(single, torch.tensor([0]))
    value.backward()
    assert value.item() == 0 and single.grad.item() == 0


@pytest.mark.parametrize("gamma", [-0.1, math.nan, math.inf])
def test_bad_gamma_is_refused(gamma):
    with pytest.raises(ValueError, match="gamma"):
        FocalLoss(gamma)
