import math

import pytest
import torch

from hf_ltr.losses import max_norm, max_norm_radius, tau_normalize

from .batches import close
from .golden import CASES, tensor


def test_max_norm_equals_the_reference_code():
    case = CASES["weight_balancing_maxnorm"]
    weight = tensor(case["W_in"])
    radius = max_norm_radius(weight, case["thresh"])
    close(radius, case["radius"])
    projected = max_norm(weight, radius)
    close(projected, case["W_out"], tolerance=1e-12)
    close(projected.norm(dim=1), case["row_norms_after"], tolerance=1e-12)


@pytest.mark.parametrize("tau", ["1.0", "1.9"])
def test_tau_normalisation_equals_the_reference_code(tau):
    weight = tensor(CASES["weight_balancing_maxnorm"]["W_in"])
    close(tau_normalize(weight, float(tau)), CASES[f"weight_balancing_taunorm_{tau}"]["W_out"], tolerance=1e-12)


def random_weight(dtype=torch.float64):
    weight = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return (weight * torch.tensor([[0.1], [5.0], [1.0], [2.0]])).to(dtype)


def test_equals_a_slow_loop():
    weight = random_weight()
    norms = [math.sqrt(sum(value**2 for value in row)) for row in weight.tolist()]
    radius = min(norms) + 0.4 * (max(norms) - min(norms))
    close(max_norm_radius(weight, 0.4), radius)
    assert 0 < sum(norm > radius for norm in norms) < 4
    for tau in (0.0, 0.5, -0.3):
        close(
            tau_normalize(weight, tau),
            [[v / n**tau for v in row] for row, n in zip(weight.tolist(), norms, strict=True)],
        )
    expected = [[v * min(1, radius / n) for v in row] for row, n in zip(weight.tolist(), norms, strict=True)]
    close(max_norm(weight, radius), expected)


def test_projection_edges():
    weight = random_weight()
    norms = weight.norm(dim=1)
    close(max_norm_radius(weight, 0.0), norms.min())
    close(max_norm_radius(weight, 1.0), norms.max())
    assert torch.equal(max_norm(weight, 100.0), weight)
    one = max_norm(weight, norms.topk(2).values[1])  # only the longest row is above
    assert [torch.equal(a, b) for a, b in zip(one, weight, strict=True)].count(False) == 1
    close(max_norm(max_norm(weight, 0.5), 0.5), max_norm(weight, 0.5))
    assert not max_norm(weight, 0.0).any()


def test_a_row_of_zeros_stays_zero():
    weight = random_weight()
    weight[1] = 0
    weight.requires_grad_()
    for function in (
        lambda w: tau_normalize(w, 1.0),
        lambda w: max_norm(w, max_norm_radius(w, 0.1)),
        lambda w: max_norm(w, 0.0),
    ):
        result = function(weight)
        (gradient,) = torch.autograd.grad(result.sum(), weight)
        assert not result[1].any() and torch.isfinite(result).all() and torch.isfinite(gradient).all()
    close(tau_normalize(weight, 1.0).norm(dim=1).detach(), [1.0, 0.0, 1.0, 1.0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_norms_are_float32(dtype):
    weight = torch.full((2, 1000), 100.0).to(dtype)  # the sum of squares exceeds float16
    weight[1] = 0.5
    radius = max_norm_radius(weight, 0.5)
    assert radius.dtype == torch.float32 and torch.isfinite(radius)
    for result in (tau_normalize(weight), max_norm(weight, radius)):
        assert result.dtype == dtype and torch.isfinite(result).all()
    torch.testing.assert_close(tau_normalize(weight).float().norm(dim=1), torch.ones(2), rtol=1e-2, atol=0)


def test_bad_input_is_refused():
    for threshold in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="threshold"):
            max_norm_radius(torch.ones(2, 2), threshold)
    with pytest.raises(ValueError, match="tau"):
        tau_normalize(torch.ones(2, 2), math.inf)
    for weight in (torch.ones(3), torch.ones(2, 2, dtype=torch.int64)):
        with pytest.raises(ValueError, match="weight"):
            max_norm(weight, 1.0)
