import pytest
import torch

from hf_ltr.losses import mutual_exclusive_regularization, regularizing_outlier_loss


def batch(rows=12, groups=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    magnitudes = 130 * torch.rand(rows, groups, dtype=torch.float64, generator=generator)
    return magnitudes.requires_grad_(), torch.randint(0, groups, (rows,), generator=generator)


def slow_means(magnitudes, labels_group, xi, mu):
    """Equations 3 and 4 read literally; an empty set contributes 0."""
    positive, negative = [], []
    for group in range(magnitudes.shape[1]):
        pairs = list(zip(magnitudes[:, group].tolist(), labels_group, strict=True))
        inside = [max(xi - q, 0.0) ** 2 for q, label in pairs if label == group]
        outside = [max(q - mu, 0.0) ** 2 for q, label in pairs if label != group]
        positive.append(sum(inside) / len(inside) if inside else 0.0)
        negative.append(sum(outside) / len(outside) if outside else 0.0)
    return torch.tensor(positive, dtype=torch.float64), torch.tensor(negative, dtype=torch.float64)


@pytest.mark.parametrize(("xi", "mu"), [(100.0, 0.0), (60.0, 20.0)])
def test_equals_a_slow_loop(xi, mu):
    magnitudes, labels_group = batch()
    loss = regularizing_outlier_loss(magnitudes, labels_group, xi, mu)
    positive, negative = slow_means(magnitudes, labels_group.tolist(), xi, mu)
    torch.testing.assert_close(loss.positive_mean, positive, rtol=1e-12, atol=0)
    torch.testing.assert_close(loss.negative_mean, negative, rtol=1e-12, atol=0)
    torch.testing.assert_close(loss.total, positive.sum() + negative.sum(), rtol=1e-12, atol=0)


def test_a_worked_example():
    magnitudes = torch.tensor([[90.0, 4.0], [120.0, 1.0], [3.0, 98.0]])
    loss = regularizing_outlier_loss(magnitudes, torch.tensor([0, 0, 1]))
    # Group 0: positives 90 and 120 (beyond the margin: no penalty); group 1: positive 98.
    assert loss.positive_mean.tolist() == [50.0, 4.0]
    assert loss.negative_mean.tolist() == [9.0, 8.5]
    assert loss.positive_mass.tolist() == [2, 1] and loss.negative_mass.tolist() == [1, 2]


@pytest.mark.parametrize("only_group", [0, 2])
def test_groups_without_positives_or_negatives_contribute_zero_and_keep_their_graph(only_group):
    magnitudes, _ = batch()
    loss = regularizing_outlier_loss(magnitudes, torch.full((12,), only_group))
    for group in range(3):
        assert loss.positive_mass[group] == (12 if group == only_group else 0)
        empty = loss.negative_mean if group == only_group else loss.positive_mean
        assert empty[group] == 0
        (gradient,) = torch.autograd.grad(empty[group], magnitudes, retain_graph=True)
        assert (gradient == 0).all()
    loss.total.backward()
    assert torch.isfinite(magnitudes.grad).all() and (magnitudes.grad != 0).any(dim=0).all()


def test_masses_combine_uneven_parts_into_the_whole():
    magnitudes, labels_group = batch()
    whole = regularizing_outlier_loss(magnitudes, labels_group)
    parts = [regularizing_outlier_loss(magnitudes[rows], labels_group[rows]) for rows in (slice(0, 5), slice(5, 12))]
    for mean, mass in (("positive_mean", "positive_mass"), ("negative_mean", "negative_mass")):
        combined = sum(getattr(part, mean) * getattr(part, mass) for part in parts) / getattr(whole, mass)
        torch.testing.assert_close(combined, getattr(whole, mean), rtol=1e-12, atol=0)


def test_rows_of_mass_zero_count_for_nothing():
    magnitudes, labels_group = batch()
    weights = torch.ones(12)
    weights[[1, 4, 9]] = 0
    kept = weights.bool()
    result = regularizing_outlier_loss(magnitudes, labels_group, weights=weights)
    expected = regularizing_outlier_loss(magnitudes[kept], labels_group[kept])
    for left, right in zip(result, expected, strict=True):
        torch.testing.assert_close(left, right)


def test_normalised_margin_divides_by_its_square():
    magnitudes, labels_group = batch()
    plain = regularizing_outlier_loss(magnitudes, labels_group, 80.0, 10.0)
    normalised = regularizing_outlier_loss(magnitudes, labels_group, 80.0, 10.0, normalize_margin=True)
    torch.testing.assert_close(normalised.total, plain.total / 80.0**2, rtol=1e-12, atol=0)


def test_autocast_and_narrow_types_are_computed_in_float32():
    magnitudes = torch.tensor([[1.0078125, 99.5]], dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        positive, negative = mutual_exclusive_regularization(magnitudes)
    assert positive.dtype == negative.dtype == torch.float32
    assert positive[0, 0].item() == pytest.approx((100 - 1.0078125) ** 2, rel=1e-6)


def test_bad_input_is_refused():
    magnitudes, labels_group = batch()
    with pytest.raises(ValueError, match="margin_positive"):
        mutual_exclusive_regularization(magnitudes, margin_positive=5.0, margin_negative=5.0)
    with pytest.raises(ValueError, match="normalize_margin"):
        mutual_exclusive_regularization(magnitudes, 0.0, -1.0, normalize_margin=True)
    with pytest.raises(ValueError, match="labels_group"):
        regularizing_outlier_loss(magnitudes, labels_group[:5])
