import pytest
import torch

from hf_ltr.losses import CrossEntropyLoss, effective_number_weights, inverse_frequency_weights

from .golden import CASES, COUNTS, assert_golden, golden_labels, golden_logits, tensor

BETAS = [key for key in CASES["cb_weights"] if key[0].isdigit()]


@pytest.mark.parametrize("beta", BETAS)
def test_equals_the_reference_code(beta):
    weights = effective_number_weights(COUNTS, float(beta))
    torch.testing.assert_close(weights, tensor(CASES["cb_weights"][beta]), rtol=1e-9, atol=0)


@pytest.mark.parametrize("case", ["cb_ce_torch_weighted_mean", "cb_ce_mean_over_batch"])
def test_weighted_cross_entropy_under_both_reductions(case):
    logits, labels = golden_logits(case), golden_labels()
    weights = effective_number_weights(COUNTS, 0.9999)[labels]
    weighted = weights * CrossEntropyLoss()(logits, labels, reduction="none")
    divisor = weights.sum() if case == "cb_ce_torch_weighted_mean" else len(labels)
    assert_golden(case, weighted.sum() / divisor, logits)


def test_limits_and_order():
    counts = [3, 500, 40, 40]
    assert effective_number_weights(counts, 0.0).tolist() == [1.0] * 4
    inverse = inverse_frequency_weights(counts)
    torch.testing.assert_close(inverse * torch.tensor(counts), inverse[0].expand(4) * 3)
    torch.testing.assert_close(effective_number_weights(counts, 1.0), inverse)
    torch.testing.assert_close(effective_number_weights(counts, 1 - 1e-12), inverse, rtol=1e-8, atol=0)
    for weights in (inverse, effective_number_weights(counts, 0.99)):
        assert weights.dtype == torch.float64
        torch.testing.assert_close(weights.sum().item(), 4.0)
        assert weights[0] > weights[2] == weights[3] > weights[1]


@pytest.mark.parametrize(
    "weights", [inverse_frequency_weights, lambda counts: effective_number_weights(counts, 0.999)]
)
def test_a_class_without_images_weighs_nothing_and_changes_nothing(weights):
    with_empty = weights([0, 3, 500, 0, 40])
    assert with_empty[[0, 3]].tolist() == [0.0, 0.0]
    torch.testing.assert_close(with_empty[[1, 2, 4]], weights([3, 500, 40]), rtol=0, atol=0)
    with pytest.raises(ValueError, match="No class has a training image"):
        weights([0, 0])


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan")])
def test_bad_beta_is_refused(beta):
    with pytest.raises(ValueError, match="beta"):
        effective_number_weights([3, 2], beta)
