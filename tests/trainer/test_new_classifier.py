"""Weights that were trained for other classes, under a new head."""

from __future__ import annotations

import warnings

import pytest
import torch
from datasets import ClassLabel

from hf_ltr import LongTailConfig, LongTailForImageClassification, LongTailTrainer, class_counts
from hf_ltr.methods import Stage
from hf_ltr.trainer.stage_model import build_stage_model, check_initial_classes

from ..contracts.builders import CLASSES, COUNTS, make_arguments, make_config, make_dataset, make_method, make_model

ANIMALS = ["ant", "bee", "cat", "dog"]
PAST = [{"class_counts": COUNTS, "class_names": CLASSES}]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    model = make_model(make_method("cross_entropy", class_counts(make_dataset())))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)  # no initial values
    model.save_pretrained(folder)
    return str(folder)


def animals(number):
    return make_dataset([9, 6, 4, 3][:number]).cast_column("label", ClassLabel(names=ANIMALS[:number]))


@pytest.mark.parametrize("number", [3, 4])
def test_a_stage_begins_with_a_new_head_on_the_weights_of_other_classes(start, number):
    counts = class_counts(animals(number))
    config, method = make_config(counts), make_method("cross_entropy", counts)
    with pytest.raises(ValueError, match=r"checkpoint of other classes.*--new_classifier True"):
        check_initial_classes(start, config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = build_stage_model(Stage("train", method, start=start, new_classifier=True), config, start, seed=0)
    trained = LongTailForImageClassification.from_pretrained(start)
    for name, tensor in trained.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], tensor)
    assert model.has_new_classifier and not trained.has_new_classifier
    assert model.classifier.out_features == number
    assert not any(torch.equal(row, old) for row in model.classifier.weight for old in trained.classifier.weight)
    assert model.config.previous_class_counts == PAST


def test_a_new_head_takes_no_other_weights_that_do_not_fit(start):
    config = make_config(class_counts(animals(3)))
    config.backbone_kwargs = {"depth": 1, "embed_dim": 32, "num_heads": 2}
    stage = Stage("train", make_method("cross_entropy", class_counts(animals(3))), new_classifier=True)
    with pytest.raises(ValueError, match="encoder has"):
        build_stage_model(stage, config, start, seed=0)


@pytest.mark.parametrize(
    "fields", [{"num_labels": 3}, {"id2label": dict(enumerate(ANIMALS[:3]))}, {"class_counts": [9, 6, 4]}]
)
def test_from_pretrained_with_other_classes_keeps_the_past_and_warns_of_nothing(start, tmp_path, fields):
    model = LongTailForImageClassification.from_pretrained(start, ignore_mismatched_sizes=True, **fields)
    assert model.has_new_classifier and model.config.previous_class_counts == PAST
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*could not be checked")
        LongTailTrainer(model, make_arguments(tmp_path), train_dataset=animals(3))
    assert model.config.id2label == dict(enumerate(ANIMALS[:3]))


def test_the_ways_that_errors_name_work(start, tmp_path):
    rows = animals(4)
    with pytest.raises(ValueError, match=r"ignore_mismatched_sizes=True\), and then model.reset_classifier\(\)"):
        LongTailTrainer(
            LongTailForImageClassification.from_pretrained(start), make_arguments(tmp_path), train_dataset=rows
        )
    with pytest.warns(UserWarning, match="begin anew"):
        model = LongTailForImageClassification.from_pretrained(
            start, class_counts=class_counts(rows), ignore_mismatched_sizes=True
        )
    model.reset_classifier()
    LongTailTrainer(model, make_arguments(tmp_path), train_dataset=rows)
    assert isinstance(model.config, LongTailConfig) and model.config.previous_class_counts == PAST
    # Data with some of the model's classes.
    model = LongTailForImageClassification.from_pretrained(start)
    trainer = LongTailTrainer(model, make_arguments(tmp_path))
    some = make_dataset([5, 4]).cast_column("label", ClassLabel(names=[CLASSES[2], CLASSES[0]]))
    with pytest.raises(ValueError, match=r"it lacks 2 .*align_labels_with_mapping\(model.config.label2id, 'label'\)"):
        trainer.evaluate(some)
    aligned = some.align_labels_with_mapping(model.config.label2id, "label")
    assert sorted(set(aligned["label"])) == [0, 2]
    assert len(trainer.evaluate(aligned)["eval_per_class_accuracy"]) == 4
