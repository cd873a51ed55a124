"""`evaluate`, `predict` and `evaluate_once` against metrics of all logits at once, and what they leave untouched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import ClassLabel

from hf_ltr import LongTailForImageClassification, LongTailTrainer, class_counts
from hf_ltr.evaluation import group_errors, long_tail_metrics, oracle_group_accuracy
from hf_ltr.trainer.evaluation import evaluate_model

from ..contracts.builders import (
    COUNTS,
    make_arguments,
    make_config,
    make_dataset,
    make_method,
    make_model,
    make_trainer,
    weights,
)

GROUPS = ("accuracy", "balanced_accuracy", "many", "medium", "few")
# Training images that make one class each many, medium and few, and two medium.
TRAINED = [200, 60, 30, 5]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> LongTailTrainer:
    """Trained a little, so that accuracies are neither 0 nor 1; the counts of its config define the groups."""
    trainer = make_trainer("cross_entropy", tmp_path_factory.mktemp("run"), num_train_epochs=6)
    trainer.model.config.class_counts = TRAINED
    trainer.train()
    return trainer


def all_logits(trainer: LongTailTrainer, dataset) -> np.ndarray:
    """Logits row by row through the image processor: another path from image to logits than the trainer's."""
    processor = trainer.processing_class
    trainer.model.eval()
    rows = []
    with torch.no_grad():
        for row in range(len(dataset)):
            inputs = processor(dataset[row]["image"], return_tensors="pt")
            rows.append(trainer.model(**inputs).logits[0])
    return torch.stack(rows).numpy()


def test_metrics_are_those_of_all_logits(trained):
    test = make_dataset([9, 8, 7, 6], seed=5)
    metrics = trained.evaluate(test)
    prediction = trained.predict(test)
    expected = long_tail_metrics(prediction.predictions, np.array(test["label"]), TRAINED)
    assert set(GROUPS) <= set(expected)
    for name in GROUPS:
        assert metrics[f"eval_{name}"] == pytest.approx(expected[name], abs=1e-9), name
        assert prediction.metrics[f"test_{name}"] == pytest.approx(expected[name], abs=1e-9)
    assert 0 < metrics["eval_accuracy"] < 1
    assert len({metrics[f"eval_{name}"] for name in ("many", "medium", "few")}) > 1
    cross_entropy = torch.nn.functional.cross_entropy(
        torch.from_numpy(prediction.predictions), torch.tensor(test["label"][:])
    )
    assert metrics["eval_loss"] == pytest.approx(cross_entropy.item(), rel=1e-5)


def test_predictions_are_in_the_order_of_the_rows(trained):
    test = make_dataset([9, 8, 7, 6], seed=5)
    prediction = trained.predict(test)
    assert prediction.predictions.shape == (30, 4)
    assert prediction.label_ids.tolist() == test["label"][:]
    np.testing.assert_allclose(prediction.predictions, all_logits(trained, test), rtol=1e-4, atol=1e-5)
    # Rows differ, so another order would show.
    reordered = trained.predict(test.select(range(29, -1, -1)))
    np.testing.assert_allclose(reordered.predictions[::-1], prediction.predictions, rtol=1e-5, atol=1e-6)
    assert np.abs(prediction.predictions - prediction.predictions[::-1]).max() > 0.1


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_batch_size_changes_nothing(trained, batch_size):
    test = make_dataset([9, 8, 7, 6], seed=5)
    reference = trained.evaluate_once(test)
    changed = LongTailTrainer(
        model=trained.model,
        args=make_arguments(trained.args.output_dir, per_device_eval_batch_size=batch_size),
        method=trained.method,
    )
    found = changed.evaluate_once(test)
    assert found.keys() == reference.keys()
    assert found["per_class_accuracy"] == reference["per_class_accuracy"]
    for name in (*GROUPS, "loss"):
        assert found[name] == pytest.approx(reference[name], rel=1e-6)


def test_accuracy_per_class_is_returned_but_not_logged(trained):
    test = make_dataset([9, 8, 7, 6], seed=5)
    predicted = trained.predict(test).predictions.argmax(1)
    labels = np.array(test["label"])
    expected = [float((predicted[labels == label] == label).mean()) for label in range(4)]
    metrics = trained.evaluate(test)
    assert metrics["eval_per_class_accuracy"] == pytest.approx(expected, abs=1e-9)
    assert not [entry for entry in trained.state.log_history if "eval_per_class_accuracy" in entry]


def test_errors_by_group_are_returned_but_not_logged(trained):
    test = make_dataset([9, 8, 7, 6], seed=5)
    logits = trained.predict(test).predictions
    expected = group_errors(logits, np.array(test["label"]), TRAINED)
    metrics = trained.evaluate(test)
    assert expected and metrics["eval_group_errors"] == expected
    assert not [entry for entry in trained.state.log_history if "eval_group_errors" in entry]
    oracle = oracle_group_accuracy(logits, np.array(test["label"]), TRAINED)
    for name in ("accuracy", "many", "medium", "few"):
        assert metrics[f"eval_oracle_{name}"] == pytest.approx(oracle[name], abs=1e-9)
    assert "eval_magnitude_group_accuracy" not in metrics


def test_groups_of_a_modulator_are_measured(tmp_path):
    # Groups of the modulator that are not those of the counts, and magnitudes that differ between images.
    trainer = make_trainer("mem", tmp_path, num_train_epochs=4)
    trainer.model.config.class_counts = TRAINED
    groups = trainer.model.modulator.group_of_class
    groups.copy_(torch.tensor([1, 0, 1, 2]))
    trainer.train()
    test = make_dataset([9, 8, 7, 6], seed=5)
    processor, labels = trainer.processing_class, torch.tensor(test["label"][:])
    trainer.model.eval()
    with torch.no_grad():
        inputs = processor([row["image"] for row in test], return_tensors="pt")
        output = trainer.model(**inputs)
    right = (output.extras["magnitudes"].argmax(1) == groups[labels]).double().mean().item()
    predicted = (groups[output.logits.argmax(1)] == groups[labels]).double().mean().item()
    metrics = trainer.evaluate_once(test)
    assert metrics["magnitude_group_accuracy"] == pytest.approx(right) and 0 < right < 1
    assert metrics["modulator_group_accuracy"] == pytest.approx(predicted)
    assert metrics["modulator_group_accuracy"] != metrics["group_accuracy"]


def test_evaluate_once_has_no_prefix_and_leaves_no_trace(trained):
    test = make_dataset([9, 8, 7, 6], seed=5)
    history = len(trained.state.log_history)
    once = trained.evaluate_once(test)
    assert len(trained.state.log_history) == history
    assert len(once["per_class_accuracy"]) == 4
    metrics = trained.evaluate(test)
    assert {f"eval_{name}": value for name, value in once.items()}.items() <= metrics.items()


def test_a_loaded_model_evaluates_alike(trained, tmp_path):
    test = make_dataset([9, 8, 7, 6], seed=5)
    trained.save_model(str(tmp_path))
    model = type(trained.model).from_pretrained(tmp_path)
    found = evaluate_model(model, test, {"mixed_precision_mode": "no", "per_device_eval_batch_size": 8})
    once = trained.evaluate_once(test)
    assert found.keys() == once.keys()
    assert found["per_class_accuracy"] == once["per_class_accuracy"]
    assert {name: found[name] for name in GROUPS} == pytest.approx({name: once[name] for name in GROUPS}, abs=1e-9)


def test_own_compute_metrics_sees_everything(tmp_path):
    seen = {}

    def compute_metrics(prediction):
        seen["logits"], seen["labels"] = prediction.predictions, prediction.label_ids
        return {"wrong": float((prediction.predictions.argmax(1) != prediction.label_ids).mean())}

    dataset, test = make_dataset(), make_dataset(seed=1)
    method = make_method("cross_entropy", class_counts(dataset))
    trainer = LongTailTrainer(
        model=make_model(method),
        args=make_arguments(tmp_path, per_device_eval_batch_size=16),
        method=method,
        train_dataset=dataset,
        eval_dataset=test,
        compute_metrics=compute_metrics,
    )
    metrics = trainer.evaluate()
    assert seen["logits"].shape == (len(test), 4)
    assert seen["labels"].tolist() == test["label"][:]
    assert metrics["eval_wrong"] == pytest.approx(1 - metrics["eval_accuracy"])
    assert "eval_balanced_accuracy" in metrics


def test_several_evaluation_sets(tmp_path):
    first, second = make_dataset(seed=1), make_dataset([3, 3, 3, 3], seed=2)
    trainer = make_trainer("cross_entropy", tmp_path)
    trainer.eval_dataset = {"first": first, "second": second}
    metrics = trainer.evaluate()
    for name, dataset in (("first", first), ("second", second)):
        once = trainer.evaluate_once(dataset)
        assert metrics[f"eval_{name}_accuracy"] == once["accuracy"]
        assert metrics[f"eval_{name}_loss"] == once["loss"]
    assert metrics["eval_first_loss"] != metrics["eval_second_loss"]
    assert trainer.evaluate(eval_dataset="second")["eval_loss"] == metrics["eval_second_loss"]


@pytest.mark.parametrize("name", ["cross_entropy", "mem"])
def test_evaluating_while_training_changes_nothing(tmp_path, name):
    """Bit by bit, and not even the random numbers of drop path move."""

    def run(folder, drop_path_rate: float = 0.5, **options) -> LongTailTrainer:
        dataset = make_dataset()
        method = make_method(name, class_counts(dataset))
        config = make_config(method.class_counts)
        config.backbone_kwargs = {**config.backbone_kwargs, "depth": 2}
        config.drop_path_rate = drop_path_rate
        method.configure(config)
        torch.manual_seed(0)
        trainer = LongTailTrainer(
            model=LongTailForImageClassification(config),
            args=make_arguments(folder, **options),
            method=method,
            train_dataset=dataset,
            eval_dataset=make_dataset(seed=1),
        )
        trainer.train()
        return trainer

    never = run(tmp_path / "never")
    often = run(tmp_path / "often", eval_strategy="steps", eval_steps=3)
    assert len([entry for entry in often.state.log_history if "eval_loss" in entry]) >= 3
    assert not [entry for entry in never.state.log_history if "eval_loss" in entry]
    for key, value in weights(never).items():
        np.testing.assert_array_equal(value, weights(often)[key], err_msg=key)
    if name == "cross_entropy":  # the frozen backbone of mem is in evaluation mode
        certain = run(tmp_path / "certain", drop_path_rate=0.0)
        key = "model.classifier.weight"
        assert not np.array_equal(weights(certain)[key], weights(never)[key]), "drop path drew no random numbers"


def test_images_are_decoded_once_for_all_evaluations(tmp_path):
    trainer = make_trainer("cross_entropy", tmp_path, num_train_epochs=1)
    first = trainer.get_eval_dataloader().batch_loader
    trainer.train()
    assert trainer.get_eval_dataloader().batch_loader is first
    assert trainer.get_eval_dataloader(make_dataset(seed=1)).batch_loader is not first


def test_tensors_that_are_ready_are_evaluated_too(tmp_path):
    """A dataset that yields `pixel_values` of its own making."""
    trainer = make_trainer("cross_entropy", tmp_path)
    dataset = make_dataset(seed=1)
    loader = trainer.get_eval_dataloader(dataset)
    pixels = torch.cat([loader.batch_loader.prepare(raw)["pixel_values"] for raw in loader])

    class Ready(torch.utils.data.Dataset):
        def __len__(self):
            return len(dataset)

        def __getitem__(self, row):
            return {"pixel_values": pixels[row], "labels": dataset["label"][row]}

    ours, reference = trainer.evaluate_once(Ready()), trainer.evaluate_once(dataset)
    assert ours["loss"] == pytest.approx(reference["loss"], rel=1e-6)
    assert ours["per_class_accuracy"] == reference["per_class_accuracy"]


def test_classes_in_another_order_are_matched_by_name(trained):
    test = make_dataset(COUNTS, seed=5)
    names = test.features["label"].names
    swapped = test.cast_column("label", ClassLabel(names=[names[1], names[0], *names[2:]]))
    with pytest.warns(UserWarning, match="class 0 is 'cross' there and 'circle' in the model.*matched by name"):
        labels = trained.predict(swapped).label_ids
    assert labels.tolist() == [{0: 1, 1: 0}.get(label, label) for label in test["label"]]


def test_a_masked_autoencoder_has_nothing_to_evaluate(tmp_path):
    trainer = make_trainer("masked_autoencoding", tmp_path)
    with pytest.raises(ValueError, match="no classes to evaluate"):
        trainer.evaluate(make_dataset())
