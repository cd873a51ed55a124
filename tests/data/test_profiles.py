import pytest

from hf_ltr.data.profiles import long_tailed_counts


def test_digits_golden():
    assert long_tailed_counts(10, 124, 50) == [124, 80, 51, 33, 21, 14, 9, 5, 3, 2]


@pytest.mark.parametrize(
    ("classes", "largest", "factor", "total", "smallest"),
    [
        # Totals printed in the literature (Cao et al. 2019 and after).
        (100, 500, 100, 10847, 5),
        (100, 500, 50, 12608, 10),
        (100, 500, 10, 19573, 50),
        (10, 5000, 100, 12406, 50),
        (10, 5000, 10, 20431, 500),
        # Ten images per class held out first.
        (100, 490, 100, 10626, 4),
    ],
)
def test_totals(classes, largest, factor, total, smallest):
    counts = long_tailed_counts(classes, largest, factor)
    assert sum(counts) == total
    assert counts[0] == largest and counts[-1] == smallest
    assert counts == sorted(counts, reverse=True)
    assert counts == [int(largest * factor ** (-j / (classes - 1))) for j in range(classes)]


def test_step():
    assert long_tailed_counts(10, 5000, 100, "step") == [5000] * 5 + [50] * 5
    assert long_tailed_counts(5, 10, 3, "step") == [10, 10, 3, 3, 3]


def test_factor_one_is_balanced():
    assert long_tailed_counts(4, 7, 1) == long_tailed_counts(4, 7, 1, "step") == [7] * 4
    assert long_tailed_counts(1, 7, 50) == [7]


@pytest.mark.parametrize("factor", [0.5, 0, -3, float("nan"), float("inf")])
def test_factor_must_be_head_over_tail(factor):
    with pytest.raises(ValueError, match="at least 1"):
        long_tailed_counts(10, 100, factor)


def test_no_class_is_left_empty():
    with pytest.raises(ValueError, match="imbalance_factor=200 leaves 1 of 10 classes without an image"):
        long_tailed_counts(10, 124, 200)
    with pytest.raises(ValueError, match="5 of 10"):
        long_tailed_counts(10, 124, 200, "step")


def test_unknown_profile_names_the_nearest():
    with pytest.raises(ValueError, match="imbalance_type.*mean .exponential."):
        long_tailed_counts(10, 100, 10, "exponentail")
