"""Class-balanced loss: the weighted mean over rows, and the bias of the sigmoid forms."""

from __future__ import annotations

import math

import pytest
import torch

from hf_ltr import LongTailForImageClassification, class_counts, get_method

from ..contracts.builders import LongTailTrainer, make_arguments, make_dataset, make_model, make_trainer
from .fixtures import COUNTS, FixedModel, batch_of, outputs_of, some_labels, some_logits


def slow_weights(beta: float, counts: list[int] = COUNTS) -> list[float]:
    raw = [(1 - beta) / (1 - beta**count) for count in counts]
    return [value * len(raw) / sum(raw) for value in raw]


def slow_row(row: torch.Tensor, label: int, form: str, gamma: float) -> torch.Tensor:
    if form == "softmax":
        return -torch.log_softmax(row, 0)[label]
    total = 0.0
    for position, value in enumerate(row):
        right = torch.sigmoid(value if position == label else -value)
        total = total - torch.log(right) * ((1 - right) ** gamma if form == "focal" else 1.0)
    return total


@pytest.mark.parametrize(("form", "gamma"), [("softmax", 1.0), ("sigmoid", 1.0), ("focal", 1.0), ("focal", 0.5)])
def test_weighted_rows_are_averaged_over_the_rows_of_the_step(form, gamma):
    """Micro-batches combined by their masses, which are rows: as published, and not the sum of the weights."""
    method = get_method("class_balanced", class_counts=COUNTS, beta=0.99, form=form, gamma=gamma)
    logits, labels = some_logits(), some_labels()
    weight = [1.0] * 8 + [0.0, 1.0, 1.0]
    weights = slow_weights(0.99)
    rows = [slow_row(logits[i], int(labels[i]), form, gamma) for i in range(11)]
    expected = sum(weights[labels[i]] * rows[i] * weight[i] for i in range(11)) / sum(weight)
    value, whole = 0.0, 0.0
    for part in (slice(0, 3), slice(3, 11)):
        batch = batch_of(labels[part], weight[part])
        assert method.term_mass(batch) == {}
        terms, _ = method.training_loss(FixedModel(logits[part]), batch)
        value, whole = value + terms["supervised"] * batch["weight"].sum(), whole + batch["weight"].sum()
    torch.testing.assert_close(value / whole, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(method.sample_loss(outputs_of(logits), labels), torch.stack(rows), rtol=1e-9, atol=0)


def test_soft_targets_weigh_every_class_by_its_share():
    method = get_method("class_balanced", class_counts=COUNTS, beta=0.99)
    logits = some_logits()
    soft = torch.rand(11, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    soft = soft / soft.sum(1, keepdim=True)
    weights = torch.tensor(slow_weights(0.99), dtype=torch.float64)
    expected = -(soft * weights * torch.log_softmax(logits, 1)).sum(1).mean()
    terms, _ = method.training_loss(FixedModel(logits), batch_of(some_labels(), targets=soft))
    torch.testing.assert_close(terms["supervised"], expected, rtol=1e-9, atol=0)


def test_a_wrapper_replaces_the_weights():
    """Deferred weights on top of the loss's own would weight twice."""
    wrapped = get_method("deferred_reweighting", class_counts=COUNTS, base="class_balanced", beta=0.9999).double()
    plain = get_method("deferred_reweighting", class_counts=COUNTS, base="cross_entropy", beta=0.9999).double()
    batch = batch_of(some_labels())
    for method in (wrapped, plain):
        method.class_weights.copy_(method.balanced_weights)
    one, other = (
        method.training_loss(FixedModel(some_logits()), batch)[0]["supervised"] for method in (wrapped, plain)
    )
    torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


def started(model, method, folder):
    dataset = make_dataset()
    trainer = LongTailTrainer(
        model=model, args=make_arguments(folder, max_steps=1), method=method, train_dataset=dataset
    )
    method.setup(trainer)
    return trainer.model.classifier


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"form": "focal"}, True),
        ({"form": "sigmoid"}, True),
        ({"form": "softmax"}, False),
        ({"form": "focal", "initialize_bias": False}, False),
        ({"form": "softmax", "initialize_bias": True}, True),
    ],
)
def test_bias_of_a_new_model(options, expected, tmp_path):
    method = get_method("class_balanced", class_counts=class_counts(make_dataset()), **options)
    classifier = started(make_model(method), method, tmp_path)
    untouched = make_model(method).classifier
    assert torch.equal(classifier.weight, untouched.weight)
    start = torch.full((4,), -math.log(3)) if expected else untouched.bias
    torch.testing.assert_close(classifier.bias.detach(), start, rtol=1e-6, atol=0)


def test_a_loaded_head_keeps_its_bias_unless_asked(tmp_path):
    counts = class_counts(make_dataset())
    method = get_method("class_balanced", class_counts=counts, form="focal")
    trained = make_model(method)
    torch.nn.init.constant_(trained.classifier.bias, 0.25)
    trained.save_pretrained(tmp_path / "trained")
    loaded = LongTailForImageClassification.from_pretrained(tmp_path / "trained")
    assert torch.equal(started(loaded, method, tmp_path / "a").bias, torch.full((4,), 0.25))
    asked = get_method("class_balanced", class_counts=counts, form="focal", initialize_bias=True)
    bias = started(loaded, asked, tmp_path / "b").bias.detach()
    torch.testing.assert_close(bias, torch.full((4,), -math.log(3)), rtol=1e-6, atol=0)


def test_a_stage_that_starts_from_a_checkpoint_keeps_its_bias(tmp_path):
    """`run_stages` hands its own config to `from_pretrained`."""
    from hf_ltr.methods import Stage
    from hf_ltr.trainer.stage_model import build_stage_model

    method = get_method("class_balanced", class_counts=class_counts(make_dataset()), form="focal")
    trained = make_model(method)
    torch.nn.init.constant_(trained.classifier.bias, 0.25)
    trained.save_pretrained(tmp_path / "trained")
    stage = Stage("second", method, start=str(tmp_path / "trained"))
    model = build_stage_model(stage, make_model(method).config, stage.start, seed=0)
    assert torch.equal(started(model, method, tmp_path / "a").bias, torch.full((4,), 0.25))


def test_a_head_without_bias(tmp_path):
    counts = class_counts(make_dataset())
    for asked, options in ((None, {}), (True, {"initialize_bias": True})):
        method = get_method("class_balanced", class_counts=counts, form="sigmoid", **options)
        model_config = make_model(method).config
        model_config.head = "cosine"
        model = LongTailForImageClassification(model_config)
        if asked:
            with pytest.raises(ValueError, match="initialize_bias=True.*'?cosine'?.*no bias"):
                started(model, method, tmp_path / "a")
        else:
            assert getattr(started(model, method, tmp_path / "b"), "bias", None) is None


def test_a_resumed_run_does_not_start_its_bias_again(tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 5, "method_options": {"form": "focal", "beta": 0.9}}
    trainer = make_trainer("class_balanced", tmp_path, num_train_epochs=1, **settings)
    trainer.train()
    trained = trainer.model.classifier.bias.detach().clone()
    assert not torch.allclose(trained, torch.full((4,), -math.log(3)), atol=1e-3)
    again = make_trainer("class_balanced", tmp_path, num_train_epochs=1, **settings)
    again.train(resume_from_checkpoint=True)
    assert torch.equal(again.model.classifier.bias.detach(), trained)


@pytest.mark.parametrize(
    ("options", "message"), [({"beta": 1.5}, "beta"), ({"form": "tanh"}, "softmax"), ({"gamma": -1.0}, "gamma")]
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        get_method("class_balanced", class_counts=COUNTS, **options)
