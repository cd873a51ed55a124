"""CDB: weights from accuracies, where the accuracies come from, both reductions, and its state."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hf_ltr import class_counts, get_method
from hf_ltr.losses import difficulty_weights

from ..contracts.builders import COUNTS as TINY_COUNTS
from ..contracts.builders import LongTailTrainer, make_arguments, make_dataset, make_model, make_trainer
from ..losses.golden import CASES, INPUTS, assert_golden, golden_labels, golden_logits
from ..losses.golden import tensor as golden_tensor
from .fixtures import COUNTS, FixedModel, batch_of, slow_cross_entropy, some_labels, some_logits


def slow_weights(accuracies: list[float], tau: float) -> torch.Tensor:
    raw = [(1 - accuracy) ** tau for accuracy in accuracies]
    return torch.tensor([value * len(raw) / sum(raw) for value in raw], dtype=torch.float64)


@pytest.mark.parametrize(
    ("case", "tau", "reduction"),
    [("cdb_ce_cifar_tau1.5_mean", 1.5, "mean_batch"), ("cdb_ce_imagenet_tau1", 1.0, "mean_weight")],
)
def test_golden_losses(case, tau, reduction):
    method = get_method("cdb", class_counts=INPUTS["class_counts"], tau=tau, reduction=reduction).double()
    method.class_weights.copy_(difficulty_weights(golden_tensor(CASES["cdb_weights"]["class_acc"]), tau))
    model = FixedModel(golden_logits(case).detach())
    terms, _ = method.training_loss(model, batch_of(golden_labels()))
    assert_golden(case, terms["supervised"], model.logits)


# ------------------------------------------------------------------ the loss
@pytest.mark.parametrize("reduction", ["mean_batch", "mean_weight"])
def test_training_loss_over_micro_batches(reduction):
    """Two micro-batches combined by their masses are the mean of all rows that are not padding."""
    method = get_method("cdb", class_counts=COUNTS, reduction=reduction).double()
    method.class_weights.copy_(torch.tensor([3.0, 0.1, 1.0, 0.2, 0.7]))
    logits, labels = some_logits(), some_labels()
    weight = [1.0] * 9 + [0.0, 1.0]
    rows = [slow_cross_entropy(r, int(y)) for r, y in zip(logits, labels, strict=True)]
    weights = [method.class_weights[y].item() * m for y, m in zip(labels, weight, strict=True)]
    total = sum(weight) if reduction == "mean_batch" else sum(weights)
    expected = sum(w * r for w, r in zip(weights, rows, strict=True)) / total
    value, whole = 0.0, 0.0
    for part in (slice(0, 4), slice(4, 11)):
        batch = batch_of(labels[part], weight[part])
        terms, _ = method.training_loss(FixedModel(logits[part]), batch)
        share = method.term_mass(batch).get("supervised", batch["weight"].sum())
        value, whole = value + terms["supervised"] * share, whole + share
    torch.testing.assert_close(value / whole, expected, rtol=1e-9, atol=0)


def test_sample_loss_is_not_weighted():
    method = get_method("cdb", class_counts=COUNTS).double()
    method.class_weights.mul_(7.0)
    logits, labels = some_logits(), some_labels()
    rows = torch.stack([slow_cross_entropy(r, int(y)) for r, y in zip(logits, labels, strict=True)])
    torch.testing.assert_close(method.sample_loss(SimpleNamespace(raw_logits=logits), labels), rows)


# ------------------------------------------------------------------ in a trainer
def measured_by_hand(trainer, dataset) -> list[float]:
    """Accuracy of every class from plain predictions."""
    trainer.model.eval()
    predictions = trainer.predict(dataset).predictions.argmax(-1)
    labels = np.asarray(dataset["label"])
    return [float((predictions[labels == c] == c).mean()) for c in range(len(TINY_COUNTS))]


@pytest.mark.parametrize("source", ["validation", "train"])
def test_weights_follow_the_accuracies_of_the_right_images(source, tmp_path):
    options = {"tau": 1.5, "difficulty_from": source}
    trainer = make_trainer("cdb", tmp_path, num_train_epochs=1, method_options=options)
    trainer.train()
    assert torch.equal(trainer.method.class_weights, torch.ones(4))
    trainer.method.on_epoch(trainer, 1)
    images = trainer.train_dataset if source == "train" else trainer.eval_dataset
    accuracies = measured_by_hand(trainer, images)
    assert len(set(accuracies)) > 1, "all classes are equally hard, so this shows nothing"
    expected = slow_weights(accuracies, 1.5)
    torch.testing.assert_close(trainer.method.class_weights.double(), expected, rtol=1e-5, atol=1e-6)


def test_the_last_epoch_was_trained_with_its_weights(tmp_path):
    """Weighted and unweighted runs are the same for one epoch and differ afterwards."""
    weighted = {n: make_trainer("cdb", tmp_path / f"w{n}", num_train_epochs=n, lr_milestones=[9]) for n in (1, 2)}
    plain = {
        n: make_trainer("cross_entropy", tmp_path / f"p{n}", num_train_epochs=n, lr_milestones=[9]) for n in (1, 2)
    }
    for trainer in (*weighted.values(), *plain.values()):
        trainer.train()
    same = {
        n: all(
            torch.equal(a, b) for a, b in zip(weighted[n].model.parameters(), plain[n].model.parameters(), strict=True)
        )
        for n in (1, 2)
    }
    assert same == {1: True, 2: False}
    assert not torch.equal(weighted[2].method.class_weights, torch.ones(4))
    assert set(weighted[2].method.state_dict()) == {"class_weights"}


def cdb_trainer(folder, eval_dataset, **options) -> LongTailTrainer:
    dataset = make_dataset()
    method = get_method("cdb", class_counts=class_counts(dataset), **options)
    return LongTailTrainer(
        model=make_model(method),
        args=make_arguments(folder),
        method=method,
        train_dataset=dataset,
        eval_dataset=eval_dataset,
    )


def test_without_validation_images_one_clear_error_before_training(tmp_path):
    trainer = cdb_trainer(tmp_path / "a", None)
    with pytest.raises(ValueError, match="validation_per_class.*difficulty_from=train"):
        trainer.train()
    assert trainer.state.global_step == 0
    cdb_trainer(tmp_path / "b", None, difficulty_from="train").train()
    two = {"first": make_dataset(seed=1), "second": make_dataset(seed=2)}
    with pytest.raises(ValueError, match="'first', 'second', none of them named 'validation'"):
        cdb_trainer(tmp_path / "c", two).train()


class FixedAccuracies:
    """A trainer that measured these numbers of correct images, of 10 per class."""

    eval_dataset = "images"

    def __init__(self, correct: list[int], images: list[int]):
        self.correct, self.images = correct, images

    def eval_pass(self, dataset, function):
        labels = torch.tensor([c for c, n in enumerate(self.images) for _ in range(n)])
        right = torch.tensor([i < k for k, n in zip(self.correct, self.images, strict=True) for i in range(n)])
        predicted = torch.where(right, labels, (labels + 1) % len(self.images))
        logits = torch.nn.functional.one_hot(predicted, len(self.images)).float()
        halves = (slice(0, 7), slice(7, None))
        return [
            function(SimpleNamespace(logits=logits[h], raw_logits=-logits[h]), {"labels": labels[h]}) for h in halves
        ]


@pytest.mark.parametrize(("form", "power"), [("paper", (2, 1)), ("cifar_code", (1, 0))])
def test_dynamic_tau_of_paper_and_code(form, power):
    method = get_method("cdb", class_counts=COUNTS, tau="dynamic", form=form).double()
    method.on_epoch(FixedAccuracies([2, 9, 5, 8, 3], [10] * 5), 1)
    factor, shift = power
    tau = factor / (1 + math.exp(shift - 0.9 / (0.2 + 0.01)))
    expected = slow_weights([0.2, 0.9, 0.5, 0.8, 0.3], tau)
    torch.testing.assert_close(method.class_weights, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("correct", "images", "expected"),
    [
        ([10] * 5, [10] * 5, [1.0] * 5),  # 0 / 0: no class is harder than another
        ([0] * 5, [10] * 5, [1.0] * 5),
        ([10, 5, 5, 10, 10], [10] * 5, [0.0, 2.5, 2.5, 0.0, 0.0]),
        ([5, 0, 8, 5, 5], [10, 0, 10, 10, 10], [0.5 * 4 / 1.7, 1.0, 0.2 * 4 / 1.7, 0.5 * 4 / 1.7, 0.5 * 4 / 1.7]),
    ],
)
def test_edge_cases_never_give_nan_or_nothing(correct, images, expected):
    method = get_method("cdb", class_counts=COUNTS).double()
    method.on_epoch(FixedAccuracies(correct, images), 3)
    torch.testing.assert_close(method.class_weights, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=0)
    method.on_epoch(FixedAccuracies(correct, images), 0)
    assert torch.equal(method.class_weights, torch.ones(5, dtype=torch.float64))


def test_of_several_evaluation_sets_the_validation_set_is_measured(tmp_path):
    several = {"test": make_dataset(seed=1), "validation": make_dataset(seed=2)}
    trainer = cdb_trainer(tmp_path, several)
    trainer.train()
    trainer.method.on_epoch(trainer, 2)
    expected = slow_weights(measured_by_hand(trainer, several["validation"]), 1.0)
    torch.testing.assert_close(trainer.method.class_weights.double(), expected, rtol=1e-5, atol=1e-6)


def test_a_class_without_validation_images_is_named_and_keeps_weight_one(tmp_path, caplog):
    held_out = make_dataset(seed=1)
    held_out = held_out.select([row for row, label in enumerate(held_out["label"]) if label != 2])
    trainer = cdb_trainer(tmp_path, held_out)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert "1 classes have no image to measure their difficulty on and keep weight 1: 2 (line)" in caplog.text
    weights = trainer.method.class_weights
    assert weights[2] == 1.0
    assert weights.sum().item() == pytest.approx(4.0, rel=1e-6)
    assert torch.isfinite(weights).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": "dynamik"}, "dynamic"),
        ({"form": "imagenet"}, "paper"),
        ({"tau": -0.5}, "at least 0"),
        ({"tau": float("nan")}, "finite"),
        ({"difficulty_from": "test"}, "validation"),
        ({"reduction": "mean"}, "mean_batch"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        get_method("cdb", class_counts=COUNTS, **options)
