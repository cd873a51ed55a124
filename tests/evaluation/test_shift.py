import json
from pathlib import Path

import numpy as np
import pytest

from hf_ltr.evaluation import first_rows_per_class, shifted_test_distributions

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "losses.json").read_text(encoding="utf-8"))
KEYS = [f"forward-{factor}" for factor in (50, 25, 10, 5, 2)]
KEYS += ["uniform"] + [f"backward-{factor}" for factor in (2, 5, 10, 25, 50)]


def test_equals_the_reference_code_on_ten_classes():
    golden = GOLDEN["lade_shift_distributions_C10_imgmax100"]["dist"]
    shifted = shifted_test_distributions([100] * 10, GOLDEN["_meta"]["inputs"]["class_counts"])
    assert list(shifted) == KEYS
    assert shifted == {key: golden[key]["counts"] for key in KEYS}


def test_equals_the_reference_code_on_cifar100():
    # The reference sorts without stability, so classes with equal training counts may swap theirs: compared per tie.
    golden = GOLDEN["lade_shift_distributions_C100_imgmax100"]["dist"]
    train = [int(count) for count in GOLDEN["lade_calculate_prior_cifar100_if100"]["counts"]]
    shifted = shifted_test_distributions([100] * 100, train)
    assert list(shifted) == KEYS
    for key in KEYS:
        assert sum(shifted[key]) == golden[key]["total"]
        by_tie = [sorted(zip(train, counts, strict=True)) for counts in (shifted[key], golden[key]["counts"])]
        assert by_tie[0] == by_tie[1]


def test_results_are_in_label_order():
    train = [5, 500, 50]
    shifted = shifted_test_distributions([40, 40, 40], train, factors=(4,))
    assert shifted == {"forward-4": [10, 40, 20], "uniform": [40] * 3, "backward-4": [40, 10, 20]}
    # Ties keep label order.
    assert shifted_test_distributions([40] * 3, [9, 9, 9], factors=(4,))["forward-4"] == [40, 20, 10]


def test_uneven_test_sets_are_cut_to_what_every_class_has():
    shifted = shifted_test_distributions([40, 0, 70, 60], [5, 500, 50, 7], factors=(2,))
    assert shifted["uniform"] == [40, 0, 40, 40]
    assert all(counts[1] == 0 and max(counts) <= 40 for counts in shifted.values())
    assert shifted_test_distributions([3], [8], factors=(2,)) == {"forward-2": [3], "uniform": [3], "backward-2": [3]}


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="2 classes.*3"):
        shifted_test_distributions([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="no test images"):
        shifted_test_distributions([0, 0], [1, 2])
    with pytest.raises(ValueError, match="above 1"):
        shifted_test_distributions([1, 2], [1, 2], factors=(1, 2))


def test_first_rows_per_class():
    labels = np.array([2, 0, 2, 1, 0, 2, 0, 1])
    assert first_rows_per_class(labels, [2, 1, 2]).tolist() == [0, 1, 2, 3, 4]
    assert first_rows_per_class(labels, [0, 2, 0]).tolist() == [3, 7]
    with pytest.raises(ValueError, match="Class 1 has 2 images, 3"):
        first_rows_per_class(labels, [1, 3, 1])
    with pytest.raises(ValueError, match="2 classes"):
        first_rows_per_class(labels, [1, 1])
