import math

import pytest
import torch
from torch.nn import functional as F

from hf_ltr.losses import CrossEntropyLoss, LDAMLoss, effective_number_weights

from .golden import CASES, COUNTS, assert_golden, golden_labels, golden_logits, tensor


@pytest.mark.parametrize("case", ["ldam", "ldam_cosine_inputs"])
def test_equals_the_reference_code(case):
    logits = golden_logits(case)
    assert_golden(case, LDAMLoss(COUNTS)(logits, golden_labels()), logits)


@pytest.mark.parametrize("case", ["ldam", "ldam_cosine_inputs"])
def test_scale_in_the_head_is_the_same_loss(case):
    cosines = golden_logits(case)
    loss = LDAMLoss(COUNTS, logits_scaled=True)(30.0 * cosines, golden_labels())
    assert_golden(case, loss, cosines)


def test_margins():
    margins = LDAMLoss(COUNTS).margins()
    torch.testing.assert_close(margins, tensor(CASES["ldam_margins"]["m_list"]), rtol=1e-12, atol=0)
    assert margins.max() == margins[-1] == 0.5
    torch.testing.assert_close(LDAMLoss([10 * count for count in COUNTS]).margins(), margins)
    assert LDAMLoss([7, 7, 7], max_margin=0.3).margins().tolist() == [0.3] * 3


def test_deferred_reweighting_equals_the_reference_code():
    case = "ldam_drw_cosine_inputs"
    logits, labels = golden_logits(case), golden_labels()
    weights = effective_number_weights(COUNTS, beta=0.9999)[labels]
    rows = LDAMLoss(COUNTS)(logits, labels, reduction="none")
    assert_golden(case, (weights * rows).sum() / weights.sum(), logits)


def test_on_a_normalised_head():
    case = CASES["ldam_normed_linear"]
    features, weight = tensor(case["features"]).requires_grad_(), tensor(case["weight_in_out"]).requires_grad_()
    cosines = F.normalize(features, dim=1) @ F.normalize(weight, dim=0)
    loss = LDAMLoss(COUNTS)(cosines, golden_labels())
    torch.testing.assert_close(loss, tensor(case["loss"]), rtol=1e-9, atol=0)
    for gradient, name in zip(torch.autograd.grad(loss, (features, weight)), ("features", "weight"), strict=True):
        torch.testing.assert_close(gradient, tensor(case[f"grad_{name}"]), rtol=1e-8, atol=1e-9)


def test_equals_a_slow_loop_on_unsorted_counts():
    counts, scale, max_margin = [7, 120, 3, 900], 12.0, 0.4
    generator = torch.Generator().manual_seed(1)
    cosines = 2 * torch.rand(11, 4, dtype=torch.float64, generator=generator) - 1
    labels = torch.randint(0, 4, (11,), generator=generator)
    raw = [count**-0.25 for count in counts]
    expected = []
    for row, label in zip(cosines.tolist(), labels.tolist(), strict=True):
        row[label] -= max_margin * raw[label] / max(raw)
        exponentials = [math.exp(scale * value) for value in row]
        expected.append(-math.log(exponentials[label] / sum(exponentials)))
    result = LDAMLoss(counts, max_margin=max_margin, scale=scale)(cosines, labels, reduction="none")
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_no_margin_is_scaled_cross_entropy():
    cosines, labels = golden_logits("ldam_cosine_inputs"), golden_labels()
    torch.testing.assert_close(
        LDAMLoss(COUNTS, max_margin=0.0, scale=30.0)(cosines, labels), CrossEntropyLoss()(30.0 * cosines, labels)
    )


def test_autocast_computes_in_float32():
    cosines = golden_logits("ldam_cosine_inputs").detach().to(torch.bfloat16)
    expected = LDAMLoss(COUNTS)(cosines.double(), golden_labels())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = LDAMLoss(COUNTS)(cosines, golden_labels())
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=0)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="mixup"):
        LDAMLoss([5, 2, 3])(torch.zeros(2, 3), torch.full((2, 3), 1 / 3))
    with pytest.raises(ValueError, match="(?s)LDAMLoss.*2"):
        LDAMLoss([5, 3, 0])
    with pytest.raises(ValueError, match="3 classes"):
        LDAMLoss([5, 2, 3])(torch.zeros(2, 4), torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="scale"):
        LDAMLoss([5, 2], scale=0)
    with pytest.raises(ValueError, match="max_margin"):
        LDAMLoss([5, 2], max_margin=-0.1)
