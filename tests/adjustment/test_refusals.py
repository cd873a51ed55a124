"""What is refused or warned about, before anything is written."""

from __future__ import annotations

import json
import shutil
import warnings

import pytest
import torch
from datasets import ClassLabel

from hf_ltr import ClassCounts
from hf_ltr.adjustment import AdjustmentOptions, adjust_checkpoint, read_class_counts, read_prior

from .builders import COUNTS, NAMES, load, make_images, make_ours, make_vit, save

FIXED = AdjustmentOptions("logit_adjustment", tau=1.0)


def adjust(checkpoint, folder, options=FIXED, **arguments):
    return adjust_checkpoint(checkpoint, folder, options, progress=False, **arguments)


class Poisoned:
    """A split that must not be looked at."""

    def __getattr__(self, name):
        raise AssertionError(f"the test split was read ({name})")

    def __len__(self):
        raise AssertionError("the test split was read")

    __getitem__ = __iter__ = __len__


def test_choices_are_made_on_validation_and_the_test_split_is_not_read(checkpoints, data, tmp_path):
    poisoned = {**data, "test": Poisoned()}
    report = adjust(checkpoints["vit"], tmp_path / "out", AdjustmentOptions("logit_adjustment"), data=poisoned)
    assert len(report.sweep) == 21 and report.test == {}
    assert report.record["tau"] == min(
        tau for tau, value in report.sweep.items() if value == max(report.sweep.values())
    )
    assert report.record["tau_chosen_on"] == "validation"
    with pytest.raises(AssertionError, match="the test split was read"):
        adjust(checkpoints["vit"], tmp_path / "other", data=poisoned, evaluate_test=True)


def test_the_test_split_decides_nothing(checkpoints, data, tmp_path):
    """Labels of the test split that would favour another tau change only the test figures."""
    other = make_images([20, 1, 1, 1], 5)
    reports = [
        adjust(
            checkpoints["resnet"],
            tmp_path / str(number),
            AdjustmentOptions("logit_adjustment"),
            data={**data, "test": test},
            evaluate_test=True,
        )  # fmt: skip
        for number, test in enumerate((data["validation"], other))
    ]
    assert reports[0].sweep == reports[1].sweep and reports[0].record == reports[1].record
    assert reports[0].test == reports[0].validation
    assert reports[1].test["after"] != reports[0].test["after"]
    assert "read once" in reports[0].summary()


def test_without_validation_tau_is_one(checkpoints, data, tmp_path):
    report = adjust(checkpoints["vit"], tmp_path / "out", AdjustmentOptions("tau_norm"), data={"train": data["train"]})
    assert report.record["tau"] == 1.0 and report.record["tau_chosen_on"] is None
    assert "nothing was measured" in report.summary() and "not chosen on data" in report.summary()
    with pytest.raises(ValueError, match="validation"):
        adjust(checkpoints["vit"], tmp_path / "o", AdjustmentOptions("tau_norm", taus=[0.5]), class_counts=COUNTS)


def renumbered(split, order):
    """The same images and classes with the classes numbered as in `order`."""
    labels = [order.index(NAMES[label]) for label in split["label"]]
    return split.remove_columns("label").add_column("label", labels).cast_column("label", ClassLabel(names=order))


@pytest.mark.parametrize("kind", ["vit", "ours"])
@pytest.mark.parametrize("method", ["logit_adjustment", "ncm"])
def test_classes_in_another_order_are_matched_by_name(checkpoints, data, tmp_path, kind, method):
    order = ["crab", "ant", "dog", "bee"]
    other = {name: renumbered(split, order) for name, split in data.items()}
    expected = adjust(checkpoints[kind], tmp_path / "straight", method, data=data)
    with pytest.warns(UserWarning, match=r"train split numbers .* \(class 0 is 'crab' there and 'ant' in the mod"):
        report = adjust(checkpoints[kind], tmp_path / "turned", method, data=other)
    assert report.record == {**expected.record, "source": report.record["source"]}
    assert report.validation == expected.validation
    first, second = (load(tmp_path / name) for name in ("straight", "turned"))
    assert first.config.id2label == second.config.id2label
    for (name, one), two in zip(first.named_parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, two, msg=name)


def test_names_in_the_order_of_strings_beside_numeric_folders(data, tmp_path):
    """The input of the issue: a checkpoint of `imagefolder`, whose folders 0, 1, 10, 2 are read as 0, 1, 2, 10."""
    model = make_vit()
    strings = ["0", "1", "10", "2"]
    model.config.id2label = dict(enumerate(strings))
    model.config.label2id = {name: index for index, name in enumerate(strings)}
    save(model, tmp_path / "in")
    numeric = ["0", "1", "2", "10"]
    folders = {name: split.cast_column("label", ClassLabel(names=numeric)) for name, split in data.items()}
    with pytest.warns(UserWarning, match="matched by name"):
        report = adjust(tmp_path / "in", tmp_path / "out", data=folders)
    assert report.record["class_counts"] == [COUNTS[0], COUNTS[1], COUNTS[3], COUNTS[2]]


def test_other_names_are_refused_unless_trusted_and_then_told(checkpoints, data, tmp_path):
    other = {"train": data["train"].cast_column("label", ClassLabel(names=["a", "b", "c", "d"]))}
    with pytest.raises(ValueError, match=r"such as 'a', 'b'.*'a' there and 'ant'.*trust_class_order"):
        adjust(checkpoints["vit"], tmp_path / "out", data=other)
    with pytest.warns(UserWarning, match="taken by number as you said: 'a' as 'ant', 'b' as 'bee'"):
        adjust(checkpoints["vit"], tmp_path / "out", data=other, trust_class_order=True)
    more = {"train": make_images(COUNTS, 0).cast_column("label", ClassLabel(names=[*NAMES, "eel"]))}
    with pytest.raises(ValueError, match="5 classes there, 4 in the model.*'eel'"):
        adjust(checkpoints["vit"], tmp_path / "other", data=more, trust_class_order=True)
    # A name that is in both, at another place, shows that the order is another one.
    half = {"train": data["train"].cast_column("label", ClassLabel(names=["a", "ant", "c", "d"]))}
    for trust in (False, True):
        with pytest.raises(ValueError, match="other classes|model's order.*class 1 is 'ant' there") as error:
            adjust(checkpoints["vit"], tmp_path / "other", data=half, trust_class_order=trust)
        assert trust or "trust_class_order" not in str(error.value)


def test_a_model_without_names_is_taken_by_number_only_if_somebody_says_so(data, tmp_path):
    model = make_vit()
    model.config.id2label = {index: f"LABEL_{index}" for index in range(4)}
    model.config.label2id = {f"LABEL_{index}": index for index in range(4)}
    save(model, tmp_path / "in")
    with pytest.raises(ValueError, match="have no names.*class 0 is 'ant', class 1 is 'bee'.*trust_class_order"):
        adjust(tmp_path / "in", tmp_path / "out", data={"train": data["train"]})
    with pytest.warns(UserWarning, match="could not be checked"):
        adjust(tmp_path / "in", tmp_path / "out", data={"train": data["train"]}, trust_class_order=True)


def test_counts_in_another_order_are_refused(checkpoints, data, tmp_path):
    with pytest.raises(ValueError, match=r"Class 0 \(ant\) has 21 images in the class counts and 5 in the train"):
        adjust(checkpoints["vit"], tmp_path / "out", data=data, class_counts=COUNTS[::-1])
    save(make_ours(class_counts=COUNTS), tmp_path / "in")
    with pytest.raises(ValueError, match="21 images in the class counts and 5 in the model's config.*another order"):
        adjust(tmp_path / "in", tmp_path / "out", class_counts=COUNTS[::-1])
    named = ClassCounts(COUNTS[::-1], NAMES[::-1])
    assert adjust(tmp_path / "in", tmp_path / "out", class_counts=named).record["class_counts"] == COUNTS


@pytest.mark.parametrize(
    "content,counts",
    [
        (COUNTS, COUNTS),
        (dict(zip(NAMES[::-1], COUNTS[::-1], strict=True)), COUNTS),
        ({"3": 21, "1": 40, "0": 5, "2": 12}, COUNTS),
    ],
)
def test_counts_from_json(tmp_path, content, counts):
    (tmp_path / "counts.json").write_text(json.dumps(content))
    assert read_class_counts(tmp_path / "counts.json", NAMES).counts == counts
    assert read_class_counts(content, NAMES).counts == counts
    shares = read_prior(tmp_path / "counts.json", NAMES, 4)
    assert shares == pytest.approx([count / 78 for count in counts])


@pytest.mark.parametrize(
    "content,message",
    [
        ('{"ant": 1, "bee": 2, "crab": 3, "eel": 4}', "missing 'dog'; unknown 'eel'"),
        ('{"a": 1, "b": 2}', "names of the model's classes"),
        ("[1, 2", "is no JSON"),
        ("3", "must hold a list or an object"),
        ('[1, "2", 3, 4]', "one number per class"),
        ("[1, 2, 3, -4]", "must not be negative"),
        ("[1, 2, 3, 0.5]", "integers"),
        ("[]", "is empty"),
    ],
)
def test_counts_that_cannot_be_used(tmp_path, content, message):
    (tmp_path / "counts.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_class_counts(tmp_path / "counts.json", NAMES)


@pytest.mark.parametrize("prior,message", [([1, 2, 3], "3 values"), ([1, 0, 1, 1], "class bee has 0")])
def test_target_priors_that_cannot_be_used(prior, message):
    with pytest.raises(ValueError, match=message):
        read_prior(prior, NAMES, 4)


def test_counts_of_another_length_and_empty_classes(checkpoints, tmp_path):
    with pytest.raises(ValueError, match="3 classes, but the model has 4"):
        adjust(checkpoints["vit"], tmp_path / "out", class_counts=[1, 2, 3])
    with pytest.raises(ValueError, match=r"1 \(bee\)"):
        adjust(checkpoints["vit"], tmp_path / "out", class_counts=[1, 0, 2, 3])
    with pytest.raises(ValueError, match="Training counts are needed"):
        adjust(checkpoints["vit"], tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="nowhere.json"):
        adjust(checkpoints["vit"], tmp_path / "out", class_counts="nowhere.json")


def test_options_that_do_not_go_together(checkpoints, data, tmp_path):
    with pytest.raises(ValueError, match="belongs to pc_softmax"):
        adjust(checkpoints["vit"], tmp_path / "out", class_counts=COUNTS, target_prior=COUNTS)
    with pytest.raises(ValueError, match="ncm needs training images"):
        adjust(checkpoints["vit"], tmp_path / "out", "ncm", class_counts=COUNTS)
    with pytest.raises(ValueError, match="no test split"):
        adjust(checkpoints["vit"], tmp_path / "out", data=data, evaluate_test=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        adjust(checkpoints["vit"], tmp_path / "full", data=data)
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_what_is_no_trained_classifier_is_refused(checkpoints, tmp_path):
    with pytest.raises(FileNotFoundError, match="owner/name"):
        adjust("nowhere", tmp_path / "out", class_counts=COUNTS)
    model = make_vit()
    model.vit.save_pretrained(tmp_path / "backbone")
    shutil.copy(checkpoints["vit"] / "preprocessor_config.json", tmp_path / "backbone")
    with pytest.raises(ValueError, match="not a trained classifier.*classifier"):
        adjust(tmp_path / "backbone", tmp_path / "out", class_counts=COUNTS)
    model.config.problem_type = "multi_label_classification"
    save(model, tmp_path / "tags")
    with pytest.raises(ValueError, match="does not choose one of several classes"):
        adjust(tmp_path / "tags", tmp_path / "out", class_counts=COUNTS)
    make_vit().save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match="no image processor"):
        adjust(tmp_path / "bare", tmp_path / "out", class_counts=COUNTS)
    adjust(tmp_path / "bare", tmp_path / "out", class_counts=COUNTS, image_processor=checkpoints["vit"])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_named_by_its_row(checkpoints, data, tmp_path, workers):
    from datasets import Dataset, Image

    rows = data["validation"].cast_column("image", Image(decode=False))[:]
    rows["image"][17] = {"bytes": b"no image at all", "path": "broken.png"}
    broken = Dataset.from_dict(rows, features=data["validation"].features)
    with pytest.raises(ValueError, match=r"^cannot read .*\n  row 17 \(broken.png\)"):
        adjust(
            checkpoints["vit"], tmp_path / "out", data={**data, "validation": broken}, batch_size=5,
            num_workers=workers,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_double_correction_warns_and_names_both(data, tmp_path):
    torch.manual_seed(0)
    prior = {"name": "balanced_softmax", "options": {}}
    save(make_ours(method=prior, class_counts=COUNTS), tmp_path / "prior")
    for method in ("logit_adjustment", "pc_softmax", "tau_norm"):
        with pytest.warns(UserWarning, match=f"twice: {method} .* balanced_softmax adds the log prior"):
            adjust(tmp_path / "prior", tmp_path / method, method)
    # A new classifier on its features is no second correction.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adjust(tmp_path / "prior", tmp_path / "new", "ncm", data={"train": data["train"]})


def test_a_sampler_of_the_training_run_is_found(tmp_path):
    save(make_ours(method={"name": "cross_entropy", "options": {}}, class_counts=COUNTS), tmp_path / "in")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adjust(tmp_path / "in", tmp_path / "plain")
    (tmp_path / "in" / "run.json").write_text(json.dumps({"arguments": {"sampler": "class_balanced"}}))
    with pytest.warns(UserWarning, match="sampler='class_balanced'"):
        adjust(tmp_path / "in", tmp_path / "out")


def test_an_adjusted_checkpoint_is_not_adjusted_again_silently(checkpoints, tmp_path):
    adjust(checkpoints["vit"], tmp_path / "once", class_counts=COUNTS)
    with pytest.warns(UserWarning, match="hf-ltr adjust with logit_adjustment already"):
        adjust(tmp_path / "once", tmp_path / "twice", "pc_softmax", class_counts=COUNTS)
    record = load(tmp_path / "twice").config.long_tail_adjustment
    assert record["method"] == "pc_softmax" and record["previous"]["method"] == "logit_adjustment"


def test_other_counts_than_the_run_had_are_told(data, tmp_path):
    save(make_ours(class_counts=[5, 40, 12, 20]), tmp_path / "in")
    with pytest.warns(UserWarning, match=r"has 21 images in the training split and 20 in the model's config"):
        adjust(tmp_path / "in", tmp_path / "out", data={"train": data["train"]})


def test_counts_may_be_an_object(checkpoints, tmp_path):
    report = adjust(checkpoints["vit"], tmp_path / "out", class_counts=ClassCounts(COUNTS))
    assert report.record["class_counts"] == COUNTS


def test_a_change_that_does_not_survive_saving_is_refused(checkpoints, tmp_path, monkeypatch):
    from transformers import ViTForImageClassification

    original = ViTForImageClassification.save_pretrained

    def forgetful(self, *arguments, **options):
        self.classifier.bias.data.zero_()
        return original(self, *arguments, **options)

    monkeypatch.setattr(ViTForImageClassification, "save_pretrained", forgetful)
    with pytest.raises(ValueError, match="does not keep the change"):
        adjust(checkpoints["vit"], tmp_path / "out", class_counts=COUNTS)
    assert list(tmp_path.iterdir()) == []
