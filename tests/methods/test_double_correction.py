"""The class prior is corrected once."""

from __future__ import annotations

import warnings

import pytest

from hf_ltr import METHODS, LongTailTrainingArguments, get_method
from hf_ltr.methods.double_correction import prior_corrections
from hf_ltr.trainer.checks import check_arguments

COUNTS = [5, 40, 12]


def described(name, **options):
    return get_method(name, class_counts=COUNTS, **options).describe()


def test_every_method_with_a_prior_in_its_loss_is_known():
    for name, method in METHODS.items():
        found = prior_corrections({"name": name, "options": {}})
        assert any("log prior" in phrase for phrase in found) == method.adds_prior


def test_every_method_that_corrects_in_another_way_says_so():
    kinds = {name: method.prior_correction.kind for name, method in METHODS.items() if method.prior_correction}
    assert kinds == {
        **dict.fromkeys(("class_balanced", "deferred_reweighting", "ldam_drw", "weight_balancing"), "weights"),
        "pc_softmax": "config",
        "mem": "logits",
        "tau_norm": "classifier",
    }


@pytest.mark.parametrize(
    "description,arguments,expected",
    [
        (None, None, []),
        (None, {"sampler": "instance"}, []),
        (None, {"sampler": "class_balanced"}, ["class_balanced"]),
        ({"name": "cross_entropy"}, {"sampler": None, "logit_adjustment": None}, []),
        ({"name": "cross_entropy"}, {"logit_adjustment": {"tau": 1.0, "remove": None}}, []),
        ({"name": "cross_entropy"}, {"logit_adjustment": {"remove": COUNTS}}, ["config.logit_adjustment"]),
        ({"name": "ldam", "options": {"scale": 30.0}}, None, []),
        ({"name": "ldam_drw", "options": {}}, None, ["weights the loss"]),
        ({"name": "pc_softmax", "options": {}}, None, ["at inference"]),
        # The config says what is done at inference; the method only did it by the config.
        ({"name": "pc_softmax", "options": {}}, {"logit_adjustment": None}, []),
        ({"name": "mem", "options": {"sampler": "instance"}}, None, []),
        ({"name": "mem", "options": {"within_group_tau": 0.5}}, None, ["mem removes the class prior inside each gr"]),
        ({"name": "a method of somebody's own", "options": {"sampler": "x"}}, None, []),
    ],
)
def test_what_is_found(description, arguments, expected):
    found = prior_corrections(description, arguments)
    assert len(found) == len(expected)
    assert all(part in phrase for part, phrase in zip(expected, found, strict=True))


def test_what_is_wrapped_is_found():
    found = prior_corrections(described("deferred_reweighting", base="balanced_softmax"))
    assert len(found) == 2 and "deferred_reweighting" in found[0] and "balanced_softmax adds" in found[1]
    found = prior_corrections(described("crt", representation="balanced_softmax"), {"sampler": "square_root"})
    # The sampler of the arguments is replaced by the method's own.
    assert len(found) == 2 and "'class_aware'" in found[0] and "stage that learns the representation" in found[1]


def check(method, sampler="instance", **options):
    method = get_method(method, class_counts=COUNTS, **options)
    check_arguments(method, LongTailTrainingArguments(output_dir="unused", use_cpu=True, sampler=sampler))


@pytest.mark.parametrize(
    "method,sampler,options,names",
    [
        ("balanced_softmax", "class_balanced", {}, ("balanced_softmax", "class_balanced")),
        ("logit_adjustment", "square_root", {}, ("logit_adjustment", "square_root")),
        ("deferred_reweighting", "instance", {"base": "balanced_softmax"}, ("deferred_reweighting", "log prior")),
        ("ldam_drw", "class_aware", {}, ("ldam_drw", "class_aware")),
    ],
)
def test_the_trainer_warns_and_names_both(method, sampler, options, names):
    with pytest.warns(UserWarning, match="corrected more than once") as record:
        check(method, sampler, **options)
    assert all(name in str(record[0].message) for name in names)


@pytest.mark.parametrize(
    "method,sampler,options",
    [
        ("cross_entropy", "class_balanced", {}),
        ("balanced_softmax", "instance", {}),
        ("ldam_drw", "instance", {}),
        # The representation is sampled as it is, the classifier is new: one correction each.
        ("crt", "instance", {"representation": "balanced_softmax"}),
        # One inside the groups, the other between them; and a classifier that is trained makes up for the first.
        ("mem", "instance", {"within_group_tau": 1.0}),
        ("mem", "instance", {"within_group_tau": 1.0, "classifier": "frozen"}),
        ("mem", "instance", {"within_group_tau": 1.0, "representation": "crt", "classifier": "finetune"}),
        ("mem", "instance", {"representation": "balanced_softmax"}),
    ],
)
def test_one_correction_is_no_matter(method, sampler, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(method, sampler, **options)


@pytest.mark.parametrize("representation,does", [("balanced_softmax", "adds the log prior"), ("crt", "draws its")])
def test_a_classifier_that_is_kept_is_not_corrected_again(representation, does):
    expected = f"twice: mem removes .*inside each group.*{representation} {does}.*Leave within_group_tau unset"
    with pytest.warns(UserWarning, match=expected):
        check("mem", within_group_tau=1.0, representation=representation, classifier="frozen")


def test_a_method_that_is_not_registered_is_seen_by_what_it_says():
    class Own(METHODS["balanced_softmax"]):
        name = "own"

    with pytest.warns(UserWarning, match="own adds the log prior"):
        check_arguments(
            Own(COUNTS), LongTailTrainingArguments(output_dir="unused", use_cpu=True, sampler="class_balanced")
        )


def test_a_prior_loss_with_a_post_hoc_removal_is_warned_about(tmp_path):
    from hf_ltr import LongTailTrainer

    from ..contracts.builders import make_arguments, make_dataset, make_method, make_model

    method = make_method("balanced_softmax", [16, 10, 7, 4])
    model = make_model(method)
    model.set_logit_adjustment({"remove": [16, 10, 7, 4]})
    with pytest.warns(UserWarning, match="balanced_softmax adds the log prior.*config.logit_adjustment removes"):
        LongTailTrainer(model, make_arguments(tmp_path), method=method, train_dataset=make_dataset())


def test_the_prior_of_the_test_images_may_be_added_to_any_model():
    added = {"logit_adjustment": {"remove": None, "add": [1, 2, 3]}}
    assert len(prior_corrections({"name": "lade", "options": {}}, added)) == 1
    assert prior_corrections({"name": "cross_entropy", "options": {}}, added) == []


def test_deferred_weights_replace_those_of_their_base():
    description = get_method("deferred_reweighting", class_counts=[9, 3, 1], base="class_balanced").describe()
    assert len(prior_corrections(description)) == 1
