"""The published numbers that ship with the package, and which of them belong to a method."""

from __future__ import annotations

import csv

import pytest

from hf_ltr import METHODS, get_method
from hf_ltr.methods.cross_entropy import CrossEntropy
from hf_ltr.table import published_results, published_targets
from hf_ltr.table.published import protocol_in_words

COUNTS = [500, 100, 5]
PLACE = {"dataset": "cifar100", "imbalance_factor": 100.0, "backbone": "resnet32_cifar", "epochs": 200.0}


def test_every_row_is_there_and_typed():
    rows = published_results()
    assert len(rows) == 1074
    for row in rows:
        assert isinstance(row["note"], str)
        assert isinstance(row["doubtful"], bool)
        for column in ("epochs", "imbalance_factor", "num_experts", "test_imbalance"):
            assert row[column] is None or isinstance(row[column], int)
        for column in ("top1_all", "many", "medium", "few"):
            assert row[column] is None or 0 < row[column] < 100
    assert sum(row["doubtful"] for row in rows) == len(rows) - len(published_results(include_doubtful=False)) == 38


# Read in the code of BagofTricks-LT and LADE, not noted in the reference.
ADDED_NOTES = (
    "the weighted losses of a batch are divided by the sum of their weights (lib/loss/loss_base.py)",
    "ResNet-32 variant with 128-d concatenated feature",
)


def test_it_is_the_reference_with_the_notes_that_matter(shared_data):
    path = shared_data.parent / "reference" / "published_results.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with path.open(encoding="utf-8", newline="") as file:
        reference = list(csv.DictReader(file))
    ours = published_results()
    assert len(reference) == len(ours)
    for theirs, mine in zip(reference, ours, strict=True):
        assert set(mine) == set(theirs)
        noted = [*theirs["note"].split("; "), *ADDED_NOTES]
        assert set(filter(None, mine["note"].split("; "))) <= set(noted)
        assert mine["label"] == theirs["label"] and mine["source"] == theirs["source"]
        assert mine["top1_all"] == (float(theirs["top1_all"]) if theirs["top1_all"] else None)


def test_what_is_changed_in_a_row_is_not_changed_in_the_next():
    published_results()[0]["top1_all"] = -1.0
    assert published_results()[0]["top1_all"] != -1.0


def test_names_of_this_package_work():
    row = published_results("cross_entropy", "cifar100", 100, "resnet32_cifar", source="bagoftricks")
    assert [(line["method"], line["top1_all"], line["epochs"]) for line in row] == [("ce", 38.32, 200)]
    assert row == published_results("ce", "cifar100_lt", 100, "resnet32", source="BagofTricks")


def test_filters():
    shifted = published_results(test_shift="forward", dataset="imagenet_lt")
    assert shifted and all(row["test_shift"] == "forward" and row["dataset"] == "imagenet_lt" for row in shifted)
    combined = published_results("ikl", combined_with="bsce")
    assert combined and all(row["combined_with"] == "bsce" for row in combined)
    assert {row["method"] for row in published_results(["ce", "bsce"], epochs=90)} == {"ce", "bsce"}
    assert all(row["augmentation"] == "randaug" for row in published_results(augmentation="randaug"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "bscee"}, "Unknown method of published results: 'bscee'.*'bsce'"),
        ({"dataset": "cifar1000"}, "Unknown dataset of published results"),
        ({"backbone": "resnet33"}, "Unknown backbone of published results.*resnet32"),
        ({"augmentation": "strong"}, "Unknown augmentation"),
        ({"test_shift": "sideways"}, "Unknown test_shift"),
    ],
)
def test_a_name_no_row_has_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        published_results(**options)


@pytest.mark.parametrize(
    ("method", "options", "source", "value"),
    [
        ("cross_entropy", {}, "BagofTricks", 38.32),
        ("balanced_softmax", {}, "BagofTricks", 42.99),
        ("ldam", {}, "BagofTricks", 38.88),
        ("ldam_drw", {}, "BagofTricks", 42.47),
        ("deferred_reweighting", {"beta": 1.0}, "BagofTricks", 41.62),
        ("deferred_reweighting", {"beta": 0.999}, "BagofTricks", 39.21),
        ("class_balanced", {"beta": 0.999}, "BagofTricks", 38.97),
        ("class_balanced", {"form": "focal", "beta": 0.999, "gamma": 0.5}, "BagofTricks", 38.56),
        ("class_balanced", {"form": "focal", "beta": 0, "gamma": 2}, "BagofTricks", 37.22),
        ("equalization", {}, "BagofTricks", 40.49),
        ("mislas", {}, None, 47.0),
        ("label_aware_smoothing", {}, "BagofTricks", 37.68),
        ("las_stage2", {}, None, 45.32),
        ("crt", {}, "BagofTricks", 40.26),
        ("lws", {}, "BagofTricks", 40.16),
        ("tau_norm", {"tau": 1}, "BagofTricks", 40.96),
    ],
)
def test_the_nearest_number_of_a_method(method, options, source, value):
    found = published_targets(get_method(method, class_counts=COUNTS, **options), {**PLACE, "source": source})
    assert found[0]["top1_all"] == value


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("focal", {"gamma": 2}),  # BagofTricks-LT's 37.22 is the sigmoid form
        ("focal", {"gamma": 1}),
        ("class_balanced", {}),  # its beta is 0.999
        ("class_balanced", {"form": "sigmoid", "beta": 0.999, "gamma": 0.5}),
        ("class_balanced", {"form": "focal", "beta": 0.999, "gamma": 1}),
        ("class_balanced", {"form": "softmax_bce", "beta": 0.999}),
        ("equalization", {"gamma": 0.5}),
        ("equalization", {"threshold": 0.001}),
        ("tau_norm", {"tau": 0.7}),
        ("ldam", {"max_margin": 0.3}),
        ("ldam_drw", {"beta": 0.999}),
        ("deferred_reweighting", {}),  # inverse frequencies there
        ("deferred_reweighting", {"beta": 1.0, "defer_until": 0.5}),
        ("deferred_reweighting", {"base": "balanced_softmax"}),  # there the prior is deferred
        ("deferred_reweighting", {"base": "focal", "beta": 1.0}),
        ("logit_adjustment", {"tau": 2}),
        ("lade", {"lambda_": 0.5}),
        ("label_aware_smoothing", {"head": 0.3}),
        ("las_stage2", {"head": 0.2, "tail": 0.0}),
        ("crt", {"sampler": "instance"}),
        ("crt", {"reinitialize": False}),
        ("lws", {"sampler": "instance"}),
        ("mislas", {"lr_factor": 0.5}),
        ("cdb", {"tau": 1.5}),
    ],
)
def test_another_variant_stands_beside_no_number(method, options):
    assert published_targets(get_method(method, class_counts=COUNTS, **options), PLACE) == []


def test_the_sigmoid_form_of_equalization_is_not_ours():
    found = published_targets(get_method("equalization", class_counts=COUNTS), PLACE)
    assert {row["method"] for row in found} == {"seql"}


def test_published_settings_follow_the_dataset():
    place = {**PLACE, "imbalance_factor": 50.0}
    assert published_targets(get_method("mislas", class_counts=COUNTS), place) == []
    released = get_method("mislas", class_counts=COUNTS, head=0.3, tail=0.0, lr_factor=0.1)
    assert [row["top1_all"] for row in published_targets(released, place)] == [52.3]


def test_an_adjustment_of_another_strength_stands_beside_no_number():
    method = get_method("cross_entropy", class_counts=COUNTS)
    assert published_targets(method, PLACE, post_hoc="logit_adjustment", tau=1.0)
    assert published_targets(method, PLACE, post_hoc="logit_adjustment", tau=1.5) == []


def test_rows_of_several_experts_are_left_out():
    class SingleRIDE(CrossEntropy):
        published_names = ("ride",)

    rows = published_results("ride", **PLACE, test_shift="uniform", combined_with="", include_doubtful=False)
    assert any(row["num_experts"] is not None for row in rows)
    assert published_targets(SingleRIDE(COUNTS), PLACE) == []


@pytest.mark.parametrize("names_its_teacher", [True, False])
def test_a_part_that_goes_without_saying_is_not_looked_for_in_a_row(names_its_teacher):
    class Student(CrossEntropy):
        published_names, part_names = ("dive",), ("teacher",)

        def __init__(self, class_counts, teacher=None):
            super().__init__(class_counts)
            self.teacher = teacher or get_method("balanced_softmax", class_counts=class_counts)

        def published_part(self):
            return super().published_part() if names_its_teacher else None

    found = published_targets(Student(COUNTS), {**PLACE, "epochs": 200.0})
    assert {row["method"] for row in found} == (set() if names_its_teacher else {"dive"})


def test_post_hoc_adjustment_is_a_method_of_its_own():
    found = published_targets(get_method("cross_entropy", class_counts=COUNTS), PLACE, post_hoc="logit_adjustment")
    assert {row["method"] for row in found} == {"la_posthoc", "pc_softmax"}
    plain = published_targets(get_method("cross_entropy", class_counts=COUNTS), PLACE)
    assert {row["method"] for row in plain} == {"ce"}


def test_another_representation_is_another_number():
    crt = get_method("crt", class_counts=COUNTS, representation="balanced_softmax")
    assert published_targets(crt, PLACE) == []


def test_targets_are_plain_uniform_and_not_doubtful():
    for name in METHODS:
        try:
            method = get_method(name, class_counts=COUNTS)
        except ValueError:
            continue  # a method that cannot be built without more options
        for place in (PLACE, {**PLACE, "dataset": "cifar10"}, {"dataset": "imagenet_lt", "backbone": "resnext50"}):
            for row in published_targets(method, place):
                assert not row["doubtful"] and row["test_shift"] == "uniform" and row["num_experts"] is None
                assert row["top1_all"] is not None


def test_the_protocol_decides_what_is_near():
    method = get_method("balanced_softmax", class_counts=COUNTS)
    near = published_targets(method, {**PLACE, "epochs": 400, "augmentation": "randaug"})[0]
    assert (near["epochs"], near["augmentation"]) == (400, "randaug")
    assert published_targets(method, {**PLACE, "epochs": 200, "augmentation": "basic"})[0]["epochs"] == 200


@pytest.mark.parametrize(
    "place", [{"dataset": "digits"}, {"dataset": "path/to/images"}, {}, {**PLACE, "backbone": "x"}]
)
def test_nothing_is_published_on_other_data(place):
    assert published_targets(get_method("cross_entropy", class_counts=COUNTS), place) == []


def test_a_number_is_shown_with_its_protocol():
    (row,) = published_results("cross_entropy", "cifar100", 100, "resnet32_cifar", source="BagofTricks")
    assert protocol_in_words(row) == "200 epochs, crop+flip; zhangyongshun/BagofTricks-LT"
    listed = next(row for row in published_results() if row["evidence"] == "third_party_listing")
    assert protocol_in_words(listed).endswith(", second hand")


def test_the_number_beside_a_row_is_of_the_protocols_own_recipe():
    """The RIDE and SADE recipe: cross-entropy 41.4 there, not the 39.1 of another table."""
    from hf_ltr import get_method
    from hf_ltr.table import load_protocol, published_targets

    place = load_protocol("cifar100_lt_200ep_ride").published_place
    nearest = published_targets(get_method("cross_entropy", class_counts=[3, 2]), place)[0]
    assert nearest["top1_all"] == 41.4 and "SADE" in nearest["source"]
    bagoftricks = load_protocol("cifar100_lt_200ep").published_place
    assert published_targets(get_method("balanced_softmax", class_counts=[3, 2]), bagoftricks)[0]["top1_all"] == 42.99
