"""The single-network methods against formulas written out in the test, in float64."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from hf_ltr import METHODS, LongTailConfig, get_method

from .fixtures import outputs_of

COUNTS = [7, 300, 25, 60]  # unsorted on purpose: nothing may assume a head-first order


def outputs(rows: int = 9, seed: int = 0, scale: float = 1.0) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, 4, generator=generator, dtype=torch.float64) * scale
    return outputs_of(logits)  # a loss of inference logits would show


def labels(rows: int = 9, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, 4, (rows,), generator=torch.Generator().manual_seed(seed))


def slow_cross_entropy(row: torch.Tensor, label: int) -> torch.Tensor:
    return -(row[label] - torch.log(sum(torch.exp(value) for value in row)))


def test_cross_entropy_of_raw_logits():
    out, target = outputs(), labels()
    expected = torch.stack([slow_cross_entropy(r, int(y)) for r, y in zip(out.raw_logits, target, strict=True)])
    actual = get_method("cross_entropy", class_counts=COUNTS).sample_loss(out, target)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=0)


def test_balanced_softmax_adds_the_log_counts():
    out, target = outputs(), labels()
    method = get_method("balanced_softmax", class_counts=COUNTS)
    shifted = out.raw_logits + torch.tensor(COUNTS, dtype=torch.float64).log()
    expected = torch.stack([slow_cross_entropy(r, int(y)) for r, y in zip(shifted, target, strict=True)])
    torch.testing.assert_close(method.sample_loss(out, target), expected, rtol=1e-9, atol=0)
    assert method.adds_prior


def test_soft_targets_are_the_expectation_over_hard_ones():
    out = outputs()
    weights = torch.rand(9, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weights = weights / weights.sum(1, keepdim=True)
    for name in ("cross_entropy", "balanced_softmax"):
        method = get_method(name, class_counts=COUNTS)
        hard = torch.stack([method.sample_loss(out, torch.full((9,), c)) for c in range(4)], dim=1)
        torch.testing.assert_close(method.sample_loss(out, weights), (weights * hard).sum(1), rtol=1e-9, atol=1e-12)


def test_ldam_subtracts_the_scaled_margin_of_the_true_class():
    out, target = outputs(scale=10.0), labels()
    method = get_method("ldam", class_counts=COUNTS, max_margin=0.4, scale=20.0)
    margins = torch.tensor([count**-0.25 for count in COUNTS], dtype=torch.float64)
    margins = margins * 0.4 / margins.max()
    expected = []
    for row, label in zip(out.raw_logits, target, strict=True):
        row = row.clone()
        row[label] -= 20.0 * margins[label]  # the head's scale is in the logits already
        expected.append(slow_cross_entropy(row, int(label)))
    torch.testing.assert_close(method.sample_loss(out, target), torch.stack(expected), rtol=1e-9, atol=0)


def test_ldam_configures_a_cosine_head_once():
    method = get_method("ldam", class_counts=COUNTS, scale=20.0)
    config = LongTailConfig(backbone="resnet20_cifar", class_counts=COUNTS)
    method.configure(config)
    assert (config.head, config.head_scale) == ("cosine", 20.0)
    method.configure(config)
    with pytest.raises(ValueError, match="cosine head.*'linear'"):
        method.configure(LongTailConfig(backbone="resnet20_cifar", class_counts=COUNTS, head="linear"))
    other = LongTailConfig(backbone="resnet20_cifar", class_counts=COUNTS, head="cosine", head_scale=16.0)
    with pytest.raises(ValueError, match="scale 20.0 but config.head_scale is 16.0"):
        method.configure(other)


@pytest.mark.parametrize("name", ["balanced_softmax", "ldam", "ldam_drw"])
def test_a_class_without_images_is_refused_by_name(name):
    with pytest.raises(ValueError, match="class.*2"):
        get_method(name, class_counts=[5, 3, 0, 2])


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"masked_autoencoding", "mem"}))
def test_no_loss_reads_the_logits_of_inference(name):
    """Those are adjusted by configuration: a loss that read them would train against its own correction."""
    out, target = outputs(), labels()
    method = get_method(name, class_counts=COUNTS)
    torch.manual_seed(0)
    with_adjustment = method.sample_loss(out, target)
    torch.manual_seed(0)
    without = method.sample_loss(SimpleNamespace(raw_logits=out.raw_logits, logits=out.raw_logits), target)
    torch.testing.assert_close(with_adjustment, without, rtol=0, atol=0)
