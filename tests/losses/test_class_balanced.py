import math

import pytest
import torch

from hf_ltr.losses import (
    BalancedSoftmaxLoss,
    ClassBalancedLoss,
    CrossEntropyLoss,
    effective_number_weights,
    inverse_frequency_weights,
)

from .batches import UNSORTED, close, random_batch, slow_sigmoid, slow_softmax
from .golden import CASES, COUNTS, assert_golden, golden_labels, golden_logits


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("cb_ce_mean_over_batch", {}),
        ("cb_vandit_focal_gamma1", {"form": "focal"}),
        ("cb_vandit_focal_gamma2", {"form": "focal", "gamma": 2.0}),
        ("cb_vandit_softmax", {"form": "softmax_bce"}),
    ],
)
def test_equals_the_reference_code(case, options):
    logits = golden_logits(case)
    assert_golden(case, ClassBalancedLoss(COUNTS, **options)(logits, golden_labels()), logits)


def slow_rows(logits, labels, weights, form, gamma):
    rows = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        total = 0.0
        if form == "softmax":
            total = -math.log(slow_softmax(row)[label])
        else:
            probabilities = slow_softmax(row) if form == "softmax_bce" else [slow_sigmoid(value) for value in row]
            for index, probability in enumerate(probabilities):
                right = probability if index == label else 1 - probability
                modulator = (1 - right) ** gamma if form == "focal" else 1.0
                total -= modulator * math.log(right) / (len(row) if form == "softmax_bce" else 1)
        rows.append(weights[label] * total)
    return rows


@pytest.mark.parametrize("beta", [0.9, 0.9999])
@pytest.mark.parametrize("form", ["softmax", "sigmoid", "focal", "softmax_bce"])
def test_equals_a_slow_loop_on_unsorted_counts(form, beta):
    logits, labels = random_batch()
    raw = [(1 - beta) / (1 - beta**count) for count in UNSORTED]
    weights = [5 * value / sum(raw) for value in raw]
    loss = ClassBalancedLoss(UNSORTED, beta=beta, form=form, gamma=0.7)
    close(loss.class_weights(), weights)
    close(loss(logits, labels, reduction="none"), slow_rows(logits, labels, weights, form, gamma=0.7))


def test_the_mean_is_over_the_rows():
    # Dividing by the sum of the weights instead would cancel them in a batch of one class.
    logits, _ = random_batch()
    labels = torch.full((len(logits),), 2)
    weight = effective_number_weights(UNSORTED, 0.9999)[2]
    plain = CrossEntropyLoss()(logits, labels)
    torch.testing.assert_close(ClassBalancedLoss(UNSORTED)(logits, labels), weight * plain)
    assert weight > 2


def test_limits_of_beta():
    logits, labels = random_batch()
    plain = CrossEntropyLoss()(logits, labels, reduction="none")
    close(ClassBalancedLoss(UNSORTED, beta=0)(logits, labels, reduction="none"), plain.detach())
    inverse = inverse_frequency_weights(UNSORTED)
    close(ClassBalancedLoss(UNSORTED, beta=1)(logits, labels, reduction="none"), (inverse[labels] * plain).detach())
    # Far more images than 1 / (1 - beta): every class has the same effective number.
    close(ClassBalancedLoss([10**6, 2 * 10**6], beta=0.999).class_weights(), [1.0, 1.0])


def test_focal_without_modulator_is_the_sigmoid_form():
    logits, labels = random_batch()
    close(
        ClassBalancedLoss(UNSORTED, form="focal", gamma=0)(logits, labels, reduction="none"),
        ClassBalancedLoss(UNSORTED, form="sigmoid")(logits, labels, reduction="none").detach(),
    )


def test_a_class_without_images_weighs_nothing():
    loss = ClassBalancedLoss([0, 3, 500, 0, 40], beta=0.99)
    assert loss.class_weights()[[0, 3]].tolist() == [0.0, 0.0]
    close(loss.class_weights()[[1, 2, 4]], ClassBalancedLoss([3, 500, 40], beta=0.99).class_weights())
    rows = loss(*random_batch(), reduction="none")
    assert torch.isfinite(rows).all()


def test_float32_weights_keep_their_digits():
    wide = ClassBalancedLoss([1, 100_000, 7], beta=0.999999).class_weights()
    narrow = ClassBalancedLoss([1, 100_000, 7], beta=0.999999).class_weights(torch.float32)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-6, atol=0)


def test_rows_can_be_weighted_from_outside():
    # Difficulty-Net's broadcast bug: rows of shape (N, 1, 1) make per-row weights act by their mean only.
    case = CASES["bsce_difficultynet_broadcast_bug"]
    rows = BalancedSoftmaxLoss(COUNTS)(golden_logits("bsce"), golden_labels(), reduction="none")
    close((rows * torch.tensor(case["batch_weights"])).mean().detach(), case["intended_value"], tolerance=1e-9)
    unreduced = torch.tensor(CASES["bsce_difficultynet_unreduced"]["loss"], dtype=torch.float64)
    close(rows.detach(), unreduced.flatten(), tolerance=1e-9)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="sigmoid"):
        ClassBalancedLoss([5, 2], form="sigmoidal")
    with pytest.raises(ValueError, match="beta"):
        ClassBalancedLoss([5, 2], beta=1.5)
    with pytest.raises(ValueError, match="gamma"):
        ClassBalancedLoss([5, 2], form="focal", gamma=-1)
