import math

import pytest
import torch

from hf_ltr.losses import CrossEntropyLoss, difficulty_weights, dynamic_tau

from .batches import close
from .golden import CASES, assert_golden, golden_labels, golden_logits

GOLDEN = CASES["cdb_weights"]
ACCURACIES = GOLDEN["class_acc"]
# The ImageNet code and an unused utility of the repository compute the paper's form.
FORMS = [("cifar", "cifar_code"), ("imagenet", "paper"), ("utils_compute_weights", "paper")]


@pytest.mark.parametrize("tau", [0.5, 1, 1.5, 2, "dynamic"])
@pytest.mark.parametrize(("prefix", "form"), FORMS)
def test_equals_the_reference_code(prefix, form, tau):
    close(difficulty_weights(ACCURACIES, tau, form), GOLDEN[f"{prefix}_tau_{tau}"], tolerance=1e-9)


def test_dynamic_tau_equals_the_reference_code():
    expected = GOLDEN["dynamic_tau_values"]
    assert dynamic_tau(ACCURACIES) == pytest.approx(expected["imagenet_code_and_utils"], rel=1e-9)
    assert dynamic_tau(ACCURACIES, "cifar_code") == pytest.approx(expected["cifar_code"], rel=1e-9)
    # Far from saturation, where the two forms really differ.
    ratio = 0.5 / 0.41
    assert dynamic_tau([0.5, 0.4, 0.45]) == pytest.approx(2 / (1 + math.exp(1 - ratio)), rel=1e-12)
    assert dynamic_tau([0.5, 0.4, 0.45], "cifar_code") == pytest.approx(1 / (1 + math.exp(-ratio)), rel=1e-12)


@pytest.mark.parametrize(
    ("case", "tau", "weighted_mean"), [("cdb_ce_cifar_tau1.5_mean", 1.5, False), ("cdb_ce_imagenet_tau1", 1.0, True)]
)
def test_weighted_cross_entropy_under_both_reductions(case, tau, weighted_mean):
    logits, labels = golden_logits(case), golden_labels()
    weights = difficulty_weights(ACCURACIES, tau)[labels]
    weighted = weights * CrossEntropyLoss()(logits, labels, reduction="none")
    assert_golden(case, weighted.sum() / (weights.sum() if weighted_mean else len(labels)), logits)


@pytest.mark.parametrize("tau", [0.0, 0.7, 3.0])
def test_equals_a_slow_loop(tau):
    accuracies = [0.3, 0.9, 0.0, 0.55]
    raw = [(1 - accuracy) ** tau for accuracy in accuracies]
    expected = [4 * value / sum(raw) for value in raw]
    close(difficulty_weights(accuracies, tau), expected)
    result = difficulty_weights(torch.tensor(accuracies, dtype=torch.float64), tau)
    assert result.dtype == torch.float64 and result.sum().item() == pytest.approx(4)


@pytest.mark.parametrize("tau", [1.0, "dynamic"])
@pytest.mark.parametrize("form", ["paper", "cifar_code"])
def test_edges(tau, form):
    assert difficulty_weights([0.0] * 3, tau, form).tolist() == [1.0] * 3
    assert difficulty_weights([1.0] * 3, tau, form).tolist() == [1.0] * 3
    one_perfect = difficulty_weights([1.0, 0.5, 0.5], tau, form)
    close(one_perfect, [0.0, 1.5, 1.5])


def test_an_unknown_accuracy_weighs_one_and_changes_nothing():
    known = difficulty_weights([0.2, 0.9, 0.4], "dynamic")
    weights = difficulty_weights([0.2, math.nan, 0.9, 0.4, math.nan], "dynamic")
    assert weights[[1, 4]].tolist() == [1.0, 1.0]
    close(weights[[0, 2, 3]], known)
    assert difficulty_weights([math.nan] * 2, "dynamic").tolist() == [1.0, 1.0]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="class 1 has 92"):
        difficulty_weights([0.5, 92.0])
    with pytest.raises(ValueError, match="class 0"):
        difficulty_weights([-0.1, 0.5])
    for tau in (-1, math.nan, math.inf, "dynamik"):
        with pytest.raises(ValueError, match="tau"):
            difficulty_weights([0.5, 0.5], tau)
    with pytest.raises(ValueError, match="cifar_code"):
        difficulty_weights([0.5, 0.5], 1.0, "cifar")
    with pytest.raises(ValueError, match="shape"):
        difficulty_weights(torch.zeros(2, 2))
