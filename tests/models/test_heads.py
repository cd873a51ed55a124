"""The cosine head against the public LDAM code's values and a float64 formula."""

import json

import pytest
import torch

from hf_ltr.models import CosineHead


@pytest.fixture(scope="module")
def golden(repository):
    cases = json.loads((repository / "tests" / "golden" / "losses.json").read_text(encoding="utf-8"))
    return cases["ldam_normed_linear"]


def test_equals_normed_linear_of_the_public_code(golden):
    features = torch.tensor(golden["features"], dtype=torch.float64, requires_grad=True)
    head = CosineHead(features.shape[1], 10, scale=1.0).double()
    head.weight.data = torch.tensor(golden["weight_in_out"], dtype=torch.float64)
    logits = head(features)
    torch.testing.assert_close(logits, torch.tensor(golden["logits"], dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_initial_columns_have_length_one(golden):
    torch.manual_seed(0)
    norms = CosineHead(16, 10).weight.norm(dim=0)
    torch.testing.assert_close(norms, torch.tensor(golden["init_column_norms"], dtype=torch.float32))


def test_scaled_cosine_in_float64():
    torch.manual_seed(0)
    head = CosineHead(6, 4, scale=7.0).double()
    features = torch.randn(5, 6, dtype=torch.float64)
    expected = torch.zeros(5, 4, dtype=torch.float64)
    for row in range(5):
        for column in range(4):
            weight = head.weight[:, column]
            expected[row, column] = 7.0 * (features[row] @ weight) / (features[row].norm() * weight.norm())
    torch.testing.assert_close(head(features), expected, rtol=1e-12, atol=1e-12)
    assert head(features * 100).sub(expected).abs().max() < 1e-9


def test_computed_in_float32_under_autocast():
    head = CosineHead(8, 3)
    features = torch.randn(4, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(head(features), head(features.clone())) and head(features).dtype == torch.float32
        low = head(features.to(torch.bfloat16))
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, head(features.to(torch.bfloat16).float()))
