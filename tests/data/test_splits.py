import warnings

import numpy as np
import pytest

from hf_ltr import ClassCounts
from hf_ltr.data.splits import (
    cut_tail,
    hold_out,
    long_tailed_counts,
    row_hash,
    rows_by_class,
    take_from_native,
    take_from_pool,
)

LABELS = np.array([0, 1, 2, 0, 1, 0, 0, 2, 1, 0])


def test_rows_by_class_draws_each_class_from_the_seed():
    classes = rows_by_class(LABELS, 4, seed=5)
    assert [sorted(rows.tolist()) for rows in classes] == [[0, 3, 5, 6, 9], [1, 4, 8], [2, 7], []]
    again = rows_by_class(LABELS, 4, seed=5)
    assert all((a == b).all() for a, b in zip(classes, again, strict=True))
    many = np.zeros(200, dtype=np.int64)
    assert (rows_by_class(many, 1, seed=5)[0] != rows_by_class(many, 1, seed=6)[0]).any()
    # Each class has a stream of its own: equal sizes are not permuted equally.
    first, second = rows_by_class(np.repeat([0, 1], 200), 2, seed=5)
    assert (first != second - 200).any()


def test_rows_by_class_follows_the_order_column():
    order = np.array([9, 0, 3, 1, 8, 5, 2, 1, 4, 7])
    assert [rows.tolist() for rows in rows_by_class(LABELS, 3, seed=0, order=order)] == [
        [3, 6, 5, 9, 0],
        [1, 8, 4],
        [7, 2],
    ]
    words = np.array([f"{value}.png" for value in order], dtype=object)
    assert [rows.tolist() for rows in rows_by_class(LABELS, 3, seed=0, order=words)] == [
        [3, 6, 5, 9, 0],
        [1, 8, 4],
        [7, 2],
    ]


def test_validation_is_the_end_of_the_pool():
    classes = [np.array([4, 1, 2]), np.array([9, 7, 8])]
    rest, validation = take_from_pool(classes, 1, ClassCounts([3, 3]))
    assert [rows.tolist() for rows in rest] == [[4, 1], [9, 7]]
    assert [rows.tolist() for rows in validation] == [[2], [8]]
    rest, validation = take_from_pool(classes, 0, ClassCounts([3, 3]))
    assert [rows.tolist() for rows in rest] == [[4, 1, 2], [9, 7, 8]]
    assert [rows.tolist() for rows in validation] == [[], []]


def test_native_validation_takes_at_most_half_and_names_the_short_classes():
    counts = ClassCounts([10, 5, 1, 6], names=["ant", "bee", "cat", "dog"])
    classes = [np.arange(10), np.arange(10, 15), np.arange(15, 16), np.arange(16, 22)]
    with pytest.warns(UserWarning, match=r"2 classes give fewer than 3 .*1 \(bee\): 2, 2 \(cat\): 0\."):
        rest, validation = take_from_native(classes, 3, counts)
    assert [len(rows) for rows in validation] == [3, 2, 0, 3]
    for whole, kept, taken in zip(classes, rest, validation, strict=True):
        assert np.concatenate([kept, taken]).tolist() == whole.tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        take_from_native([np.arange(6)], 3, ClassCounts([6]))


def test_hold_out_takes_a_fifth_and_at_least_one():
    sizes = [50, 12, 4, 2, 1, 0]
    classes = [np.arange(size) + 100 * index for index, size in enumerate(sizes)]
    with pytest.warns(UserWarning, match=r"1 classes have a single image.*none of them: 4\."):
        rest, test = hold_out(classes, ClassCounts(sizes))
    assert [len(rows) for rows in test] == [10, 2, 1, 1, 0, 0]
    assert [len(a) + len(b) for a, b in zip(rest, test, strict=True)] == sizes
    assert not set(np.concatenate(rest)) & set(np.concatenate(test))


def test_cut_tail_keeps_the_first_or_says_which_class_is_too_small():
    classes = [np.array([5, 3, 1]), np.array([2, 4])]
    counts = ClassCounts([3, 2], names=["ant", "bee"])
    assert [rows.tolist() for rows in cut_tail(classes, [3, 1], counts, "birds")] == [[5, 3, 1], [2]]
    with pytest.raises(
        ValueError, match=r"birds cannot be cut.*1 classes.*1 \(bee\) has 2 of 3.*imbalance_factor=None"
    ):
        cut_tail(classes, [3, 3], counts, "birds")


def test_row_hash_is_of_the_chosen_rows_and_nothing_else():
    order = np.array([9, 0, 3, 1, 8, 5, 2, 1, 4, 7], dtype=np.int16)
    rows = np.array([0, 2, 4])
    assert row_hash(LABELS, rows) == row_hash(LABELS, rows[::-1])
    assert row_hash(LABELS, rows) != row_hash(LABELS, np.array([0, 2, 8]))
    # The same images at other positions of another file.
    shuffled = np.random.default_rng(0).permutation(10)
    positions = np.array([int(np.flatnonzero(shuffled == row)[0]) for row in rows])
    wide = order[shuffled].astype(np.int64)
    assert row_hash(LABELS, rows, order) == row_hash(LABELS[shuffled], positions, wide)
    assert row_hash(LABELS, rows, order) != row_hash(LABELS, np.array([0, 2, 8]), order)
    words = np.array([f"{value}.png" for value in order], dtype=object)
    assert row_hash(LABELS, rows, words) == row_hash(LABELS[shuffled], positions, words[shuffled])
    assert row_hash(LABELS, rows, words) != row_hash(LABELS, np.array([0, 2, 8]), words)


def test_row_hash_golden():
    # Recorded hashes are compared between versions of the package: sha256 of little-endian int64 pairs (label, row).
    import hashlib
    import struct

    expected = hashlib.sha256(struct.pack("<6q", 0, 0, 1, 4, 2, 2)).hexdigest()
    assert row_hash(LABELS, np.array([4, 0, 2])) == expected


def test_profile_of_the_digits():
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
def test_totals_of_the_literature(classes, largest, factor, total, smallest):
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
