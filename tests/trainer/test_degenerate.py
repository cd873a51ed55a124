"""Runs that could not learn anything end before they begin."""

from __future__ import annotations

import pytest

from hf_ltr import LongTailTrainer, class_counts
from hf_ltr.methods import Stage
from hf_ltr.methods.deferred_reweighting import DeferredReweighting
from hf_ltr.trainer import run_stages

from ..contracts.builders import CLASSES, COUNTS, make_arguments, make_config, make_dataset, make_method, make_model
from ..test_bad_input import contents


def trainer_for(data, folder, evaluation=None, counts=COUNTS, **changes):
    model = make_model(make_method("cross_entropy", counts))
    return LongTailTrainer(model, make_arguments(folder, **changes), train_dataset=data, eval_dataset=evaluation)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train_epochs": 0}, "num_train_epochs is 0, but cross_entropy has weights to train"),
        ({"max_steps": 0}, "max_steps"),
        ({"max_steps": -5}, "max_steps"),
        ({"num_train_epochs": -1}, "num_train_epochs"),
        ({"mixed_precision_mode": "fp16"}, "fp16"),
        ({"fp16": True}, "fp16"),
        ({"per_device_train_batch_size": 38, "dataloader_drop_last": True}, "37 rows, fewer than a batch of 38"),
    ],
)
def test_arguments_under_which_nothing_is_learnt(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        trainer_for(make_dataset(), tmp_path, **changes).train()
    config = make_config(class_counts(make_dataset()))
    stages = [Stage("train", make_method("cross_entropy", COUNTS))]
    with pytest.raises(ValueError, match=message):
        run_stages(
            stages, config=config, arguments=changes, train_dataset=make_dataset(), output_dir=tmp_path / "stages"
        )
    assert contents(tmp_path) == {}


def test_a_classifier_that_is_computed_needs_no_epochs():
    assert [make_method(name, COUNTS).computes_model() for name in ("ncm", "tau_norm", "crt", "focal")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert not DeferredReweighting(COUNTS, base=make_method("focal", COUNTS)).computes_model()


@pytest.mark.parametrize("counts", [[5], [0, 9, 0, 0]])
def test_images_of_one_class(tmp_path, counts):
    with pytest.raises(ValueError, match=r"nothing to tell apart: of \d class.*training images are of class \d \(c"):
        trainer_for(make_dataset(counts), tmp_path, counts=counts)
    assert contents(tmp_path) == {}


def test_a_class_without_images_is_named(tmp_path):
    with pytest.warns(UserWarning, match=r"1 of 4 classes have no training image, so cross_entropy .*: 1 \(cross\)"):
        trainer_for(make_dataset([6, 0, 5, 4]), tmp_path, counts=[6, 0, 5, 4])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_dataset().select([]), "has no rows"),
        (lambda: make_dataset().to_iterable_dataset(), "is a stream .*to_map_style"),
        (lambda: (row for row in make_dataset()), "is a stream .*to_map_style"),
        (lambda: "digits", "is 'digits', a name and no data"),
    ],
)
def test_data_that_are_none(tmp_path, make, message):
    with pytest.raises((ValueError, TypeError), match=f"The training set {message}"):
        trainer_for(make(), tmp_path)
    with pytest.raises((ValueError, TypeError), match=f"The evaluation set {message}"):
        trainer_for(make_dataset(), tmp_path, make())
    with pytest.raises((ValueError, TypeError), match=f"The evaluation set 'few' {message}"):
        trainer_for(make_dataset(), tmp_path, {"all": make_dataset(), "few": make()})
    with pytest.raises((ValueError, TypeError), match=message):
        trainer_for(make_dataset(), tmp_path).evaluate(make())
    with pytest.raises((ValueError, TypeError), match=f"The test set {message}"):
        run_stages(
            [Stage("train", make_method("cross_entropy", COUNTS))],
            config=make_config(class_counts(make_dataset())),
            arguments={"max_steps": 1},
            train_dataset=make_dataset(),
            test_dataset=make(),
            output_dir=tmp_path / "run",
        )
    assert contents(tmp_path) == {}


def test_evaluation_labels_outside_the_classes_are_found_before_training(tmp_path):
    data = make_dataset([4, 4, 4, 4]).remove_columns("label").add_column("label", [7] + [0] * 15)
    with pytest.raises(ValueError, match=r"label of row 0 is 7, outside the classes 0\.\.3"):
        trainer_for(make_dataset(), tmp_path, data)


def test_rows_in_a_list_are_data(tmp_path):
    trainer = trainer_for(list(make_dataset()), tmp_path, max_steps=1)
    assert trainer.method.class_counts.counts == COUNTS
    trainer.train()
    assert trainer.model.config.id2label[0] in (CLASSES[0], "LABEL_0")
